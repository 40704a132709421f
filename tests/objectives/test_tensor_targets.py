"""Vectors and tensors of crystals: forms of y, equivariance, symmetry, losses and statistics."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk

from cases import (
    BACKBONES,
    CUTOFF,
    compute_losses,
    evaluate,
    loss_targets,
    make_model,
    random_rotation,
    random_structures,
)
from gnnpre import StructureToGraph, TensorTargets
from gnnpre.objectives._tensor_forms import TENSOR_FORMS

STRUCTURES = list(random_structures().values())
N = len(STRUCTURES)
VOIGT = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]
EQUIVARIANT = [name for name in BACKBONES if name.startswith("torchmdnet")]


def config_of(form, **parameters):
    target = "vector" if form == "vector" else "tensor"
    return TensorTargets(target, **parameters)


def full_stiffness(voigt):
    """The four-index tensors (n, 3, 3, 3, 3) of matrices in Voigt's notation, entry by entry."""
    full = np.zeros((len(voigt), 3, 3, 3, 3))
    for a, (i, j) in enumerate(VOIGT):
        for b, (k, m) in enumerate(VOIGT):
            for p, q in {(i, j), (j, i)}:
                for r, s in {(k, m), (m, k)}:
                    full[:, p, q, r, s] = voigt[:, a, b]
    return full


def as_full(values, form):
    """Tensors with all of their indices."""
    if form in ("vector", "matrix"):
        return values
    if form == "voigt":
        full = np.zeros((len(values), 3, 3))
        for a, (i, j) in enumerate(VOIGT):
            full[:, i, j] = full[:, j, i] = values[:, a]
        return full
    if form == "stiffness_upper":
        matrices = np.zeros((len(values), 6, 6))
        matrices[:, *np.triu_indices(6)] = values
        values = matrices + np.triu(matrices, 1).swapaxes(1, 2)
    return full_stiffness(values)


def rotate(full, rotation):
    """Rotate every index of tensors (n, 3, ...)."""
    for axis in range(1, full.ndim):
        full = np.moveaxis(np.tensordot(full, rotation, axes=(axis, 1)), -1, axis)
    return full


def turned(atoms, rotation):
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ rotation.T)
    copy.positions = atoms.positions @ rotation.T
    return copy


def random_tensors(form, n=N, seed=0):
    rng = np.random.default_rng(seed)
    coordinates = rng.normal(size=(n, TENSOR_FORMS[form].expansion.shape[1]))
    return TENSOR_FORMS[form].to_values(coordinates)


@pytest.fixture(scope="module")
def graphs():
    return StructureToGraph(CUTOFF).transform(STRUCTURES)


class TestForms:
    @pytest.mark.parametrize("form", TENSOR_FORMS)
    def test_there_and_back(self, form):
        values = random_tensors(form)
        coordinates = TENSOR_FORMS[form].to_coordinates(values)
        np.testing.assert_allclose(TENSOR_FORMS[form].to_values(coordinates), values, atol=1e-12)

    @pytest.mark.parametrize("form", TENSOR_FORMS)
    def test_norms_of_coordinates_are_those_of_tensors(self, form):
        values = random_tensors(form)
        full = as_full(values, form).reshape(N, -1)
        coordinates = TENSOR_FORMS[form].to_coordinates(values)
        np.testing.assert_allclose((coordinates**2).sum(axis=1), (full**2).sum(axis=1))

    @pytest.mark.parametrize("form", ["matrix", "voigt", "stiffness", "stiffness_upper"])
    def test_isotropic_tensors_do_not_turn(self, form):
        isotropic = TENSOR_FORMS[form].isotropic
        np.testing.assert_allclose(isotropic @ isotropic.T, np.eye(len(isotropic)), atol=1e-12)
        full = as_full(TENSOR_FORMS[form].to_values(isotropic), form)
        rotation = random_rotation(np.random.default_rng(0))
        np.testing.assert_allclose(rotate(full, rotation), full, atol=1e-12)


