"""Mixture: parts by name, one pass through the backbone, labels that some parts lack."""

import copy
import pickle
import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid, cross_val_score

from cases import (
    BACKBONES,
    CUTOFF,
    SMALL,
    compute_losses,
    loss_targets,
    make_frame_labels,
    make_model,
    random_structures,
)
from gnnpre import (
    CGCNN,
    Denoising,
    ForceField,
    FrameLabels,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    PropertyTargets,
    StructureToGraph,
)
from gnnpre.objectives import LossTerm, Objective, ObjectiveModel, Targets
from gnnpre.training import from_spec, to_spec
from gnnpre.training._average import combine

FIT = {"max_epochs": 2, "batch_size": 4, "random_state": 0, "validation_fraction": 0.25}
CGCNN_SMALL = CGCNN(**SMALL)
CLASSES = {c.__name__: c for c in (Mixture, ForceField, Denoising, PropertyTargets)}


class Coordination(Objective):
    """Neighbours within reach of an atom: an objective as users write it, with forward alone."""

    needs_labels = False

    def __init__(self, weight=1.0):
        self.weight = weight

    def make_targets(self, graphs, y):
        target = graphs.batch().target
        counts = torch.bincount(target, minlength=int(graphs.atom_counts.sum()))
        return Targets(graphs.atom_counts, {}, {"count": counts.double()})

    def layout(self, targets):
        return {"mean": float(targets.atom["count"].mean())}

    def build(self, backbone, layout):
        return CoordinationModel(backbone, layout.get("mean", 1.0))

    def collect(self, parts, graphs):
        return np.concatenate([piece["count"] for piece in parts])


class CoordinationModel(ObjectiveModel):
    def __init__(self, backbone, mean):
        super().__init__(backbone)
        self.mean = mean
        self.outputs = torch.nn.Linear(backbone.out_channels, 1)

    def forward(self, batch):
        return {"count": self.mean * self.outputs(self.backbone(batch).scalars)[:, 0]}

    def losses(self, predictions, targets, batch):
        error = (predictions["count"] - targets["count"]).abs()
        return {"count": LossTerm(error.sum(), torch.tensor(float(len(error))), 1.0)}


def mixture(**weights) -> Mixture:
    parts = {
        "forces": ForceField(forces=2.0),
        "gap": PropertyTargets(),
        "count": Coordination(),
        "noise": Denoising(0.1),
    }
    return Mixture([(name, parts[name], weight) for name, weight in weights.items()])


@pytest.fixture(scope="module")
def graphs():
    atoms = list(random_structures().values())
    rattled = [a.copy() for a in atoms]
    for a in rattled:
        a.positions += np.random.default_rng(3).normal(scale=0.02, size=a.positions.shape)
    return StructureToGraph(CUTOFF).transform(atoms + rattled)


@pytest.fixture(scope="module")
def labels(graphs) -> FrameLabels:
    """Forces, and two columns of which one is a property."""
    full = make_frame_labels(graphs.atom_counts)
    gap = np.random.default_rng(1).normal(size=len(graphs))
    return FrameLabels(
        full.n_atoms,
        energy=full.energy,
        forces=full.forces,
        stress=full.stress,
        info={"gap": gap, "material": np.arange(len(gap))},
    )


def built(objective, graphs, y, backbone=CGCNN_SMALL):
    """A model in training, and its targets."""
    targets = objective.make_targets(graphs, y)
    model = make_model(backbone, objective, layout=objective.layout(targets))
    model.set_statistics(graphs, targets, np.arange(len(graphs)))
    return model.train(), targets


