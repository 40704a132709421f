"""Denoising: noise, signs, both forms, and what a trained model does to a noisy crystal."""

import copy

import numpy as np
import pytest
import torch
from ase.build import make_supercell
from torch import nn

from cases import (
    BACKBONES,
    CUTOFF,
    make_model,
    perfect_crystals,
    random_rotation,
    random_structures,
)
from gnnpre import Denoising, Pretrainer, StructureToGraph
from gnnpre.backbones import AtomFeatures, Backbone, BackboneModule
from gnnpre.objectives._losses import LOSSES
from gnnpre.training import BatchLoader, CrystalDataset
from objectives.denoising_cases import CGCNN_SMALL, FIT, STRUCTURES, crystals, rattle


class Arrows(Backbone):
    """A backbone with vectors: sums of directions, weighted by functions of the distance."""

    def build(self, cutoff, mean_neighbors=1.0):
        return ArrowsModule()


class ArrowsModule(BackboneModule):
    def __init__(self):
        super().__init__(out_channels=8, n_elements=100)
        self.linear = nn.Linear(8, 8)
        self.mix = nn.Linear(8, 6)  # other than the scalars'

    def forward(self, batch):
        waves = torch.arange(1.0, 9.0).to(batch.edge_vectors) / 4.0
        values = torch.cos(batch.distances[:, None] * waves)
        values = values * (1.0 + 0.1 * batch.atomic_numbers[batch.source, None])
        n_atoms = len(batch.atomic_numbers)
        scalars = values.new_zeros(n_atoms, 8).index_add(0, batch.target, self.linear(values))
        arrows = batch.edge_vectors[:, :, None] * self.mix(values)[:, None]
        vectors = arrows.new_zeros(n_atoms, 3, 6).index_add(0, batch.target, arrows)
        return AtomFeatures(torch.tanh(scalars), vectors)


VECTORS = {"arrows": Arrows(), "torchmdnet": BACKBONES["torchmdnet"]}


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def perturb(graphs, config=None, *, seed=0, dtype=torch.float64, **parameters):
    config = config or Denoising(**parameters)
    model = make_model(CGCNN_SMALL, config)
    batch = graphs.batch(dtype=dtype)
    moved, targets = model.perturb(batch, {"kept": batch.volume}, seeded(seed))
    return batch, moved, targets