class TestTargets:
    @pytest.mark.parametrize("form", TENSOR_FORMS)
    def test_the_form_is_recognised_by_its_shape(self, graphs, form):
        objective = config_of(form)
        targets = objective.make_targets(graphs, random_tensors(form))
        assert objective.layout(targets) == {"form": form}

    def test_missing_tensors_have_no_loss(self, graphs):
        y = random_tensors("matrix")
        y[3] = np.nan
        objective = TensorTargets(loss="l1")
        targets = objective.make_targets(graphs, y)
        model = make_model(BACKBONES["torchmdnet"], objective, layout={"form": "matrix"})
        model.set_statistics(graphs, targets, np.arange(N))
        term = compute_losses(model, graphs, targets)["tensors"]
        assert int(term.count) == N - 1
        predicted = model.predict(graphs.batch(dtype=torch.float64))["tensors"].numpy()
        norms = np.linalg.norm((predicted - y).reshape(N, -1), axis=1) / float(model.unit)
        assert float(term.mean) == pytest.approx(np.nanmean(norms))

    @pytest.mark.parametrize(
        ("target", "shape", "match"),
        [
            ("tensor", (N, 9), r"Use y.reshape\(-1, 3, 3\)"),
            ("tensor", (N,), "target='crystal'"),
            ("tensor", (N, 3), "target='vector'"),
            ("vector", (N, 3, 3), r"expects \(n, 3\)"),
            ("tensor", (N - 1, 3, 3), rf"y has shape \({N - 1}, 3, 3\); X has {N} crystals"),
        ],
    )
    def test_other_shapes_are_refused(self, graphs, target, shape, match):
        with pytest.raises(ValueError, match=match):
            TensorTargets(target).make_targets(graphs, np.zeros(shape))

    def test_asymmetric_tensors_are_refused_and_rounded_ones_averaged(self, graphs):
        y = random_tensors("matrix")
        y[4, 0, 1] += 1e-5
        coordinates = TensorTargets().make_targets(graphs, y).crystal["tensors"]
        np.testing.assert_allclose(coordinates[4, 5], np.sqrt(2) * (y[4, 0, 1] - 5e-6))
        y[4, 0, 1] += 1.0
        with pytest.raises(ValueError, match=r"not symmetric in 1 of 8 crystals.*row 4"):
            TensorTargets().make_targets(graphs, y)

    def test_tensors_that_are_missing_in_part_are_refused(self, graphs):
        y = random_tensors("voigt")
        y[2, 3] = np.nan
        with pytest.raises(ValueError, match=r"components are missing \(NaN\), the first at row 2"):
            TensorTargets().make_targets(graphs, y)

    @pytest.mark.parametrize("backbone", ["cgcnn", "schnet"])
    def test_backbones_without_vectors_are_refused(self, backbone):
        with pytest.raises(ValueError, match=r"needs a backbone with vectors.*TorchMDNet\(\)"):
            make_model(BACKBONES[backbone], TensorTargets())


@pytest.mark.parametrize("reflect", [False, True], ids=["rotation", "reflection"])
@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("backbone", EQUIVARIANT)
@pytest.mark.parametrize("form", TENSOR_FORMS)
def test_tensors_turn_with_the_crystal(form, backbone, pooling, reflect):
    model = make_model(BACKBONES[backbone], config_of(form, pooling=pooling), layout={"form": form})
    model.offset.normal_(generator=torch.Generator().manual_seed(0))
    rotation = random_rotation(np.random.default_rng(1), reflect=reflect)
    before = as_full(evaluate(model, STRUCTURES)["tensors"], form)
    after = as_full(evaluate(model, [turned(s, rotation) for s in STRUCTURES])["tensors"], form)
    expected = rotate(before, rotation)
    assert np.abs(before - expected).max() > 0.01 * np.abs(before).max()
    np.testing.assert_allclose(after, expected, rtol=0, atol=1e-10 * max(1, np.abs(before).max()))