def step(model, graphs, targets, seed=0):
    """Loss terms and gradients of one step."""
    everything = np.arange(len(graphs))
    batch = graphs.batch(dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    labels = loss_targets(model, targets, batch, everything)
    batch, labels = model.perturb(batch, labels, generator)
    terms = model.losses(model(batch), labels, batch)
    model.zero_grad()
    if model.training:
        combine(terms).backward()
    terms = {
        name: replace(term, total=term.total.detach(), count=term.count.detach())
        for name, term in terms.items()
    }
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return terms, gradients


def count_passes(model, run) -> int:
    passes = []
    handle = model.backbone.register_forward_hook(lambda *_: passes.append(1))
    run()
    handle.remove()
    return len(passes)


class TestParameters:
    def test_get(self):
        params = mixture(forces=1.0, noise=0.1).get_params()
        assert params["forces__forces"] == 2.0
        assert params["noise__noise"] == 0.1
        assert params["forces_weight"] == 1.0
        assert isinstance(params["noise"], Denoising)
        assert set(mixture(forces=1.0).get_params(deep=False)) == {"parts"}

    def test_set(self):
        options = [("forces", ForceField(), 1.0), ("noise", Denoising(), 0.1)]
        one = Mixture(options)
        assert one.set_params(noise_weight=0.5, forces__stress=20.0) is one
        assert one.parts[0][1].stress == 20.0
        assert one.parts[1][2] == 0.5
        assert options[1][2] == 0.1  # the list that came is left alone
        one.set_params(noise=Denoising(0.05), noise__through="head")
        assert one.parts[1][1].get_params()["noise"] == 0.05
        assert one.parts[1][1].through == "head"
        assert one.parts[1][0::2] == ("noise", 0.5)
        one.set_params(parts=[("count", Coordination(), 1.0)], count_weight=3.0, count__weight=2.0)
        assert one.get_params()["count_weight"] == 3.0
        assert one.get_params()["count__weight"] == 2.0
        for unknown in ("gap", "gap_weight", "gap__loss", "forces__stress"):
            with pytest.raises(ValueError, match="Invalid parameter"):
                one.set_params(**{unknown: 1.0})

    def test_clone_and_pickle(self):
        one = mixture(forces=1.0, noise=0.1)
        for two in (clone(one), pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
            assert repr(two) == repr(one)
            assert two.parts[0][1] is not one.parts[0][1]
            two.set_params(forces__stress=7.0)
        assert one.parts[0][1].stress == 1.0

    def test_specs(self):
        one = mixture(forces=1.0, gap=2, noise=0.1)
        again = from_spec(to_spec(one), CLASSES)
        assert repr(again) == repr(one)
        assert type(again.parts[0]) is tuple

    def test_in_a_search(self, graphs, labels):
        search = GridSearchCV(
            Pretrainer(CGCNN(4, 1), mixture(forces=1.0, noise=0.1), **FIT),
            {"objective__forces__stress": [1.0, 5.0], "objective__noise_weight": [0.1, 1.0]},
            cv=KFold(2, shuffle=True, random_state=0),
            error_score="raise",
            refit=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # few crystals
            search.fit(graphs, labels)
        assert search.cv_results_["params"] == list(ParameterGrid(search.param_grid))
        assert len(set(search.cv_results_["mean_test_score"])) == 4

    def test_labels_are_needed_if_a_part_needs_them(self):
        assert mixture(forces=1.0, noise=0.1).needs_labels
        assert not mixture(count=1.0, noise=0.1).needs_labels
        for objective in (mixture(forces=1.0), mixture(noise=1.0), Mixture([]), Mixture(3)):
            tags = Pretrainer(objective=objective).__sklearn_tags__()
            assert tags.target_tags.required == objective.needs_labels


class TestOnePass:
    @pytest.mark.parametrize("backbone", ["cgcnn", "cgcnn_papers", "torchmdnet"])
    def test_equals_separate_models(self, graphs, labels, backbone):
        weights = {"forces": 1.5, "gap": 0.3, "count": 0.7}
        both, targets = built(mixture(**weights), graphs, labels, BACKBONES[backbone])
        terms, gradients = step(both, graphs, targets)
        summed = {name: torch.zeros_like(p) for name, p in both.backbone.named_parameters()}
        y = {"forces": labels, "gap": labels.info["gap"], "count": None}
        for name, piece, weight in mixture(**weights).parts:
            alone, of_its_own = built(piece, graphs, y[name], BACKBONES[backbone])
            alone.backbone.load_state_dict(both.backbone.state_dict())
            heads = both.parts[name].state_dict()
            alone.load_state_dict(
                {k: heads.get(k, v) for k, v in alone.state_dict().items()}, strict=True
            )
            own_terms, own_gradients = step(alone, graphs, of_its_own)
            for key, term in own_terms.items():
                result = terms.pop(f"{name}.{key}")
                assert float(result.mean) == pytest.approx(float(term.mean), rel=1e-12)
                assert result.weight == weight * term.weight
            for key, gradient in own_gradients.items():
                if key.startswith("backbone."):
                    summed[key.removeprefix("backbone.")] += weight * gradient
                else:
                    result = gradients.pop(f"parts.{name}.{key}")
                    assert_close(result, weight * gradient)
        assert not terms
        for name, gradient in summed.items():
            assert_close(gradients.pop(f"backbone.{name}", torch.zeros(())), gradient)
        assert not gradients

    @pytest.mark.parametrize(
        ("parts", "passes"),
        [
            ({"forces": 1.0}, 1),
            ({"forces": 1.0, "gap": 1.0, "count": 1.0}, 1),
            ({"gap": 1.0, "count": 1.0, "forces": 1.0}, 1),
            ({"forces": 1.0, "noise": 1.0}, 2),
            ({"gap": 1.0, "noise": 1.0, "count": 1.0}, 2),
        ],
    )
    @pytest.mark.parametrize("training", [True, False])
    def test_number_of_passes(self, graphs, labels, parts, passes, training):
        model, targets = built(mixture(**parts), graphs, labels)
        model.train(training)
        with torch.set_grad_enabled(training):
            assert count_passes(model, lambda: step(model, graphs, targets)) == passes
        # For predictions nothing is perturbed.
        batch = graphs.batch(dtype=torch.float64)
        assert count_passes(model, lambda: model.predict(batch)) == 1

    def test_two_derivatives_of_one_pass(self, graphs, labels):
        """Without a graph to train on, the first derivative must leave the second its own."""
        objective = Mixture([("one", ForceField(), 1.0), ("two", Denoising(), 1.0)])
        model, _ = built(objective, graphs, labels)
        batch = graphs.batch(dtype=torch.float64)
        together = model.eval().predict(batch)
        assert not any(value.requires_grad for value in together.values())
        for name in ("one", "two"):
            for key, value in model.parts[name].predict(batch).items():
                torch.testing.assert_close(together[f"{name}.{key}"], value, equal_nan=True)

    def test_the_same_perturbation_shares_a_pass(self, graphs):
        parts = [
            ("derivative", Denoising(0.1), 1.0),
            ("head", Denoising(0.1, "head", target="noise"), 1.0),
            ("count", Coordination(), 1.0),
            ("finer", Denoising(0.02), 1.0),
        ]
        model, targets = built(Mixture(parts), graphs, None)
        assert count_passes(model, lambda: step(model, graphs, targets)) == 3
        batch = graphs.batch(dtype=torch.float64)
        seen, _ = model.perturb(batch, {}, torch.Generator().manual_seed(0))
        assert seen.perturbed["derivative"] is seen.perturbed["head"]
        moved = {name: b.positions - batch.positions for name, b in seen.perturbed.items()}
        torch.testing.assert_close(moved["derivative"], 5 * moved["finer"])
        assert torch.equal(seen.positions, batch.positions)

    def test_nothing_stays_behind(self, graphs, labels):
        """Features that were kept would be stale after a step, and could not be pickled."""
        model, targets = built(mixture(forces=1.0, count=1.0, noise=1.0), graphs, labels)
        step(model, graphs, targets)
        copied = copy.deepcopy(model)
        again = pickle.loads(pickle.dumps(model))
        batch = graphs.batch(dtype=torch.float64)
        expected = model.predict(batch)
        with torch.no_grad():
            for parameter in model.backbone.parameters():
                parameter.mul_(1.5)
        for alternative in (copied, again):
            for name, value in alternative.predict(batch).items():
                torch.testing.assert_close(value, expected[name], equal_nan=True)
        changed = model.predict(batch)
        assert not torch.equal(changed["count.count"], expected["count.count"])

    def test_an_error_in_a_part_leaves_nothing_behind(self, graphs, labels):
        model, _ = built(mixture(forces=1.0, count=1.0), graphs, labels)
        batch = graphs.batch(dtype=torch.float64)
        model.parts["count"].outputs = None
        with pytest.raises(TypeError):
            model(batch)
        assert model.shared._features is None


def assert_close(one, two):
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12 * float(two.abs().max()))


class TestWeightsByName:
    def test_names(self, graphs, labels):
        model, _ = built(mixture(forces=1.0, gap=1.0, count=1.0), graphs, labels)
        starts = Counter(".".join(name.split(".")[:3]) for name in model.state_dict())
        assert not any("backbone" in name for name in starts if name.startswith("parts."))
        assert {"parts.forces.head", "parts.gap.head", "parts.count.outputs"} <= set(starts)
        assert len(list(model.backbone.parameters())) + len(list(model.parts.parameters())) == len(
            list(model.parameters())
        )

    @pytest.mark.parametrize(("transfer", "names"), [("backbone", 0), ("matching", 4)])
    def test_transfer_of_the_first_readout(self, graphs, labels, transfer, names):
        objective = mixture(count=1.0, forces=1.0, gap=1.0)
        source = Pretrainer(CGCNN_SMALL, objective, **FIT).fit(graphs, labels)
        model = PropertyRegressor(
            pretrained=FrozenEstimator(source), transfer=transfer, strategy="head", **FIT
        )
        model.set_params(max_epochs=1, learning_rate=1e-30, weight_decay=0)
        model.fit(graphs, labels.info["gap"])
        assert sum(name.startswith("head.") for name in model.transferred_) == names
        options, taken = source.net_.module_.state_dict(), model.net_.module_.state_dict()
        for name in model.transferred_:
            origin = name if name.startswith("backbone.") else f"parts.forces.{name}"
            torch.testing.assert_close(taken[name], options[origin])


class TestLabels:
    def test_one_y_for_all_parts_that_need_it(self, graphs):
        y = np.arange(len(graphs), dtype=float)
        objective = Mixture([("one", PropertyTargets(), 1.0), ("two", PropertyTargets(), 1.0)])
        targets = objective.make_targets(graphs, y)
        for name in ("one", "two"):
            assert torch.equal(targets.crystal[f"{name}.properties"][:, 0], torch.tensor(y))

    def test_a_property_is_a_column_of_info(self, graphs, labels):
        targets = mixture(forces=1.0, gap=1.0).make_targets(graphs, labels)
        assert torch.equal(
            targets.crystal["gap.properties"][:, 0], torch.tensor(labels.info["gap"])
        )
        assert set(targets.atom) == {"forces.forces"}

    def test_missing_ones_leave_the_crystal_to_the_others(self, graphs, labels):
        """Half of the crystals have forces, the other half a gap."""
        n = len(graphs)
        first = np.arange(n) < n // 2
        rows = np.repeat(first, labels.n_atoms)
        masked = FrameLabels(
            labels.n_atoms,
            energy=np.where(first, labels.energy, np.nan),
            forces=np.where(rows[:, None], labels.forces, np.nan),
            stress=np.where(first[:, None, None], labels.stress, np.nan),
            info={"gap": np.where(first, np.nan, labels.info["gap"])},
        )
        objective = mixture(forces=1.0, gap=1.0, count=1.0)
        model, targets = built(objective, graphs, masked)
        terms, gradients = step(model, graphs, targets)
        assert float(terms["forces.energy"].count) == n // 2
        assert float(terms["forces.forces"].count) == 3 * rows.sum()
        assert float(terms["gap.properties"].count) == n - n // 2
        assert float(terms["count.count"].count) == len(rows)
        assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
        for half, empty in ((first, "gap"), (~first, "forces")):
            indices = np.flatnonzero(half)
            for name, term in compute_losses(model, graphs, targets, indices).items():
                assert (float(term.count) == 0) == name.startswith(empty)

    def test_weights_of_samples_reach_all_parts(self, graphs, labels):
        model, targets = built(mixture(forces=1.0, gap=1.0, noise=1.0), graphs, labels)
        weights = torch.zeros(len(graphs), dtype=torch.float64)
        weights[2] = 1.0
        targets.crystal["sample_weight"] = weights
        terms, _ = step(model, graphs, targets)
        atoms = graphs.atom_counts[2]
        assert float(terms["gap.properties"].count) == 1
        assert float(terms["forces.forces"].count) == 3 * atoms
        expected = 3 * atoms if atoms > 1 else 0
        assert float(terms["noise.displacements"].count) == expected

    def test_other_y_of_a_property_part(self, graphs, labels):
        objective = Mixture([("forces", ForceField(), 1.0), ("volume", PropertyTargets(), 1.0)])
        with pytest.raises(ValueError, match=r"Part 'volume'.*no column 'volume'.*'gap'"):
            objective.make_targets(graphs, labels)
        with pytest.raises(TypeError, match=r"Part 'forces' of the mixture: y is of type ndarray"):
            objective.make_targets(graphs, np.zeros(len(graphs)))


@pytest.fixture(scope="module")
def fitted(graphs, labels):
    objective = mixture(forces=1.0, gap=0.5, noise=0.1)
    return Pretrainer(CGCNN_SMALL, objective, **FIT).fit(graphs, labels)


class TestEstimators:
    def test_history(self, fitted):
        names = ["forces.energy", "forces.forces", "forces.stress"]
        names += ["gap.properties", "noise.displacements"]
        row = fitted.history_[-1]
        for prefix in ("train", "valid"):
            losses = [row[f"{prefix}_{name}"] for name in names]
            weights = [1.0, 2.0, 1.0, 0.5, 0.1]
            assert row[f"{prefix}_loss"] == pytest.approx(np.dot(losses, weights), rel=1e-5)

    def test_predictions_of_all_parts(self, fitted, graphs):
        result = fitted.predict(graphs[:3])
        assert list(result) == ["forces", "gap", "noise"]
        assert isinstance(result["forces"], FrameLabels)
        assert result["gap"].shape == (3, 1)
        assert [array.shape for array in result["noise"]] == [
            (n, 3) for n in graphs.atom_counts[:3]
        ]
        assert fitted.transform(graphs[:3]).shape == (3, 8)

    def test_save_and_load(self, fitted, graphs, labels, tmp_path):
        fitted.save(tmp_path / "m.gnnpre")
        again = Pretrainer.load(tmp_path / "m.gnnpre")
        assert repr(again.objective) == repr(fitted.objective)
        assert again.score(graphs, labels) == fitted.score(graphs, labels)
        np.testing.assert_array_equal(
            again.predict(graphs)["forces"].forces, fitted.predict(graphs)["forces"].forces
        )
        refit = clone(again).fit(graphs, labels)
        assert refit.score(graphs, labels) == fitted.score(graphs, labels)

    def test_a_mixture_of_one_is_its_part(self, graphs, labels):
        alone = Pretrainer(CGCNN_SMALL, ForceField(forces=2.0), **FIT).fit(graphs, labels)
        mixed = Pretrainer(CGCNN_SMALL, mixture(forces=1.0), **FIT).fit(graphs, labels)
        state, alternative = (m.net_.module_.backbone.state_dict() for m in (alone, mixed))
        assert all(torch.equal(state[name], alternative[name]) for name in state)

    def test_resume(self, graphs, labels, tmp_path):
        objective = mixture(forces=1.0, noise=0.1)
        whole = Pretrainer(CGCNN_SMALL, objective, **{**FIT, "max_epochs": 4}, schedule=None)
        parts = clone(whole).set_params(checkpoint_dir=str(tmp_path), resume=True)
        clone(parts).set_params(max_epochs=2).fit(graphs, labels)
        one, two = (m.fit(graphs, labels).net_.module_.state_dict() for m in (whole, parts))
        assert all(torch.equal(one[name], two[name]) for name in one)

    def test_label_free_parts_pretrain_within_each_fold(self, graphs):
        objective = mixture(noise=1.0, count=0.1)
        pretraining = Pretrainer(CGCNN_SMALL, objective, **FIT)
        model = PropertyRegressor(pretraining=pretraining, **FIT)
        y = np.arange(len(graphs), dtype=float)
        assert np.isfinite(cross_val_score(model, graphs, y, cv=KFold(2))).all()
        model.set_params(pretraining__objective=mixture(noise=1.0, gap=1.0))
        with pytest.raises(ValueError, match="pretraining has the objective Mixture"):
            model.fit(graphs, y)

    def test_weights_decide_what_is_learnt(self, graphs, labels):
        def errors(**weights):
            settings = {**FIT, "max_epochs": 30, "learning_rate": 0.01, "validation_fraction": 0}
            model = Pretrainer(CGCNN_SMALL, mixture(**weights), **settings).fit(graphs, labels)
            return model.history_[-1]

        one, two = errors(gap=1.0, count=1e-4), errors(gap=1e-4, count=1.0)
        assert one["train_gap.properties"] < 0.9 * two["train_gap.properties"]
        assert two["train_count.count"] < 0.9 * one["train_count.count"]

    def test_validation_noise_is_fixed(self, graphs, labels, fitted):
        assert fitted.score(graphs, labels) == fitted.score(graphs, labels)
        still = clone(fitted).set_params(learning_rate=1e-30).fit(graphs, labels)
        first, second = still.history_
        assert first["valid_noise.displacements"] == second["valid_noise.displacements"]
        assert first["train_noise.displacements"] != second["train_noise.displacements"]


class Picky(Coordination):
    """Wants graphs that reach further."""

    def check_graphs(self, graphs):
        if graphs.cutoff < 6.0:
            raise ValueError(f"cutoff={graphs.cutoff}; expected at least 6 Å.")


FF = ForceField()


class TestBadInput:
    @pytest.mark.parametrize(
        ("parts", "error", "message"),
        [
            ([], ValueError, r"parts=\[\]; expected a list of \(name, objective, weight\)"),
            ((), ValueError, "with at least one"),
            (None, ValueError, "parts=None; expected a list"),
            ({"forces": FF}, ValueError, "expected a list"),
            ([("forces", FF)], ValueError, r"parts\[0\] is \('forces', ForceField\(\)\); expected"),
            ([FF], ValueError, r"parts\[0\] is ForceField\(\); expected \(name, objective"),
            ([("forces", FF, 1.0), ("forces", FF, 1.0)], ValueError, "not unique"),
            ([("a__b", FF, 1.0)], ValueError, "must not contain __"),
            ([("parts", FF, 1.0)], ValueError, "conflict with constructor arguments"),
            ([("a.b", FF, 1.0)], ValueError, r"parts\[0\] has the name 'a\.b'; expected a word"),
            ([("", FF, 1.0)], ValueError, r"has the name ''; expected"),
            ([("train", FF, 1.0)], ValueError, r"has the name 'train'; expected a word"),
            ([(3, FF, 1.0)], ValueError, r"has the name 3; expected a word"),
            ([("a", FF, 1.0), ("a_weight", FF, 1.0)], ValueError, "'a_weight' has the name of"),
            ([("forces", "ForceField", 1.0)], TypeError, "Part 'forces' .* is 'ForceField'; exp"),
            ([("forces", ForceField, 1.0)], TypeError, "Part 'forces' .*expected an objective"),
            ([("forces", None, 1.0)], TypeError, "Part 'forces' of the mixture is None"),
            ([("m", Mixture([("f", FF, 1.0)]), 1.0)], TypeError, "no further Mixture"),
            ([("forces", FF, -1.0)], ValueError, r"forces_weight=-1\.0; expected a number > 0"),
            ([("forces", FF, 0)], ValueError, "forces_weight=0; expected a number > 0"),
            ([("forces", FF, "1")], ValueError, "forces_weight='1'; expected a number"),
            ([("noise", Denoising(-1), 1.0)], ValueError, "Part 'noise' of the mixture: noise=-1"),
            ([("p", Picky(), 1.0)], ValueError, r"Part 'p' of the mixture: cutoff=4\.0; expected"),
        ],
    )
    def test_parts(self, graphs, labels, parts, error, message):
        model = Pretrainer(CGCNN_SMALL, Mixture(parts), **FIT)
        repr(model)
        with pytest.raises(error, match=message):
            model.fit(graphs, labels)

    def test_parts_that_want_different_graphs(self, graphs, labels):
        parts = [("forces", FF, 1.0), ("far", Picky(), 1.0)]
        with pytest.raises(ValueError, match="Part 'far' of the mixture: cutoff"):
            Pretrainer(CGCNN_SMALL, Mixture(parts), **FIT).fit(graphs, labels)

    def test_no_labels(self, graphs):
        with pytest.raises(ValueError, match="y is None, but Mixture learns from labels"):
            Pretrainer(CGCNN_SMALL, mixture(forces=1.0, noise=1.0), **FIT).fit(graphs)
