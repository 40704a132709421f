"""Fingerprints as what is learnt."""

import numpy as np
import pytest
import torch
from ase.build import bulk
from sklearn.base import clone

from cases import BACKBONES, random_structures
from gnnpre import (
    CGCNN,
    EAD,
    GMP,
    WACSF,
    FingerprintTargets,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    StructureToGraph,
)
from gnnpre.datasets import make_emt_frames, read_frames
from gnnpre.fingerprints import Fingerprint

SMALL = EAD(4.0, L=1, rs=(2.0, 3.0))
SETTINGS = {"max_epochs": 2, "batch_size": 4, "random_state": 0, "validation_fraction": 0}


@pytest.fixture(scope="module")
def structures():
    return make_emt_frames(16, random_state=0)[0]


@pytest.fixture(scope="module")
def graphs(structures):
    return StructureToGraph(5.0).transform(structures)


def fitted(objective, structures, backbone=None, **settings):
    backbone = CGCNN(8, 1) if backbone is None else clone(backbone)
    return Pretrainer(backbone, objective, **{**SETTINGS, **settings}).fit(structures)


@pytest.mark.parametrize("fingerprint", [SMALL, WACSF(), GMP((0.5,), (-1, 0, 1))])
def test_targets_are_the_fingerprints_of_the_atoms(fingerprint, structures, graphs):
    targets = FingerprintTargets(fingerprint).make_targets(graphs, None)
    expected = np.concatenate(clone(fingerprint).transform(structures))
    np.testing.assert_allclose(targets.atom["fingerprints"], expected, rtol=1e-9)


def test_pooling_of_the_fingerprint_does_not_matter(graphs):
    pooled = clone(SMALL).set_params(pooling="mean")
    targets = [FingerprintTargets(f).make_targets(graphs, None) for f in (SMALL, pooled)]
    assert torch.equal(*[t.atom["fingerprints"] for t in targets])


def test_ead_is_the_default(graphs):
    targets = [FingerprintTargets(f).make_targets(graphs, None) for f in (None, EAD())]
    assert torch.equal(*[t.atom["fingerprints"] for t in targets])


def test_targets_do_not_depend_on_the_cutoff_of_the_graphs(structures):
    values = [
        FingerprintTargets(SMALL).make_targets(StructureToGraph(c).transform(structures), None)
        for c in (3.0, 6.0)
    ]
    first, second = (v.atom["fingerprints"] for v in values)
    torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)


def test_statistics_are_those_of_the_training_part(graphs):
    objective = FingerprintTargets(SMALL)
    targets = objective.make_targets(graphs, None)
    model = objective.build(CGCNN(8, 1).build(5.0), objective.layout(targets)).double()
    train = np.array([0, 3, 5])
    model.set_statistics(graphs, targets, train)
    rows = np.concatenate([SMALL.transform(graphs[[i]])[0] for i in train])
    np.testing.assert_allclose(model.mean, rows.mean(axis=0))
    np.testing.assert_allclose(model.std, rows.std(axis=0))


@pytest.mark.parametrize("loss", ["l1", "mse"])
def test_loss_of_the_mean_is_the_spread(graphs, loss):
    objective = FingerprintTargets(SMALL, loss)
    targets = objective.make_targets(graphs, None)
    model = objective.build(CGCNN(8, 1).build(5.0), objective.layout(targets)).double()
    everything = np.arange(len(graphs))
    model.set_statistics(graphs, targets, everything)
    batch = graphs.batch(dtype=torch.float64)
    labels = targets.batch(everything, torch.float64)
    scaled = (labels["fingerprints"] - model.mean) / model.std
    mean = {"fingerprints": torch.zeros_like(scaled)}
    expected = scaled.abs().mean() if loss == "l1" else scaled.square().mean()
    (term,) = model.losses(mean, model.standardize(labels, batch), batch).values()
    assert float(term.mean) == pytest.approx(float(expected))


def test_weights_of_crystals_weigh_their_atoms(graphs):
    objective = FingerprintTargets(SMALL)
    targets = objective.make_targets(graphs, None)
    model = objective.build(CGCNN(8, 1).build(5.0), objective.layout(targets)).double()
    pair = np.array([0, 1])
    batch = graphs.batch(pair, torch.float64)
    labels = targets.batch(pair, torch.float64)
    predictions = {"fingerprints": torch.zeros_like(labels["fingerprints"])}
    weights = torch.tensor([0.5, 2.0], dtype=torch.float64)
    (term,) = model.losses(predictions, {**labels, "sample_weight": weights}, batch).values()
    rows = weights[batch.batch]
    expected = (rows[:, None] * labels["fingerprints"].abs()).sum() / (rows.sum() * 4)
    assert float(term.mean) == pytest.approx(float(expected))


def test_constant_features_are_left_out_and_predicted(structures):
    # No neighbour is nearer than 1 Å, so the first feature of each degree is zero everywhere.
    fingerprint = EAD(4.0, L=1, eta=(400.0,), rs=(0.5, 2.6))
    model = fitted(FingerprintTargets(fingerprint), structures).net_.module_
    assert model.varies.tolist() == [False, True, False, True]
    predicted = np.concatenate(
        fitted(FingerprintTargets(fingerprint), structures).predict(structures)
    )
    assert np.isfinite(predicted).all()
    np.testing.assert_array_equal(predicted[:, 0], np.zeros(len(predicted)))


def test_raw_features_as_published(structures):
    model = fitted(FingerprintTargets(SMALL, standardize=False), structures).net_.module_
    assert not model.mean.any()
    assert (model.std == 1).all()


