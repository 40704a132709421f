"""GMP: another package's numbers, closed formulas image by image, integrals on a grid."""

import gzip
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from periodictable import elements
from periodictable.cromermann import getCMformula

from cases import random_structures
from fingerprints.shared import assert_close, neighbors
from gnnpre import GMP
from gnnpre.datasets import read_frames

STRUCTURES = random_structures()
SIGMAS, ORDERS = (0.3, 0.9), (-1, 0, 1, 2)

# Smooth densities, as (amplitude, exponent), of which one amplitude is negative.
SMOOTH = {
    1: [(0.7, 3.0), (0.2, 0.9)],
    8: [(2.0, 4.0), (-0.5, 2.0), (0.3, 0.8)],
    13: [(0.6, 1.1)],
    26: [(1.5, 2.5), (0.4, 0.7)],
    29: [(1.1, 1.7), (0.2, 1.0)],
}
SYMBOLS = {1: "H", 8: "O", 13: "Al", 26: "Fe", 29: "Cu"}


@pytest.fixture(scope="module")
def smooth(tmp_path_factory):
    """The path of a .gpsp file of SMOOTH."""
    blocks = [
        "\n".join([f"{SYMBOLS[z]} {z} {len(terms)}", *(f"{b!r} {beta!r}" for b, beta in terms)])
        for z, terms in SMOOTH.items()
    ]
    path = tmp_path_factory.mktemp("densities") / "smooth.gpsp"
    path.write_text("\n****\n".join(["", *blocks, ""]), encoding="utf-8")
    return path


def tabulated(z):
    """The form factor of an element as Gaussians in real space, and what is a point beside them."""
    formula = getCMformula(elements[z].symbol)
    wide = [(a, b) for a, b in zip(formula.a, formula.b, strict=True) if b >= 0.01]
    point = formula.c + sum(a for a, b in zip(formula.a, formula.b, strict=True) if b < 0.01)
    return [(a * (4 * np.pi / b) ** 1.5, 4 * np.pi**2 / b) for a, b in wide], point


# Closed formulas


def polynomials(order, x, y, z):
    """The published polynomials and their weights."""
    if order == 0:
        return [(1.0, np.ones_like(x))]
    if order == 1:
        return [(1.0, x), (1.0, y), (1.0, z)]
    alike = [2 * x * x - y * y - z * z, 2 * y * y - x * x - z * z, 2 * z * z - x * x - y * y]
    mixed = [3 * x * y, 3 * x * z, 3 * y * z]
    return [(1.0, p) for p in alike] + [(2.0, p) for p in mixed]


def overlaps(order, sigma, terms, point, vector):
    """Integrals of an atom's density at ``vector`` times probe times each polynomial.

    The product of two Gaussians is one around the point between them, and the mean of a harmonic
    polynomial over a sphere is its value in the middle.
    """
    alpha, norm = 0.5 / sigma**2, (2.0 * np.pi * sigma**2) ** -1.5
    square = vector @ vector
    total = norm * point * np.exp(-alpha * square) * values(order, vector)
    for amplitude, beta in terms:
        factor = norm * amplitude * (np.pi / (alpha + beta)) ** 1.5
        decay = np.exp(-alpha * beta / (alpha + beta) * square)
        total = total + factor * decay * values(order, vector * beta / (alpha + beta))
    return total


def values(order, vector):
    return np.array([polynomial for _, polynomial in polynomials(order, *vector)])


def plain_feature(order, sigma, near, density):
    if order == -1:
        total = 0.0
        for z, vector in near:
            total += sum(b * np.exp(-beta * vector @ vector) for b, beta in density(z)[0])
        return abs(total)  # the root of its square
    weights = np.array([weight for weight, _ in polynomials(order, *np.zeros(3))])
    total = sum(overlaps(order, sigma, *density(z), vector) for z, vector in near)
    return np.sqrt((weights * total**2).sum())


def plain_gmp(atoms, reach, density):
    rows = []
    grid = [(-1, None)] + [(order, sigma) for order in ORDERS[1:] for sigma in SIGMAS]
    for of_its_own, (numbers, vectors) in zip(atoms.numbers, neighbors(atoms, reach), strict=True):
        near = [(of_its_own, np.zeros(3)), *zip(numbers, vectors, strict=True)]
        rows.append([plain_feature(order, sigma, near, density) for order, sigma in grid])
    return np.array(rows)


