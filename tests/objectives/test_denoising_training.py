"""Denoising in estimators, with strain, and input that it cannot learn from."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from pymatgen.core import Lattice, Structure
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from cases import BACKBONES, CUTOFF, SMALL, make_model, random_structures
from gnnpre import CGCNN, Denoising, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import read_frames
from objectives.denoising_cases import CGCNN_SMALL, FIT, STRUCTURES, crystals, rattle


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


@pytest.fixture(scope="module")
def structures():
    return crystals()


class TestEstimators:
    def test_fit_needs_no_labels(self, structures):
        model = Pretrainer(CGCNN_SMALL, Denoising(), **FIT).fit(structures)
        assert not model.__sklearn_tags__().target_tags.required
        assert {"train_displacements", "valid_displacements"} <= set(model.history_[0])
        result = model.predict(structures[:3])
        assert [array.shape for array in result] == [(len(s), 3) for s in structures[:3]]
        (alone,) = model.predict(structures[2:3])
        np.testing.assert_allclose(alone, result[2], atol=1e-6)
        assert np.abs(sum(result)).max() < 0.01  # of perfect crystals

    def test_score_has_the_same_noise_each_time(self, structures):
        model = Pretrainer(CGCNN_SMALL, Denoising(), **FIT).fit(structures)
        assert model.score(structures) == model.score(structures, y=np.zeros(len(structures)))
        assert -1.5 < model.score(structures) < -0.3

    def test_random_state(self, structures):
        model = Pretrainer(CGCNN_SMALL, Denoising(), **FIT)
        one, same = (clone(model).fit(structures) for _ in range(2))
        alternative = clone(model).set_params(random_state=1).fit(structures)
        losses = [[row["train_loss"] for row in m.history_] for m in (one, same, alternative)]
        assert losses[0] == losses[1] != losses[2]

    def test_a_later_epoch_has_other_noise(self, structures):
        """With weights that stand still, the loss changes by the noise alone."""
        settings = {**FIT, "learning_rate": 1e-30, "validation_fraction": 0.25}
        model = Pretrainer(CGCNN_SMALL, Denoising(), **settings).fit(structures)
        first, second = model.history_
        assert first["train_loss"] != second["train_loss"]
        assert first["valid_loss"] == second["valid_loss"]

    @pytest.mark.parametrize("backbone", ["cgcnn", "torchmdnet"])
    @pytest.mark.parametrize("through", ["derivative", "head"])
    def test_save_and_load(self, structures, tmp_path, through, backbone):
        objective = Denoising(0.05, through, target="noise", head_layers=2)
        model = Pretrainer(BACKBONES[backbone], objective, **FIT).fit(structures)
        model.save(tmp_path / "m.gnnpre")
        again = Pretrainer.load(tmp_path / "m.gnnpre")
        assert again.objective.get_params() == objective.get_params()
        noisy, _ = rattle(structures[:2], 0.05)
        for one, two in zip(model.predict(noisy), again.predict(noisy), strict=True):
            np.testing.assert_array_equal(one, two)
        assert again.score(structures) == model.score(structures)

    def test_resume(self, structures, tmp_path):
        objective = Denoising(scale="running")
        whole = Pretrainer(CGCNN_SMALL, objective, **{**FIT, "max_epochs": 4}, schedule=None)
        parts = clone(whole).set_params(checkpoint_dir=str(tmp_path), resume=True)
        clone(parts).set_params(max_epochs=2).fit(structures)
        one, two = (m.fit(structures).net_.module_.state_dict() for m in (whole, parts))
        assert all(torch.equal(one[name], two[name]) for name in one)

    @pytest.mark.parametrize("through", ["derivative", "head"])
    def test_pretraining_within_each_fold(self, structures, through):
        pretraining = Pretrainer(
            CGCNN_SMALL, Denoising(through=through), **FIT, validation_fraction=0
        )
        regressor = PropertyRegressor(pretraining=pretraining, **FIT, validation_fraction=0)
        model = make_pipeline(StructureToGraph(CUTOFF), regressor)
        y = np.array([structure.volume for structure in structures])
        scores = cross_val_score(model, structures, y, cv=KFold(2, shuffle=True, random_state=0))
        assert np.isfinite(scores).all()

    def test_the_readout_is_transferred_as_in_the_papers(self, structures):
        pretraining = Pretrainer(CGCNN_SMALL, Denoising(), **FIT)
        regressor = PropertyRegressor(
            pretraining=pretraining, transfer="matching", pooling="sum", **FIT
        )
        regressor.fit(structures, np.arange(len(structures), dtype=float))
        assert any(name.startswith("head.") for name in regressor.transferred_)


def test_real_frames_are_learnt(data_dir):
    frames, _ = read_frames(data_dir / "upstream" / "alexandria-random-1k.extxyz.gz")
    graphs = StructureToGraph(cutoff=4.5).transform(frames[:400])
    model = Pretrainer(
        CGCNN(16, 2), Denoising(0.1), max_epochs=8, batch_size=8, learning_rate=5e-3, random_state=0
    ).fit(graphs[:300])
    module = model.net_.module_
    loss = -model.score(graphs[300:])
    for parameter in module.head.parameters():
        parameter.data.zero_()
    assert loss < 0.8 * -model.score(graphs[300:])  # of no displacement


class TestBadInput:
    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"noise": 0.0}, r"noise=0\.0; expected a number > 0"),
            ({"noise": -0.1}, r"noise=-0\.1; expected"),
            ({"noise": "0.1"}, r"noise='0\.1'; expected"),
            ({"noise": float("nan")}, "noise=nan; expected"),
            ({"through": "energy"}, r"through='energy'; expected one of \['derivative', 'head'\]"),
            ({"target": "papers"}, r"target='papers'; expected one of \['return', 'noise'\]"),
            ({"scale": "std"}, r"scale='std'; expected one of \['noise', 'running', None\]"),
            ({"loss": "l2"}, "loss='l2'; expected"),
            ({"huber_delta": 0}, "huber_delta=0; expected"),
            ({"remove_translation": "yes"}, "remove_translation='yes'; expected True or False"),
            ({"readout": "middle"}, "readout='middle'; expected"),
            ({"pooling": "max"}, "pooling='max'; expected"),
            ({"head_layers": -1}, "head_layers=-1; expected"),
            ({"head_channels": 0, "through": "head"}, "head_channels=0; expected"),
        ],
    )
    def test_parameters(self, structures, parameters, message):
        with pytest.raises(ValueError, match=message):
            Pretrainer(CGCNN_SMALL, Denoising(**parameters), **FIT).fit(structures)

    def test_crystals_of_one_atom_alone(self):
        copper = [Structure(Lattice.cubic(a), ["Cu"], [[0, 0, 0]]) for a in (2.9, 3.0, 3.1)]
        with pytest.raises(ValueError, match="Every crystal of X has one atom"):
            Pretrainer(CGCNN_SMALL, Denoising(), **FIT).fit(copper)

    def test_noise_that_lets_atoms_collide(self, structures):
        model = Pretrainer(CGCNN_SMALL, Denoising(0.8), **FIT)
        with pytest.warns(UserWarning, match=r"noise=0\.8 Å is large .* neighbours are 2\.[0-9]+"):
            model.fit(structures)

    @pytest.mark.parametrize(("through", "count"), [("derivative", 1), ("head", 0)])
    def test_cut_neighbours(self, structures, through, count, recwarn):
        graphs = StructureToGraph(CUTOFF, max_neighbors=12).transform(structures)
        Pretrainer(CGCNN_SMALL, Denoising(through=through), **FIT).fit(graphs)
        assert sum("derivatives jump" in str(warning.message) for warning in recwarn) == count

    def test_no_warning_where_all_is_well(self, structures, recwarn):
        Pretrainer(CGCNN_SMALL, Denoising(), **FIT).fit(structures)
        assert not [w for w in recwarn if "gnnpre" in str(w.filename)]


class TestStrain:
    @pytest.fixture
    def graphs(self):
        return StructureToGraph(CUTOFF).transform(list(random_structures().values()))

    def perturbed(self, graphs, objective, seed=0):
        model = make_model(CGCNN(**SMALL), objective)
        batch = graphs.batch(dtype=torch.float64)
        return model, batch, *model.perturb(batch, {}, torch.Generator().manual_seed(seed))

    def test_edges_are_those_of_the_deformed_crystal(self, graphs):
        _, batch, moved, targets = self.perturbed(graphs, Denoising(0.01, strain=0.05))
        shift = moved.edge_shift.to(torch.float64)
        of_edges = moved.batch[moved.target]
        vectors = moved.positions[moved.source] - moved.positions[moved.target]
        vectors = vectors + (shift[:, None] @ moved.cell[of_edges])[:, 0]
        torch.testing.assert_close(vectors, moved.edge_vectors)
        periodic = batch.pbc.all(dim=1)
        assert torch.equal(torch.isnan(targets["strain"]).all(dim=(1, 2)), ~periodic)
        back = torch.eye(3, dtype=torch.float64) - targets["strain"][periodic]
        torch.testing.assert_close(batch.cell[periodic] @ back, moved.cell[periodic])
        assert torch.equal(moved.cell[~periodic], batch.cell[~periodic])

    def test_strains_are_symmetric_and_of_the_size_asked_for(self):
        graphs = StructureToGraph(3.0).transform([bulk("Cu")] * 600)
        *_, targets = self.perturbed(graphs, Denoising(strain=0.05))
        strain = targets["strain"]
        assert torch.equal(strain, strain.mT)
        torch.testing.assert_close(
            strain.std(dim=0), torch.full((3, 3), 0.05, dtype=torch.float64), rtol=0.12, atol=0
        )

    def test_derivative_is_the_stress(self, graphs):
        model, _, moved, _ = self.perturbed(graphs, Denoising(strain=0.05))
        predicted = model.predict(moved)
        length = (moved.volume / moved.n_atoms) ** (1 / 3)
        expected = -predicted["stress"] * length[:, None, None]
        torch.testing.assert_close(predicted["strain"], expected, equal_nan=True)

    def test_noise_alone_is_as_before(self, graphs):
        _, _, plain, targets = self.perturbed(graphs, Denoising())
        _, _, strained, _ = self.perturbed(graphs, Denoising(strain=0.05))
        assert set(targets) == {"displacements"}
        periodic = plain.pbc.all(dim=1)[plain.batch]
        torch.testing.assert_close(plain.positions[~periodic], strained.positions[~periodic])

    @pytest.mark.parametrize("through", ["derivative", "head"])
    def test_strain_of_silicon_is_learnt(self, through):
        """Its bonds tell the strain, those of another crystal at 4 % expansion too."""
        frames = [bulk("Si", a=5.43)] * 64
        objective = Denoising(0.05, through, strain=0.05)
        model = Pretrainer(
            CGCNN(16, 2), objective, max_epochs=25, learning_rate=1e-2, batch_size=8, random_state=0
        ).fit(frames)
        assert model.history_[-1]["valid_strain"] < 0.5  # about 0.75 for no strain at all
        strained = bulk("Si", a=5.43 * 1.04)
        back = model.predict([strained])["strain"][0]
        np.testing.assert_allclose(back, back[0, 0] * np.eye(3), atol=1e-3)
        assert -0.09 < back[0, 0] < -0.02

    def test_no_cell_to_strain(self):
        graphs = StructureToGraph(3.0).transform([molecule("H2O")])
        with pytest.raises(ValueError, match=r"strain=0.05.*Set strain=0"):
            Denoising(strain=0.05).check_graphs(graphs)

    def test_crystals_of_one_atom_have_a_strain_to_learn(self):
        graphs = StructureToGraph(4.0).transform([bulk("Cu"), bulk("Fe")])
        Denoising(strain=0.05).check_graphs(graphs)
        model = Pretrainer(
            CGCNN(8, 1), Denoising(strain=0.05), max_epochs=1, validation_fraction=0, random_state=0
        ).fit(graphs)
        assert np.isfinite(model.history_[0]["train_loss"])