@pytest.mark.parametrize("backbone", ["cgcnn", "torchmdnet"])
def test_learns_more_than_the_mean(structures, backbone):
    settings = {"max_epochs": 30, "learning_rate": 1e-2}
    pretrainer = fitted(FingerprintTargets(SMALL), structures, BACKBONES[backbone], **settings)
    first, last = (pretrainer.history_[i]["train_loss"] for i in (0, -1))
    assert last < 0.7 * first


def test_predicts_a_list_of_arrays(structures):
    pretrainer = fitted(FingerprintTargets(SMALL), structures)
    predicted = pretrainer.predict(structures[:3])
    assert [p.shape for p in predicted] == [(len(s), 4) for s in structures[:3]]


def test_save_and_load_with_arrays_as_parameters(structures, tmp_path):
    fingerprint = EAD(4.0, L=1, rs=np.arange(2.0, 4.0, 1.0))
    pretrainer = fitted(FingerprintTargets(fingerprint), structures)
    pretrainer.save(tmp_path / "m.gnnpre")
    loaded = Pretrainer.load(tmp_path / "m.gnnpre")
    for reference, counterpart in zip(
        pretrainer.predict(structures), loaded.predict(structures), strict=True
    ):
        np.testing.assert_array_equal(reference, counterpart)
    assert loaded.objective.fingerprint.rs == (2.0, 3.0)


def test_hidden_layers_of_the_head_are_transferred(structures, tmp_path):
    pretrainer = fitted(FingerprintTargets(SMALL), structures)
    pretrainer.save(tmp_path / "m.gnnpre")
    regressor = PropertyRegressor(
        pretrained=str(tmp_path / "m.gnnpre"),
        transfer="matching",
        learning_rate=1e-12,
        max_epochs=1,
        random_state=0,
        validation_fraction=0,
    )
    regressor.fit(structures, np.arange(float(len(structures))))
    reference, counterpart = (e.net_.module_.state_dict() for e in (pretrainer, regressor))
    torch.testing.assert_close(reference["head.mlp.0.weight"], counterpart["head.mlp.0.weight"])
    assert reference["head.mlp.2.weight"].shape != counterpart["head.mlp.2.weight"].shape


def test_a_fingerprint_of_ones_own(structures, tmp_path):
    pretrainer = fitted(FingerprintTargets(InverseDistances()), structures)
    pretrainer.save(tmp_path / "m.gnnpre")
    loaded = Pretrainer.load(tmp_path / "m.gnnpre")
    assert loaded.predict(structures[:1])[0].shape == (len(structures[0]), 1)


class InverseDistances(Fingerprint):
    """The sum of inverse distances, as simple as a fingerprint can be."""

    def __init__(self, pooling=None, dtype="float64", device=None):
        self.pooling = pooling
        self.dtype = dtype
        self.device = device

    def compute(self, batch):
        total = batch.positions.new_zeros((len(batch.positions), 1))
        inside = (batch.distances < 4.0).to(total.dtype)
        return total.index_add(0, batch.target, (inside / batch.distances)[:, None])

    def atom_feature_names(self):
        return ["coordination"]

    def needed_cutoff(self, atomic_numbers):
        return 4.0


@pytest.mark.parametrize("wrong", ["ead", EAD, CGCNN(), 3])
def test_what_is_no_fingerprint_is_refused(graphs, wrong):
    with pytest.raises(TypeError, match=r"fingerprint=.*EAD\(\), WACSF\(\)"):
        FingerprintTargets(wrong).make_targets(graphs, None)


def test_bad_parameters_are_refused(graphs):
    with pytest.raises(ValueError, match=r"loss='rmse'"):
        FingerprintTargets(loss="rmse").make_targets(graphs, None)
    with pytest.raises(ValueError, match=r"standardize='yes'"):
        FingerprintTargets(standardize="yes").make_targets(graphs, None)
    for fingerprint, match in ((EAD(L=-1), "^L=-1"), (EAD(pooling="median"), "^pooling='median'")):
        with pytest.raises(ValueError, match=match):
            FingerprintTargets(fingerprint).make_targets(graphs, None)
        with pytest.raises(ValueError, match=match):
            FingerprintTargets(fingerprint).check_parameters()


def test_crystals_that_are_all_alike_are_refused():
    with pytest.raises(ValueError, match="No feature of the fingerprints varies"):
        fitted(FingerprintTargets(SMALL), [bulk("Cu"), bulk("Cu")])


def test_isolated_atoms_have_finite_losses():
    structures = [*random_structures().values(), bulk("Cu", a=30.0, cubic=False)]
    pretrainer = fitted(FingerprintTargets(WACSF(4.0)), structures)
    assert np.isfinite(pretrainer.history_[-1]["train_loss"])


def test_part_of_a_mixture_with_its_parameters_in_reach(structures):
    mixture = Mixture(
        [("ead", FingerprintTargets(SMALL), 1.0), ("gmp", FingerprintTargets(GMP()), 2.0)]
    )
    mixture.set_params(ead__fingerprint__L=0, gmp__fingerprint__orders=(0, 1))
    predicted = fitted(mixture, structures).predict(structures[:1])
    assert predicted["ead"][0].shape == (len(structures[0]), 2)
    assert predicted["gmp"][0].shape == (len(structures[0]), 6)


def test_fingerprints_of_real_frames_are_finite(data_dir):
    structures, _ = read_frames(data_dir / "upstream" / "mptrj-highest-stress-1k.extxyz.gz")
    graphs = StructureToGraph(5.0).transform(structures[:200])
    for fingerprint in (EAD(), WACSF(), GMP()):
        values = FingerprintTargets(fingerprint).make_targets(graphs, None).atom["fingerprints"]
        assert torch.isfinite(values).all()