def assert_close(actual, expected):
    """To 1e-10 of the largest; the weights of :func:`make_model` are large."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def predict(model, structures) -> np.ndarray:
    batch = StructureToGraph(CUTOFF).transform(structures).batch(dtype=torch.float64)
    return model.predict(batch)["displacements"].numpy()


class TestNoise:
    @pytest.mark.parametrize("noise", [0.02, 0.1])
    def test_spread(self, noise):
        cell = make_supercell(perfect_crystals()["Fe"], 8 * np.eye(3))
        batch, moved, _ = perturb(StructureToGraph(3.0).transform([cell]), noise=noise)
        drawn = (moved.positions - batch.positions).numpy()
        assert len(drawn) == 1024
        np.testing.assert_allclose(drawn.std(axis=0), noise, rtol=0.08)
        assert np.abs(drawn.mean(axis=0)).max() < 4 * noise / 32
        assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.15

    def test_atoms_move_and_edges_follow(self, graphs):
        batch, moved, targets = perturb(graphs)
        shift = torch.einsum(
            "ei,eij->ej", moved.edge_shift.double(), moved.cell[moved.batch[moved.target]]
        )
        expected = moved.positions[moved.source] + shift - moved.positions[moved.target]
        torch.testing.assert_close(moved.edge_vectors, expected)
        assert (moved.distances - batch.distances).abs().max() > 0.1
        for name in ("edge_index", "edge_shift", "cell", "atomic_numbers"):
            assert getattr(moved, name) is getattr(batch, name)
        assert targets["kept"] is not None

    def test_target_is_the_way_back_without_translation(self, graphs):
        batch, moved, targets = perturb(graphs)
        back = (batch.positions - moved.positions).numpy()
        result = targets["displacements"].numpy()
        for crystal, atoms in enumerate(np.split(back, graphs.atom_counts.cumsum()[:-1])):
            rows = batch.batch.numpy() == crystal
            if len(atoms) > 1:
                np.testing.assert_allclose(result[rows], atoms - atoms.mean(axis=0), atol=1e-15)
                assert np.abs(atoms.mean(axis=0)).max() > 0.01
            else:
                assert np.isnan(result[rows]).all()

    @pytest.mark.parametrize("target", ["return", "noise"])
    def test_raw_noise(self, graphs, target):
        batch, moved, targets = perturb(graphs, remove_translation=False, target=target)
        expected = batch.positions - moved.positions
        torch.testing.assert_close(targets["displacements"], expected)

    def test_the_generator_alone_decides(self, graphs):
        first, same, alternative = (perturb(graphs, seed=seed)[1].positions for seed in (0, 0, 1))
        assert torch.equal(first, same)
        assert not torch.equal(first, alternative)

    def test_drawn_anew_each_epoch_but_not_in_validation(self, graphs):
        model = make_model(CGCNN_SMALL, Denoising())
        targets = Denoising().make_targets(graphs, None)
        dataset = CrystalDataset(graphs, targets, np.array([0, 1]))
        loader = BatchLoader(dataset, model, batch_size=2, max_edges=None, dtype=torch.float64)

        def epoch():
            return torch.cat([targets["displacements"] for _, targets in loader])

        assert torch.equal(epoch(), epoch())
        loader.generator = seeded()
        assert not torch.isclose(epoch().sort().values, epoch().sort().values).any()


class TestLoss:
    @pytest.mark.parametrize("scale", ["noise", "running", None])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_direct(self, graphs, loss, scale):
        config = Denoising(0.05, loss=loss, scale=scale, huber_delta=0.7)
        batch, moved, targets = perturb(graphs, config)
        model = config.build(CGCNN_SMALL.build(CUTOFF), {}).double().eval()
        assert float(model.scale) == pytest.approx(1.0 if scale is None else 0.05)
        predictions = model(moved)
        (term,) = model.losses(predictions, targets, moved).values()
        back = batch.positions - moved.positions
        error = []
        for crystal in range(len(batch)):
            rows = batch.batch == crystal
            if rows.sum() > 1:
                targeted = back[rows] - back[rows].mean(dim=0)
                error.append(predictions["displacements"][rows] - targeted)
        error = torch.cat(error).abs() / (1.0 if scale is None else 0.05)
        huber = torch.where(error < 0.7, 0.5 * error**2, 0.7 * (error - 0.35))
        expected = {"l1": error, "mse": error**2, "huber": huber}[loss].mean()
        assert float(term.mean) == pytest.approx(float(expected), rel=1e-6)
        assert term.weight == 1.0

    @pytest.mark.parametrize("through", ["derivative", "head"])
    def test_the_network_works_in_the_unit_of_the_loss(self, graphs, through):
        result = []
        for scale in ("noise", None):
            with torch.random.fork_rng():
                torch.manual_seed(0)
                module = CGCNN_SMALL.build(CUTOFF)
                model = Denoising(0.05, through, scale=scale).build(module, {}).double().eval()
            result.append(model.predict(graphs.batch(dtype=torch.float64))["displacements"])
        torch.testing.assert_close(result[0], 0.05 * result[1], rtol=1e-6, atol=1e-9)

    def test_of_zero_displacements(self):
        cell = make_supercell(perfect_crystals()["Fe"], 8 * np.eye(3))
        graphs = StructureToGraph(3.0).transform([cell])
        for scale, unit in (("noise", 1.0), (None, 0.1)):
            config = Denoising(0.1, scale=scale)
            batch, moved, targets = perturb(graphs, config)
            model = config.build(CGCNN_SMALL.build(3.0), {}).double()
            zero = {"displacements": torch.zeros_like(batch.positions)}
            (term,) = model.losses(zero, targets, moved).values()
            assert float(term.mean) == pytest.approx(np.sqrt(2 / np.pi) * unit, rel=0.05)

    def test_weights_of_samples(self, graphs):
        batch, moved, targets = perturb(graphs)
        model = make_model(CGCNN_SMALL, Denoising())
        weights = torch.zeros(len(graphs), dtype=torch.float64)
        weights[0] = 2.0
        predictions = model(moved)
        weighted = {**targets, "sample_weight": weights}
        (term,) = model.losses(predictions, weighted, moved).values()
        rows = batch.batch == 0
        error = (predictions["displacements"] - targets["displacements"])[rows] / model.scale
        assert float(term.mean) == pytest.approx(float(error.abs().mean()), rel=1e-9)

    @pytest.mark.parametrize("through", ["derivative", "head"])
    def test_crystals_of_one_atom_have_no_part(self, graphs, through):
        single = graphs[graphs.atom_counts == 1]
        assert len(single) == 1
        model = make_model(BACKBONES["torchmdnet"], Denoising(through=through)).train()
        moved, targets = model.perturb(single.batch(dtype=torch.float64), {}, seeded())
        (term,) = model.losses(model(moved), targets, moved).values()
        assert float(term.count) == 0
        term.mean.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients
        assert all(not gradient.any() for gradient in gradients)  # zero, and not NaN


class TestRunningScale:
    def test_is_the_spread_of_the_targets(self, graphs):
        config = Denoising(0.1, scale="running", through="head")
        model = make_model(CGCNN_SMALL, config).train()
        model.scale.fill_(1.0)
        generator, seen = seeded(), []
        for _ in range(5):
            moved, targets = model.perturb(graphs.batch(dtype=torch.float64), {}, generator)
            model.losses(model(moved), targets, moved)
            seen.append(targets["displacements"])
        seen = torch.cat(seen)
        expected = seen[~torch.isnan(seen)].square().mean().sqrt()
        assert float(model.scale) == pytest.approx(float(expected), rel=1e-9)
        assert float(model.scale) < 0.095  # less than the noise, for want of translations

    def test_stays_in_validation(self, graphs):
        model = make_model(CGCNN_SMALL, Denoising(scale="running", through="head"))
        before = model.state_dict()["scale"].clone()
        moved, targets = model.perturb(graphs.batch(dtype=torch.float64), {}, seeded())
        model.losses(model(moved), targets, moved)
        assert torch.equal(model.scale, before)

    @pytest.mark.parametrize("through", ["derivative", "head"])
    def test_in_training_and_on_disk(self, through, tmp_path):
        objective = Denoising(scale="running", through=through)
        model = Pretrainer(CGCNN_SMALL, objective, **FIT).fit(crystals())
        scale = float(model.net_.module_.scale)
        assert scale == pytest.approx(0.1 * np.sqrt(7 / 8), rel=0.1)
        model.save(tmp_path / "m.gnnpre")
        again = Pretrainer.load(tmp_path / "m.gnnpre")
        assert float(again.net_.module_.scale) == scale


class TestSigns:
    @pytest.mark.parametrize("through", ["derivative", "head"])
    def test_the_papers_sign_flips_the_network_not_the_prediction(self, graphs, through):
        way_back, noise = (
            make_model(CGCNN_SMALL, Denoising(through=through, target=target))
            for target in ("return", "noise")
        )
        batch = graphs.batch(dtype=torch.float64)
        one, two = way_back.predict(batch), noise.predict(batch)
        torch.testing.assert_close(one["displacements"], -two["displacements"])
        assert one["displacements"].abs().max() > 1e-3
        if through == "derivative":
            torch.testing.assert_close(one["energy"], two["energy"])
            torch.testing.assert_close(one["displacements"], one["forces"])

    def test_the_papers_loss(self, graphs):
        """``|-dE/dx - noise|``, in Å."""
        config = Denoising(target="noise", remove_translation=False, scale=None)
        batch, moved, targets = perturb(graphs, config)
        model = config.build(CGCNN_SMALL.build(CUTOFF), {}).double().eval()
        predictions = model(moved)
        (term,) = model.losses(predictions, targets, moved).values()
        expected = (predictions["forces"] - (moved.positions - batch.positions)).abs().mean()
        assert float(term.mean) == pytest.approx(float(expected), rel=1e-12)

    @pytest.mark.parametrize("target", ["return", "noise"])
    @pytest.mark.parametrize("through", ["derivative", "head"])
    def test_a_trained_model_leads_back(self, target, through):
        backbone = CGCNN_SMALL if through == "derivative" else BACKBONES["torchmdnet"]
        structures = crystals()
        model = Pretrainer(
            backbone,
            Denoising(0.1, through, target=target),
            max_epochs=40,
            batch_size=4,
            learning_rate=0.01,
            random_state=0,
        ).fit(StructureToGraph(CUTOFF).transform(structures))
        noisy, moves = rattle(structures, 0.1)
        before = after = 0.0
        for move, step in zip(moves, model.predict(noisy), strict=True):
            before += np.square(move - move.mean(axis=0)).sum()
            after += np.square(move - move.mean(axis=0) + step).sum()
        assert after < 0.8 * before
        if through == "derivative":
            energy = energies(model, noisy) - energies(model, structures)
            upwards = (energy > 0).mean()
            # Crystals are minima of E, or maxima in the papers' form.
            assert upwards > 0.9 if target == "return" else upwards < 0.1


def energies(model, structures):
    batch = StructureToGraph(CUTOFF).transform(structures).batch()
    return model.net_.module_.predict(batch)["energy"].numpy()


class TestHead:
    @pytest.fixture(params=VECTORS)
    def model(self, request):
        return make_model(VECTORS[request.param], Denoising(through="head"))

    @pytest.mark.parametrize("reflect", [False, True], ids=["rotation", "reflection"])
    @pytest.mark.parametrize("head_layers", [0, 1, 2])
    @pytest.mark.parametrize("backbone", VECTORS)
    def test_turns_with_the_crystal(self, backbone, head_layers, reflect):
        config = Denoising(through="head", head_layers=head_layers, head_channels=5)
        model = make_model(VECTORS[backbone], config)
        matrix = random_rotation(np.random.default_rng(3), reflect=reflect)
        turned = [turn(atoms, matrix) for atoms in STRUCTURES]
        before, after = predict(model, STRUCTURES), predict(model, turned)
        assert np.abs(before).max() > 1e-3
        assert_close(after, before @ matrix)

    def test_of_a_backbone_without_vectors_knows_no_directions(self):
        model = make_model(CGCNN_SMALL, Denoising(through="head"))
        matrix = random_rotation(np.random.default_rng(3))
        before = predict(model, STRUCTURES)
        after = predict(model, [turn(atoms, matrix) for atoms in STRUCTURES])
        assert_close(after, before)
        assert np.abs(before @ matrix - before).max() > 1e-3

    def test_translation_and_order(self, model):
        before = predict(model, STRUCTURES)
        moved = [atoms.copy() for atoms in STRUCTURES]
        for atoms in moved:
            atoms.positions += [0.9, -7.3, 2.1]
        assert_close(predict(model, moved), before)
        singles = np.concatenate([predict(model, [atoms]) for atoms in STRUCTURES])
        assert_close(singles, before)
        order = np.random.default_rng(1).permutation(len(STRUCTURES[0]))
        permuted = predict(model, [STRUCTURES[0][order]])
        assert_close(permuted, singles[: len(order)][order])

    def test_supercell(self, model):
        cell = STRUCTURES[0]
        big = make_supercell(cell, [[1, 1, 0], [0, 2, 0], [1, 0, 2]])
        expected = np.tile(predict(model, [cell]), (4, 1))
        assert_close(predict(model, [big]), expected)

    @pytest.mark.parametrize("remove", [True, False])
    def test_net_translation(self, model, graphs, remove):
        model.config.remove_translation = remove
        batch = graphs.batch(dtype=torch.float64)
        value = model.predict(batch)["displacements"]
        net = value.new_zeros(len(graphs), 3).index_add(0, batch.batch, value)
        assert (net.abs().max() < 1e-12 * value.abs().max()) == remove

    def test_perfect_crystals_stay(self, model):
        cells = list(perfect_crystals().values())
        value = predict(model, cells)
        for atoms in cells:
            atoms.rattle(0.05, seed=1)
        assert np.abs(value).max() < 1e-10 * np.abs(predict(model, cells)).max()

    def test_gradients_without_neighbours_are_numbers(self, model):
        far = [atoms for name, atoms in random_structures().items() if name == "molecule"]
        far[0].positions *= 100.0
        batch = StructureToGraph(CUTOFF).transform(far).batch(dtype=torch.float64)
        assert batch.edge_index.shape[1] == 0
        model.train()(batch)["displacements"].square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients)

    @pytest.mark.parametrize("training", [True, False])
    def test_asking_for_vectors_leaves_the_backbone_as_it_was(self, training):
        module = BACKBONES["cgcnn_batch_norm"].build(CUTOFF).train(training)
        before = copy.deepcopy(module.state_dict())
        Denoising(through="head").build(module, {})
        assert all(layer.training == training for layer in module.modules())
        after = module.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in before)

    def test_its_weights_are_no_readout(self):
        for backbone in (CGCNN_SMALL, Arrows()):
            model = make_model(backbone, Denoising(through="head"))
            names = {name.split(".")[0] for name, _ in model.named_parameters()}
            assert names == {"backbone", "atom_head"}


def turn(atoms, matrix):
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ matrix)
    turned.positions = atoms.positions @ matrix
    return turned


@pytest.fixture(scope="module")
def structures():
    return crystals()
