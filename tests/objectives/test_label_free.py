"""What every objective without labels keeps to, on every backbone."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from cases import (
    BACKBONES,
    CUTOFF,
    SMALL,
    loss_targets,
    make_model,
    random_rotation,
    random_structures,
)
from gnnpre import (
    CGCNN,
    EAD,
    Denoising,
    ElementMasking,
    EmbeddingTargets,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    StructureToGraph,
    TwoViews,
)
from gnnpre.datasets import make_emt_frames
from gnnpre.training._average import combine

STRUCTURES = list(random_structures().values())
TEACHER = EAD(L=0, rs=(1.5, 2.5))
OBJECTIVES = {
    "masking": ElementMasking(0.4),
    "masking_cosine": ElementMasking(0.4, "scaled_cosine"),
    "strain": Denoising(strain=0.05),
    "strain_head": Denoising(through="head", strain=0.05),
    "strain_papers_sign": Denoising(strain=0.05, target="noise"),
    "embeddings": EmbeddingTargets(TEACHER, cache=False),
    "embeddings_of_crystals": EmbeddingTargets(
        clone(TEACHER).set_params(pooling="mean"), cache=False
    ),
    "views": TwoViews(0.05, channels=6),
}


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


def built(name, graphs, backbone="cgcnn", dtype=torch.float64):
    objective = clone(OBJECTIVES[name])
    targets = objective.make_targets(graphs, None)
    layout = objective.layout(targets)
    model = make_model(BACKBONES[backbone], objective, layout=layout, dtype=dtype)
    model.set_statistics(graphs, targets, np.arange(len(graphs)))
    return model, targets


def step(model, graphs, targets, indices=None, seed=0, dtype=torch.float64, **extra):
    """Losses of one step with noise from a seed."""
    indices = np.arange(len(graphs)) if indices is None else np.asarray(indices)
    batch = graphs.batch(indices, dtype)
    labels = {k: v.to(dtype) for k, v in loss_targets(model, targets, batch, indices).items()}
    seen, labels = model.perturb(batch, {**labels, **extra}, torch.Generator().manual_seed(seed))
    return model.losses(model(seen), labels, seen)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_gradient_is_finite_and_reaches_the_backbone(graphs, name, backbone):
    model, targets = built(name, graphs, backbone)
    combine(step(model.train(), graphs, targets)).backward()
    gradients = [p.grad for p in model.backbone.parameters() if p.grad is not None]
    assert max(float(gradient.abs().max()) for gradient in gradients) > 1e-8
    for weight, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), weight


@pytest.mark.parametrize("name", OBJECTIVES)
def test_noise_follows_the_generator(graphs, name):
    model, targets = built(name, graphs)
    first, again, alternative = (
        combine(step(model, graphs, targets, seed=seed)).item() for seed in (0, 0, 1)
    )
    assert first == again
    if not name.startswith("embeddings"):
        assert first != alternative


@pytest.mark.parametrize("name", OBJECTIVES)
def test_weights_of_crystals(graphs, name):
    """A crystal of weight zero is as good as absent from the sums."""
    model, targets = built(name, graphs)
    weights = torch.ones(len(graphs), dtype=torch.float64)
    plain = step(model, graphs, targets)
    equal = step(model, graphs, targets, sample_weight=2.0 * weights)
    for key, term in plain.items():
        assert equal[key].mean.item() == pytest.approx(term.mean.item(), rel=1e-10)
    weights[:] = 0.0
    weights[4] = 1.0
    alone = step(model, graphs, targets, sample_weight=weights)
    changed = [key for key in plain if alone[key].mean.item() != plain[key].mean.item()]
    assert changed


@pytest.mark.parametrize("backbone", ["cgcnn", "torchmdnet"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_predictions_turn_with_the_crystal(name, backbone):
    rotation = random_rotation(np.random.default_rng(0))
    turned = [atoms.copy() for atoms in STRUCTURES]
    for atoms in turned:
        atoms.set_cell(atoms.cell.array @ rotation.T)
        atoms.positions = atoms.positions @ rotation.T
    transformer = StructureToGraph(CUTOFF)
    first, second = transformer.transform(STRUCTURES), transformer.transform(turned)
    model, _ = built(name, first, backbone)
    before, after = (model.predict(g.batch(dtype=torch.float64)) for g in (first, second))
    matrix = torch.from_numpy(rotation)
    for key, values in before.items():
        if key in ("displacements", "forces"):
            if backbone == "cgcnn" and name == "strain_head":
                continue  # the papers' perceptron knows no directions
            values = values @ matrix.T
        elif key in ("strain", "stress"):
            values = matrix @ values @ matrix.T
        torch.testing.assert_close(after[key], values, rtol=1e-7, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_is_learnt_saved_and_transferred(name, tmp_path):
    structures, _ = make_emt_frames(32, max_atoms=6, random_state=0)
    objective = clone(OBJECTIVES[name])
    settings = {"max_epochs": 12, "batch_size": 8, "validation_fraction": 0, "random_state": 0}
    pretrainer = Pretrainer(CGCNN(16, 2), objective, learning_rate=5e-3, **settings)
    pretrainer.fit(structures)
    losses = [row["train_loss"] for row in pretrainer.history_]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.97 * np.mean(losses[:2])
    path = tmp_path / "model.gnnpre"
    pretrainer.save(path)
    loaded = Pretrainer.load(path)
    first, second = (leaves(model.predict(structures[:3])) for model in (pretrainer, loaded))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    regressor = PropertyRegressor(pretrained=path, max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        regressor.fit(structures, np.arange(32.0))
    assert np.isfinite(regressor.predict(structures)).all()


def leaves(predictions):
    """Arrays of predictions of any form."""
    if isinstance(predictions, dict):
        return [leaf for key in sorted(predictions) for leaf in leaves(predictions[key])]
    return list(predictions)


def test_all_in_one_mixture(graphs):
    mixture = Mixture([(name, clone(o), 1.0) for name, o in OBJECTIVES.items()])
    model = Pretrainer(CGCNN(**SMALL), mixture, max_epochs=1, validation_fraction=0, random_state=0)
    model.fit(graphs)
    predicted = model.predict(graphs)
    assert predicted.keys() == OBJECTIVES.keys()
    assert predicted["strain"]["strain"].shape == (len(graphs), 3, 3)
    assert {"views.agreement", "views.gaussian", "masking.elements", "strain.strain"} <= {
        key.removeprefix("train_") for key in model.history_[0]
    }


@pytest.mark.parametrize(
    ("objective", "match"),
    [
        (ElementMasking(0.0), "^fraction=0.0"),
        (ElementMasking(1.5), "^fraction=1.5"),
        (ElementMasking(loss="l1"), "^loss='l1'"),
        (ElementMasking(gamma=0.5), "^gamma=0.5"),
        (ElementMasking(head_layers=-1), "^head_layers=-1"),
        (Denoising(strain=-0.1), "^strain=-0.1"),
        (Denoising(strain=5), "^strain=5"),
        (EmbeddingTargets(TEACHER, cache=None), "^cache=None"),
        (EmbeddingTargets(TEACHER, huber_delta=0), "^huber_delta=0"),
        (TwoViews(0, strain=0, mask=0), "noise, strain and mask are all 0"),
        (TwoViews(regularization=1.0), "^regularization=1.0"),
        (TwoViews(channels=0), "^channels=0"),
    ],
)
def test_bad_parameters_are_named(graphs, objective, match):
    with pytest.raises(ValueError, match=match):
        objective.make_targets(graphs, None)
    with pytest.raises(ValueError, match=match):
        objective.build(CGCNN(**SMALL).build(CUTOFF), {"n_features": 2, "per_crystal": False})