@pytest.mark.parametrize("name", ["random", "small skewed", "slab", "wire", "molecule"])
def test_against_closed_formulas(name, smooth):
    atoms = STRUCTURES[name]
    # exp(-0.33 10.5^2), the slowest product of a density and a probe, is 2e-16.
    expected = plain_gmp(atoms, 10.5, lambda z: (SMOOTH[z], 0.0))
    fingerprint = GMP(SIGMAS, ORDERS, densities=smooth, overlap_threshold=1e-15)
    assert_close(fingerprint.transform([atoms])[0], expected, 1e-10)


@pytest.mark.parametrize("name", ["small", "molecule"])
def test_default_densities_against_closed_formulas(name):
    atoms = STRUCTURES[name]
    expected = plain_gmp(atoms, 12.0, tabulated)
    result = GMP(SIGMAS, ORDERS, overlap_threshold=1e-15).transform([atoms])[0]
    assert_close(result, expected, 1e-10)
    # At the default threshold, an atom out of sight is below 1e-8 (in units of its feature).
    np.testing.assert_allclose(
        GMP(SIGMAS, ORDERS).transform([atoms])[0], expected, rtol=1e-6, atol=1e-6
    )


def test_the_square_is_the_square(smooth):
    structures = list(STRUCTURES.values())
    root = GMP(SIGMAS, (*ORDERS, 3, 4), densities=smooth)
    square = GMP(SIGMAS, (*ORDERS, 3, 4), densities=smooth, square=True)
    np.testing.assert_allclose(
        root.atom_features(structures) ** 2, square.atom_features(structures), rtol=1e-12
    )


@pytest.mark.parametrize("order", [3, 4, 5, 9])
def test_high_orders_of_one_neighbor(order, smooth):
    """Around an axis only m = 0 is left: ``l! (2 l - 1)!!`` times the square of the overlap."""
    pair = Atoms("HAl", [[0, 0, 0], [0.6, -1.2, 1.2]])
    result = GMP((0.7,), (order,), densities=smooth, overlap_threshold=1e-15).transform([pair])[0]
    alpha, norm = 0.5 / 0.7**2, (2.0 * np.pi * 0.7**2) ** -1.5
    amplitude, beta = SMOOTH[13][0]
    overlap = norm * amplitude * (np.pi / (alpha + beta)) ** 1.5
    overlap *= np.exp(-alpha * beta / (alpha + beta) * 1.8**2)
    overlap *= (1.8 * beta / (alpha + beta)) ** order
    factor = np.prod(np.arange(1.0, order + 1)) * np.prod(np.arange(1.0, 2 * order, 2.0))
    np.testing.assert_allclose(result[0, 0], np.sqrt(factor) * overlap, rtol=1e-12)


# Integrals on a grid


def density_on_grid(atoms, points, atom):
    """Electrons/Å^3 of all atoms and images at points around an atom."""
    numbers, vectors = list(neighbors(atoms, 10.0))[atom]
    of_its_own = (atoms.numbers[atom], np.zeros(3))
    total = np.zeros(len(points))
    for z, vector in [of_its_own, *zip(numbers, vectors, strict=True)]:
        square = ((points - vector) ** 2).sum(axis=1)
        total += sum(b * np.exp(-beta * square) for b, beta in SMOOTH[z])
    return total


@pytest.mark.parametrize("name", ["small skewed", "molecule"])
def test_against_integrals_on_a_grid(name, smooth):
    """The sum over a uniform grid converges faster than any power of its step."""
    atoms, sigma, step = STRUCTURES[name], 0.5, 0.28
    axis = np.arange(-4.2, 4.2 + step, step)  # exp(-4.2^2 / 2 sigma^2) = 5e-16
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    probe = np.exp(-(points**2).sum(axis=1) / (2 * sigma**2)) * (2 * np.pi * sigma**2) ** -1.5
    orders = (0, 1, 2)
    fingerprint = GMP((sigma,), orders, densities=smooth, overlap_threshold=1e-15)
    result = fingerprint.transform([atoms])[0]
    weighted = density_on_grid(atoms, points, 0) * probe
    for column, order in enumerate(orders):
        integrals = [
            (weight, (weighted * polynomial).sum() * step**3)
            for weight, polynomial in polynomials(order, *points.T)
        ]
        expected = np.sqrt(sum(weight * integral**2 for weight, integral in integrals))
        np.testing.assert_allclose(result[0, column], expected, rtol=1e-8)


# Another package


