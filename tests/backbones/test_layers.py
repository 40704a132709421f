"""Radial basis, envelopes, element table and sums."""

import numpy as np
import pytest
import torch
from ase.data import covalent_radii
from pymatgen.core import Element
from torch.autograd import gradcheck, gradgradcheck

from gnnpre.backbones import sum_by_index
from gnnpre.backbones._elements import (
    COVALENT_RADII,
    ELECTRONEGATIVITIES,
    N_ELEMENTS,
    _periodic_position,
    element_properties,
)
from gnnpre.backbones._layers import (
    CosineEnvelope,
    ElementEmbedding,
    ExpNormalSmearing,
    GaussianSmearing,
    PolynomialEnvelope,
    make_mlp,
)

CUTOFF = 5.0


def derivatives(envelope, distance: float) -> list[float]:
    """Value, first and second derivative."""
    x = torch.tensor([distance], dtype=torch.float64, requires_grad=True)
    values = [envelope(x)]
    for _ in range(2):
        values.append(torch.autograd.grad(values[-1].sum(), x, create_graph=True)[0])
    return [value.item() for value in values]


class TestEnvelopes:
    @pytest.mark.parametrize("envelope", [PolynomialEnvelope, CosineEnvelope])
    def test_falls_from_one_to_zero(self, envelope):
        distances = torch.linspace(0, CUTOFF, 101, dtype=torch.float64)
        values = envelope(CUTOFF)(distances)
        assert values[0] == 1.0
        assert abs(values[-1]) < 1e-15
        assert (values.diff() < 1e-15).all()

    @pytest.mark.parametrize("envelope", [PolynomialEnvelope, CosineEnvelope])
    def test_is_zero_beyond_the_cutoff(self, envelope):
        # Edges are searched to within a tolerance, so some are longer by a little.
        beyond = torch.tensor([CUTOFF + 1e-8, CUTOFF + 1.0], dtype=torch.float64)
        assert envelope(CUTOFF)(beyond).abs().max() < 1e-15

    def test_polynomial_is_smooth_to_the_second_derivative(self):
        value, first, second = derivatives(PolynomialEnvelope(CUTOFF), CUTOFF * (1 - 1e-12))
        assert abs(value) < 1e-13
        assert abs(first) < 1e-13
        assert abs(second) < 1e-9

    def test_cosine_is_smooth_to_the_first_derivative(self):
        value, first, second = derivatives(CosineEnvelope(CUTOFF), CUTOFF * (1 - 1e-12))
        assert abs(value) < 1e-13
        assert abs(first) < 1e-11
        assert second == pytest.approx(0.5 * (np.pi / CUTOFF) ** 2)

    def test_values(self):
        distances = torch.tensor([1.0, 2.5, 4.0], dtype=torch.float64)
        x = distances.numpy() / CUTOFF
        p = 6  # Gasteiger et al. 2020, equation 8
        polynomial = (
            1
            - (p + 1) * (p + 2) / 2 * x**p
            + p * (p + 2) * x ** (p + 1)
            - p * (p + 1) / 2 * x ** (p + 2)
        )
        np.testing.assert_allclose(PolynomialEnvelope(CUTOFF)(distances), polynomial, rtol=1e-14)
        cosine = np.cos(np.pi * x / 2) ** 2
        np.testing.assert_allclose(CosineEnvelope(CUTOFF)(distances), cosine, rtol=1e-14)


class TestGaussianSmearing:
    @pytest.mark.parametrize("width", [0.05, 0.2])
    def test_formula(self, width):
        distances = np.random.default_rng(0).uniform(0.5, 8.0, size=20)
        centers = np.linspace(0.0, 8.0, 50)
        c = -0.5 / ((8.0 - 0.0) * width) ** 2
        expected = np.exp(c * (distances[:, None] - centers) ** 2)
        smearing = GaussianSmearing(8.0, 50, width).double()
        np.testing.assert_allclose(smearing(torch.tensor(distances)), expected, atol=2e-6)

    def test_width_is_the_standard_deviation_as_a_part_of_the_cutoff(self):
        smearing = GaussianSmearing(4.0, 5, 0.25).double()
        # Its centres are 1 Å apart, and so is its width: one step away is one sigma.
        values = smearing(torch.tensor([2.0], dtype=torch.float64))
        expected = np.exp(-0.5 * np.array([[4.0, 1.0, 0.0, 1.0, 4.0]]))
        np.testing.assert_allclose(values, expected, rtol=1e-14)

    def test_centers_follow_the_model_to_another_precision_and_a_file(self):
        smearing = GaussianSmearing(4.0, 5, 0.25)
        assert "centers" in smearing.state_dict()
        assert smearing.double()(torch.ones(1, dtype=torch.float64)).dtype == torch.float64


