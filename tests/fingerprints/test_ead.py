"""EAD: its formula, that of the published code, and what rotations leave."""

import itertools
from math import factorial

import numpy as np
import pytest
from ase import Atoms

from cases import CUTOFF, random_rotation, random_structures
from fingerprints.shared import assert_close, cosine_cutoff, neighbors
from gnnpre import EAD

STRUCTURES = random_structures()
ETA, RS = (0.5, 4.0), (0.0, 1.5, 2.5)


def powers(degree):
    grid = itertools.product(range(degree + 1), repeat=3)
    return [ijk for ijk in grid if sum(ijk) == degree]


def moment(near, cutoff, eta, rs, ijk):
    """Sum over neighbours of x^i y^j z^k Z exp(-eta (r - rs)^2) fc(r)."""
    total = 0.0
    for z, vector in zip(*near, strict=True):
        r = np.sqrt(vector @ vector)
        monomial = vector[0] ** ijk[0] * vector[1] ** ijk[1] * vector[2] ** ijk[2]
        total += monomial * z * np.exp(-eta * (r - rs) ** 2) * cosine_cutoff(r, cutoff)
    return total


def paper(near, cutoff, degree, eta, rs):
    total = 0.0
    for i, j, k in powers(degree):
        weight = factorial(degree) / (factorial(i) * factorial(j) * factorial(k))
        total += weight * moment(near, cutoff, eta, rs, (i, j, k)) ** 2
    return total / cutoff ** (2 * degree)


def published_code(near, cutoff, degree, eta, rs):
    total = 0.0
    for i, j, k in itertools.chain(*(powers(lower) for lower in range(degree + 1))):
        root = np.sqrt(factorial(i) * factorial(j) * factorial(k))
        total += (moment(near, cutoff, eta, rs, (i, j, k)) / root) ** 2
    return factorial(degree) * total / cutoff ** (2 * degree)


def plain_ead(atoms, cutoff, L, equation):
    grid = list(itertools.product(range(L + 1), ETA, RS))
    return np.array([[equation(n, cutoff, *g) for g in grid] for n in neighbors(atoms, cutoff)])


@pytest.mark.parametrize("L", [0, 1, 2, 3])
@pytest.mark.parametrize("cumulative", [False, True])
def test_against_the_published_formulas(L, cumulative):
    fingerprint = EAD(CUTOFF, L=L, eta=ETA, rs=RS, cumulative=cumulative)
    equation = published_code if cumulative else paper
    # The largest L on all kinds of crystals, the others on two small ones.
    names = list(STRUCTURES) if L == 3 else ["small skewed", "wire"]
    for name in names:
        expected = plain_ead(STRUCTURES[name], CUTOFF, L, equation)
        # An inversion centre leaves rounding noise of squares in odd degrees.
        np.testing.assert_allclose(
            fingerprint.transform([STRUCTURES[name]])[0], expected, rtol=1e-10, atol=1e-20
        )


def test_a_cutoff_far_beyond_the_cell():
    atoms = STRUCTURES["small skewed"]
    result = EAD(6.5, L=2, eta=ETA, rs=RS).transform([atoms])[0]
    np.testing.assert_allclose(result, plain_ead(atoms, 6.5, 2, paper), rtol=1e-10)


def test_high_degrees_against_powers_of_products():
    """Moments of degree l, squared and summed, are sums over pairs of ``(r_j . r_k)^l``."""
    fingerprint = EAD(CUTOFF, L=8, eta=(1.0,), rs=(2.0,))
    for atoms in STRUCTURES.values():
        expected = []
        for numbers, vectors in neighbors(atoms, CUTOFF):
            r = np.linalg.norm(vectors, axis=1)
            fade = [cosine_cutoff(distance, CUTOFF) for distance in r]
            weights = numbers * np.exp(-((r - 2.0) ** 2)) * fade
            products = vectors @ vectors.T / CUTOFF**2
            expected.append([weights @ products**degree @ weights for degree in range(9)])
        assert_close(fingerprint.transform([atoms])[0], np.array(expected), 1e-10)


def test_known_values_of_one_neighbor():
    """A neighbour at r gives ``(w (r / Rc)^l)^2``, in whichever direction it lies."""
    pair = Atoms("HO", [[0, 0, 0], [0.6, -1.2, 1.2]])
    result = EAD(5.0, L=3, eta=(4.0,), rs=(1.5,)).transform([pair])[0][0]
    weight = 8 * np.exp(-4.0 * 0.3**2) * 0.5 * (1 + np.cos(np.pi * 1.8 / 5.0))
    np.testing.assert_allclose(result, [(weight * 0.36**n) ** 2 for n in range(4)], rtol=1e-12)


@pytest.mark.parametrize("cumulative", [False, True])
@pytest.mark.parametrize("reflect", [False, True])
def test_rotation_and_reflection_of_every_degree(cumulative, reflect):
    fingerprint = EAD(CUTOFF, L=8, eta=ETA, rs=RS, cumulative=cumulative)
    rotation = random_rotation(np.random.default_rng(3), reflect=reflect)
    for atoms in STRUCTURES.values():
        turned = atoms.copy()
        turned.set_cell(atoms.cell.array @ rotation)
        turned.set_positions(atoms.positions @ rotation)
        one, alternative = fingerprint.transform([atoms, turned])
        assert_close(alternative, one, 1e-10)


def test_without_directions_degree_0_is_all_that_distances_give():
    """Two neighbours: degree 1 tells their angle, degree 0 does not."""
    fingerprint = EAD(5.0, L=1, eta=(1.0,), rs=(2.0,))
    straight = Atoms("OHH", [[0, 0, 0], [2, 0, 0], [-2, 0, 0]])
    bent = Atoms("OHH", [[0, 0, 0], [2, 0, 0], [0, 2, 0]])
    (s0, s1), (b0, b1) = (f[0] for f in fingerprint.transform([straight, bent]))
    assert s0 == pytest.approx(b0, rel=1e-12)
    assert s1 == pytest.approx(0.0, abs=1e-12)
    # The sum of two vectors of length 2 at a right angle, against each alone.
    assert b1 == pytest.approx(b0 / 4.0 * 2.0 * (2.0 / 5.0) ** 2, rel=1e-12)