@pytest.fixture(scope="module")
def reference(data_dir):
    path = data_dir / "gmp" / "reference.json.gz"
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.fixture(scope="module")
def frames(reference, data_dir):
    rows = [int(frame.split("[")[1].rstrip("]")) for frame in reference["frames"]]
    path = data_dir / "upstream" / "alexandria-random-1k.extxyz.gz"
    structures, _ = read_frames(path, index=slice(0, max(rows) + 1))
    return [structures[row] for row in rows]


@pytest.mark.parametrize("row", range(3))
def test_against_another_package(row, reference, frames, data_dir):
    setting = reference["settings"][row]
    fingerprint = GMP(
        setting["sigmas"],
        setting["orders"],
        densities=data_dir / "gmp" / reference["psp"],
        square=reference["square"],
        overlap_threshold=reference["overlap_threshold"],
    )
    for result, options in zip(fingerprint.transform(frames), setting["features"], strict=True):
        expected = np.array(options)
        assert result.shape == expected.shape
        # What vanishes by symmetry is rounding noise in both: 1e-16 of the terms, which the factor
        # of order 5 and near cancellation raise to 2e-12.
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-11)


def test_frames_of_another_package_hold_many_elements(reference, frames):
    assert len({z for frame in frames for z in frame.atomic_numbers}) > 10
    assert len(reference["settings"]) == 3


# Images


def test_images_are_there():
    cell = bulk("Cu", "fcc", a=3.6)
    alone = cell.copy()
    alone.pbc = False
    fingerprint = GMP((0.5, 1.0), (-1, 0, 1, 2, 3, 4), overlap_threshold=1e-12)
    periodic, isolated, repeated = fingerprint.transform([cell, alone, cell.repeat((3, 2, 2))])
    assert (periodic[0, :5] > isolated[0, :5] * (1.0 + 1e-9)).any()
    assert periodic[0, 2] > 1.05 * isolated[0, 2]  # order 0 and a wide probe
    assert_close(repeated, np.repeat(periodic, 12, axis=0), 1e-10)


def test_a_lone_atom_has_its_own_density():
    sigma, (terms, point) = 0.5, tabulated(26)
    result = GMP((sigma,), (-1, 0, 1, 2)).transform([Atoms("Fe")])[0][0]
    of_its_own = overlaps(0, sigma, terms, point, np.zeros(3))[0]
    # The point charge is seen through a probe, and not without.
    np.testing.assert_allclose(result[0], sum(b for b, _ in terms), rtol=1e-12)
    np.testing.assert_allclose(result[1], of_its_own, rtol=1e-12)
    assert (result[2:] == 0.0).all()


# Reach


@pytest.mark.parametrize("threshold", [1e-6, 1e-8, 1e-11])
def test_the_threshold_bounds_what_is_cut_off(threshold):
    """Steps at the reach of a neighbour: no term above the threshold, times the order's factor."""
    orders, sigmas = (-1, 0, 1, 2, 3), (0.25, 1.0)
    fingerprint = GMP(sigmas, orders, overlap_threshold=threshold)
    factors = np.sqrt([1.0] * 3 + [1.0] * 2 + [6.0] * 2 + [90.0] * 2)
    for symbol in ("H", "Al", "Cs"):
        pair = Atoms([symbol, symbol], [[0, 0, 0], [3.0, 0, 0]])
        reach = fingerprint.needed_cutoff(pair.numbers[:1])
        rows = []
        for distance in (reach - 1e-9, reach + 1e-9):
            pair.positions[1, 0] = distance
            rows.append(fingerprint.transform([pair])[0][0])
        step = np.abs(rows[0] - rows[1])
        # At most six Gaussians of a density are near the threshold together.
        assert (step <= 6.0 * factors * threshold).all()
        assert step.max() > 0.0


def test_each_element_is_seen_as_far_as_it_reaches():
    """Beside a diffuse element, one of short reach is cut off at its own."""
    fingerprint = GMP()
    short, long = (fingerprint.needed_cutoff(np.array([z])) for z in (8, 55))
    assert long > short + 1.0
    assert fingerprint.needed_cutoff(np.array([8, 55, 8])) == long
    apart = Atoms("OCs", [[0, 0, 0], [(short + long) / 2, 0, 0]])
    together, oxygen, cesium = fingerprint.transform([apart, Atoms("O"), Atoms("Cs")])
    np.testing.assert_array_equal(together[1], cesium[0])
    assert (together[0] != oxygen[0]).any()