class TestElementEmbedding:
    @pytest.mark.parametrize("start", ["uniform", "properties"])
    def test_is_a_linear_layer_on_one_hot_elements(self, start):
        embedding = ElementEmbedding(7, start)
        numbers = torch.tensor([1, 26, 26, 100])
        one_hot = torch.nn.functional.one_hot(numbers - 1, 100).float()
        torch.testing.assert_close(embedding(numbers), embedding.linear(one_hot))

    def test_uniform_start_is_that_of_a_linear_layer(self):
        torch.manual_seed(0)
        expected = torch.nn.Linear(100, 7)
        torch.manual_seed(0)
        assert torch.equal(ElementEmbedding(7, "uniform").linear.weight, expected.weight)

    def test_elements_that_are_alike_start_alike(self):
        torch.manual_seed(0)
        embedding = ElementEmbedding(64, "properties")
        table = embedding(torch.arange(1, 101)).detach()

        def distance(first: str, second: str) -> float:
            pair = table[[Element(first).Z - 1, Element(second).Z - 1]]
            return float((pair[0] - pair[1]).norm())

        assert distance("Nb", "Ta") < 0.5 * distance("Nb", "O")
        assert distance("Cl", "Br") < 0.5 * distance("Cl", "Na")
        assert distance("Nb", "Ta") > 0.1


class TestElementProperties:
    """Before they are standardised, against pymatgen's table and ASE's."""

    def test_period_group_and_block(self):
        for z in range(1, N_ELEMENTS + 1):
            element = Element.from_Z(z)
            expected = "s" if element.symbol == "He" else element.block  # "p" to pymatgen
            position = [element.row, element.group, *(int(expected == block) for block in "spdf")]
            assert _periodic_position(z) == position, element

    def test_covalent_radii(self):
        radii = np.array(COVALENT_RADII.split(), dtype=float) / 100
        np.testing.assert_allclose(radii[:96], covalent_radii[1:97], atol=1e-9)

    def test_electronegativities(self):
        values = np.array(ELECTRONEGATIVITIES.split(), dtype=float) / 100
        assert len(values) == N_ELEMENTS
        for z in range(1, N_ELEMENTS + 1):
            if z not in (2, 10, 18):  # not on Pauling's scale
                assert values[z - 1] == pytest.approx(Element.from_Z(z).X, abs=0.006)

    def test_are_standardised(self):
        table = element_properties()
        assert table.shape == (N_ELEMENTS, 8)
        np.testing.assert_allclose(table.mean(dim=0), 0.0, atol=1e-12)
        np.testing.assert_allclose(table.std(dim=0), 1.0)


class TestSumByIndex:
    def test_sums_rows(self):
        values = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        sums = sum_by_index(values, torch.tensor([2, 0, 2]), 4)
        expected = torch.tensor([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0], [0.0, 0.0]])
        assert torch.equal(sums, expected)

    def test_no_rows(self):
        sums = sum_by_index(torch.empty(0, 3), torch.empty(0, dtype=torch.long), 2)
        assert torch.equal(sums, torch.zeros(2, 3))

    def test_has_two_derivatives(self):
        index = torch.tensor([2, 0, 2, 1, 1])
        values = torch.randn(
            5,
            2,
            dtype=torch.float64,
            requires_grad=True,
            generator=torch.Generator().manual_seed(0),
        )

        def cubed(v: torch.Tensor) -> torch.Tensor:
            return sum_by_index(v, index, 4) ** 3

        assert gradcheck(cubed, (values,))
        assert gradgradcheck(cubed, (values,))


def test_mlp_has_as_many_hidden_layers_as_asked():
    sizes = [
        (layer.in_features, layer.out_features)
        for layer in make_mlp(4, 6, 2, 3)
        if isinstance(layer, torch.nn.Linear)
    ]
    assert sizes == [(4, 6), (6, 6), (6, 3)]
    assert [type(layer).__name__ for layer in make_mlp(4, 6, 0, 3)] == ["Linear"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_radial_functions_left_out_are_zero_but_for_rounding(dtype):
    radial = ExpNormalSmearing(5.0, 50, trainable=True).to(dtype)
    distances = torch.linspace(1.9, 4.9, 40, dtype=dtype)
    columns = radial.columns(distances)
    assert 5 < len(columns) < 35
    every = torch.arange(50)
    whole = radial(distances, every)
    torch.testing.assert_close(radial(distances, columns), whole[:, columns], rtol=0, atol=0)
    dropped = ~torch.isin(every, columns)
    assert whole[:, dropped].max() < torch.finfo(dtype).eps
    nearer = radial.columns(torch.cat([distances, distances.new_tensor([1.0])]))
    assert set(columns.tolist()) < set(nearer.tolist())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["gaussian", "exponential"])
def test_no_radial_function_is_subnormal(dtype, kind):
    distances = torch.linspace(0.01, 8.0, 500, dtype=dtype)
    if kind == "gaussian":
        values = GaussianSmearing(8.0, 50, 0.02).to(dtype)(distances)
    else:
        radial = ExpNormalSmearing(8.0, 50, trainable=False).to(dtype)
        values = radial(distances, torch.arange(50))
    least = values.min().item()
    assert 1e6 * torch.finfo(dtype).tiny < least < 1e-20


def test_radial_functions_of_no_distances():
    radial = ExpNormalSmearing(5.0, 8, trainable=False)
    assert radial(torch.empty(0), radial.columns(torch.empty(0))).shape == (0, 8)
