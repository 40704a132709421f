"""Mixtures in estimators: labels by name, and input that they cannot learn from."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import KFold, cross_val_score

from cases import compute_losses
from gnnpre import (
    Denoising,
    ForceField,
    FrameLabels,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    PropertyTargets,
)
from objectives.mixture_cases import (
    CGCNN_SMALL,
    FIT,
    Coordination,
    built,
    make_graphs,
    make_labels,
    mixture,
    step,
)


@pytest.fixture(scope="module")
def graphs():
    return make_graphs()


@pytest.fixture(scope="module")
def labels(graphs) -> FrameLabels:
    return make_labels(graphs)


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