@pytest.mark.parametrize("form", ["vector", "matrix", "stiffness"])
def test_inversion_turns_vectors_around_and_leaves_tensors(form):
    model = make_model(BACKBONES["torchmdnet"], config_of(form), layout={"form": form})
    before = evaluate(model, STRUCTURES)["tensors"]
    after = evaluate(model, [turned(s, -np.eye(3)) for s in STRUCTURES])["tensors"]
    sign = -1 if form == "vector" else 1
    scale = np.abs(before).max()
    np.testing.assert_allclose(after, sign * before, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("form", ["vector", "matrix", "stiffness"])
@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_supercells_and_single_crystals(form, pooling):
    model = make_model(
        BACKBONES["torchmdnet"], config_of(form, pooling=pooling), layout={"form": form}
    )
    model.offset.normal_(generator=torch.Generator().manual_seed(0))
    periodic = [s for s in STRUCTURES if s.pbc.all()]
    cells = evaluate(model, periodic)["tensors"]
    supercells = evaluate(model, [s.repeat((2, 1, 1)) for s in periodic])["tensors"]
    factor = 2 if pooling == "sum" else 1
    np.testing.assert_allclose(supercells, factor * cells, atol=1e-9 * np.abs(cells).max())
    singles = [evaluate(model, [s])["tensors"][0] for s in periodic]
    np.testing.assert_allclose(singles, cells, atol=1e-9 * np.abs(cells).max())


def test_cubic_crystals_have_three_elastic_constants():
    """Symmetry decides the form of the tensor, and leaves the anisotropy C11 - C12 - 2 C44."""
    model = make_model(BACKBONES["torchmdnet"], TensorTargets(), layout={"form": "stiffness"})
    rocksalt = bulk("NaCl", "rocksalt", a=5.64)
    stiffness = evaluate(model, [rocksalt])["tensors"][0]
    c11, c12, c44 = stiffness[0, 0], stiffness[0, 1], stiffness[3, 3]
    expected = np.diag([c11 - c12] * 3 + [c44] * 3)
    expected[:3, :3] += c12
    np.testing.assert_allclose(stiffness, expected, atol=1e-9 * np.abs(stiffness).max())
    assert abs(c11 - c12 - 2 * c44) > 0.01 * np.abs(stiffness).max()


def test_anisotropy_at_centres_of_inversion():
    """Vectors of both atoms vanish, the matrix is that of a tetragonal crystal all the same."""
    atoms = Atoms("CsCl", [[0, 0, 0], [1.9, 1.9, 2.3]], cell=[3.8, 3.8, 4.6], pbc=True)
    model = make_model(BACKBONES["torchmdnet"], TensorTargets(), layout={"form": "matrix"})
    matrix = evaluate(model, [atoms])["tensors"][0]
    scale = np.abs(matrix).max()
    np.testing.assert_allclose(matrix, np.diag(np.diag(matrix)), atol=1e-10 * scale)
    assert matrix[0, 0] == pytest.approx(matrix[1, 1], abs=1e-9 * scale)
    assert abs(matrix[0, 0] - matrix[2, 2]) > 1e-3 * scale
    vector = make_model(BACKBONES["torchmdnet"], TensorTargets("vector"), layout={"form": "vector"})
    assert np.abs(evaluate(vector, [atoms])["tensors"]).max() < 1e-10


def test_tensors_are_smooth_at_the_cutoff():
    """An edge that appears at the cutoff has weight zero."""
    rest = Atoms("NaCl", [[0, 0, 0], [CUTOFF - 1e-7, 0, 0]], cell=np.zeros((3, 3)), pbc=False)
    moved = rest.copy()
    moved.positions[1, 0] = CUTOFF + 1e-7
    model = make_model(BACKBONES["torchmdnet"], TensorTargets(), layout={"form": "stiffness"})
    for module in model.modules():
        if hasattr(module, "set_scales"):
            module.set_scales(CUTOFF, 1.0)
    before, after = evaluate(model, [rest, moved])["tensors"]
    np.testing.assert_allclose(before, after, atol=1e-6 * np.abs(before).max())


class TestStatistics:
    def fit(self, graphs, y, **parameters):
        objective = TensorTargets(**parameters)
        targets = objective.make_targets(graphs, y)
        model = make_model(BACKBONES["torchmdnet"], objective, layout=objective.layout(targets))
        model.set_statistics(graphs, targets, np.arange(len(graphs)))
        return model, targets

    def test_the_offset_is_isotropic_and_the_scale_one_number(self, graphs):
        y = random_tensors("matrix") + 5 * np.eye(3)
        model, targets = self.fit(graphs, y)
        mean_trace = np.trace(y, axis1=1, axis2=2).mean()
        assert float(model.offset) == pytest.approx(mean_trace / np.sqrt(3))
        batch = graphs.batch(dtype=torch.float64)
        standard = loss_targets(model, targets, batch, np.arange(N))["tensors"]
        assert float(standard.square().sum(dim=1).mean()) == pytest.approx(1.0)

    def test_standardisation_does_not_depend_on_the_axes(self, graphs):
        rotation = random_rotation(np.random.default_rng(3))
        y = random_tensors("matrix") + 5 * np.eye(3)
        first, _ = self.fit(graphs, y)
        second, _ = self.fit(graphs, rotate(y, rotation))
        assert float(first.unit) == pytest.approx(float(second.unit), rel=1e-12)
        assert float(first.offset) == pytest.approx(float(second.offset), rel=1e-12)

    def test_constants_are_predicted_as_they_are(self, graphs):
        y = np.broadcast_to(3.3 * np.eye(3), (N, 3, 3))
        model, _ = self.fit(graphs, y)
        predicted = model.predict(graphs.batch(dtype=torch.float64))["tensors"].numpy()
        np.testing.assert_allclose(predicted, y, atol=1e-12)

    def test_sums_have_an_offset_per_atom(self, graphs):
        y = 3.3 * np.eye(3) * graphs.atom_counts[:, None, None]
        model, _ = self.fit(graphs, y, pooling="sum")
        predicted = model.predict(graphs.batch(dtype=torch.float64))["tensors"].numpy()
        np.testing.assert_allclose(predicted, y, atol=1e-10)

    def test_edges_go_to_the_cutoff_of_the_graphs(self, graphs):
        model, _ = self.fit(graphs, random_tensors("stiffness"))
        cutoffs = [float(m.cutoff) for m in model.modules() if hasattr(m, "set_scales")]
        assert cutoffs == [CUTOFF, CUTOFF]

    @pytest.mark.parametrize("loss", ["l1", "huber", "mse"])
    def test_losses_do_not_depend_on_the_axes(self, loss):
        rotation = random_rotation(np.random.default_rng(3))
        values = []
        for matrix in (np.eye(3), rotation):
            turned_graphs = StructureToGraph(CUTOFF).transform(
                [turned(s, matrix) for s in STRUCTURES]
            )
            y = rotate(random_tensors("matrix"), matrix)
            model, targets = self.fit(turned_graphs, y, loss=loss)
            values.append(float(compute_losses(model, turned_graphs, targets)["tensors"].mean))
        assert values[0] == pytest.approx(values[1], rel=1e-10)

    def test_gradients_are_finite_where_an_error_is_zero(self, graphs):
        y = np.broadcast_to(3.3 * np.eye(3), (N, 3, 3))
        model, targets = self.fit(graphs, y)
        compute_losses(model, graphs, targets)["tensors"].mean.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
