"""WACSF: its formulas pair by pair, dscribe's numbers, and its two ways to G5."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from cases import CUTOFF, perfect_crystals, random_structures
from fingerprints.shared import cosine_cutoff, neighbors
from gnnpre import WACSF
from gnnpre.fingerprints import _angular_sums

REFERENCE = Path(__file__).with_name("dscribe_reference.json")
STRUCTURES = random_structures()
SETTINGS = {
    "g2_eta": (0.5, 4.0),
    "g2_rs": (0.0, 2.5),
    "g4_eta": (0.01, 0.2),
    "g4_zeta": (1.0, 1.5, 2.0, 16.0),
    "g4_lambda": (-1.0, 0.5, 1.0),
    "g5_eta": (0.0, 0.3),
    "g5_lambda": (-1.0, 0.5, 1.0),
}
#: Of G5: the first are made of moments, the others of pairs.
ZETAS = {"moments": (1.0, 2.0, 3.0, 6.0), "pairs": (1.0, 1.5, 2.0, 16.0)}


def g2(near, cutoff, eta, rs):
    terms = [
        z * np.exp(-eta * (r - rs) ** 2) * cosine_cutoff(r, cutoff)
        for z, _, r in near  # neighbour by neighbour
    ]
    return sum(terms)


def g4_and_g5(near, cutoff, g4, g5):
    """Both, each on its grid of eta, zeta and lambda; pair by pair, as the paper writes them."""
    total4 = np.zeros([len(values) for values in g4])
    total5 = np.zeros([len(values) for values in g5])
    eta4, zeta4, lambda4 = np.meshgrid(*g4, indexing="ij")
    eta5, zeta5, lambda5 = np.meshgrid(*g5, indexing="ij")
    for (zj, uj, rj), (zk, uk, rk) in itertools.combinations(near, 2):
        cosine = np.clip(uj @ uk / (rj * rk), -1.0, 1.0)
        rjk = np.sqrt(((uj - uk) ** 2).sum())
        weight = zj * zk * cosine_cutoff(rj, cutoff) * cosine_cutoff(rk, cutoff)
        angle5 = 2.0 ** (1.0 - zeta5) * (1.0 + lambda5 * cosine) ** zeta5
        total5 += weight * angle5 * np.exp(-eta5 * (rj**2 + rk**2))
        if rjk < cutoff:
            angle4 = 2.0 ** (1.0 - zeta4) * (1.0 + lambda4 * cosine) ** zeta4
            radial = np.exp(-eta4 * (rj**2 + rk**2 + rjk**2)) * cosine_cutoff(rjk, cutoff)
            total4 += weight * angle4 * radial
    return total4.ravel(), total5.ravel()


def plain_wacsf(atoms, cutoff, g2_grid, g4_grid, g5_grid):
    rows = []
    for numbers, vectors in neighbors(atoms, cutoff):
        near = [(z, v, np.sqrt(v @ v)) for z, v in zip(numbers, vectors, strict=True)]
        radial = [g2(near, cutoff, eta, rs) for eta, rs in itertools.product(*g2_grid)]
        rows.append(np.concatenate([radial, *g4_and_g5(near, cutoff, g4_grid, g5_grid)]))
    return np.array(rows)


def grid(settings, category):
    """Of G2: eta and rs; of the others: eta, zeta and lambda."""
    names = ("eta", "rs", "zeta", "lambda")
    return [settings[f"{category}_{name}"] for name in names if f"{category}_{name}" in settings]


# The formulas


@pytest.mark.parametrize("zetas", ZETAS)
@pytest.mark.parametrize("name", STRUCTURES)
def test_against_the_published_formulas(name, zetas):
    settings = {**SETTINGS, "g5_zeta": ZETAS[zetas]}
    grids = (grid(settings, category) for category in ("g2", "g4", "g5"))
    expected = plain_wacsf(STRUCTURES[name], CUTOFF, *grids)
    result = WACSF(CUTOFF, **settings).transform([STRUCTURES[name]])[0]
    assert np.abs(expected).max(axis=0).min() > 0.0
    # Whole powers by repeated squaring: 16 factors, each rounded.
    np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-10)


def test_a_cutoff_far_beyond_the_cell():
    atoms = STRUCTURES["small skewed"]
    settings = {"g2_eta": (4.0,), "g2_rs": (2.5,)}
    settings |= {"g4_eta": (0.02,), "g4_zeta": (1.5,), "g4_lambda": (1.0,)}
    settings |= {"g5_eta": (0.02,), "g5_zeta": (3.0,), "g5_lambda": (-1.0,)}
    expected = plain_wacsf(
        atoms, 6.5, *(grid(settings, category) for category in ("g2", "g4", "g5"))
    )
    result = WACSF(6.5, **settings).transform([atoms])[0]
    np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_against_dscribe():
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    settings = {
        f"{category}_{name}": values
        for category in ("g2", "g4", "g5")
        for name, values in reference[category].items()
    }
    n_g2 = len(settings["g2_eta"]) * len(settings["g2_rs"])
    fingerprint = WACSF(reference["cutoff"], **settings)
    for crystal in reference["crystals"]:
        positions = crystal["positions"]
        atoms = Atoms("Si" * len(positions), positions, cell=crystal["cell"], pbc=True)
        result = fingerprint.transform([atoms])[0]
        # dscribe's neighbours weigh 1, ours their atomic number.
        result[:, :n_g2] /= 14.0
        result[:, n_g2:] /= 14.0**2
        np.testing.assert_allclose(result, crystal["features"], rtol=1e-9, atol=1e-12)


# Two ways to G5


@pytest.mark.parametrize("structures", [STRUCTURES, perfect_crystals()], ids=["random", "perfect"])
def test_moments_and_pairs_give_the_same(structures, monkeypatch):
    fingerprint = WACSF(
        CUTOFF,
        g2_eta=(),
        g4_eta=(),
        g5_eta=(0.0, 0.1),
        g5_zeta=(1.0, 2.0, 3.0, 6.0),
        g5_lambda=(-1.0, -0.3, 0.0, 1.0),
    )
    by_moments = fingerprint.atom_features(list(structures.values()))
    monkeypatch.setattr(_angular_sums, "LARGEST_SEPARABLE_ZETA", 0)
    monkeypatch.setattr(_angular_sums, "_separable_terms", None)
    by_pairs = fingerprint.atom_features(list(structures.values()))
    # The moments hold the pairs j = k, which are subtracted.
    np.testing.assert_allclose(by_moments, by_pairs, rtol=1e-9, atol=1e-9)


def test_one_fractional_zeta_turns_all_to_pairs():
    whole, mixed = WACSF(CUTOFF, g5_zeta=(2.0,)), WACSF(CUTOFF, g5_zeta=(2.0, 2.5))
    names = whole.atom_feature_names()
    columns = [mixed.atom_feature_names().index(name) for name in names]
    for atoms in STRUCTURES.values():
        one, alternative = whole.transform([atoms])[0], mixed.transform([atoms])[0][:, columns]
        np.testing.assert_allclose(one, alternative, rtol=1e-10, atol=1e-10)


# Few neighbours, and parts left out


@pytest.mark.parametrize("zeta", [1.0, 4.0, 1.5])
def test_one_neighbor_makes_no_angle(zeta):
    fingerprint = WACSF(CUTOFF, g4_zeta=(zeta,), g5_zeta=(zeta,))
    pair = Atoms("FeO", [[0, 0, 0], [1.0, 1.2, 0.7]])
    features = dict(
        zip(fingerprint.atom_feature_names(), fingerprint.transform([pair])[0].T, strict=True)
    )
    for name, values in features.items():
        if name.startswith("g2"):
            assert (values > 0).all()
        else:
            # Squares of 26 whose difference is rounding.
            np.testing.assert_allclose(values, 0.0, atol=26**2 * 1e-14)


def test_neighbors_beyond_each_others_reach_have_g5_but_no_g4():
    line = Atoms("OOO", [[-3.0, 0, 0], [0, 0, 0], [3.0, 0, 0]])
    fingerprint = WACSF(CUTOFF, g2_eta=(), g4_lambda=(-1.0,), g5_lambda=(-1.0,))
    g4_1, g4_4, g5_1, g5_4 = fingerprint.transform([line])[0][1]
    assert g4_1 == g4_4 == 0.0
    weight = (8 * cosine_cutoff(3.0, CUTOFF) * np.exp(-0.03 * 9.0)) ** 2
    # 2^(1 - zeta) (1 + 1)^zeta = 2 for any zeta.
    np.testing.assert_allclose([g5_1, g5_4], 2.0 * weight, rtol=1e-12)


@pytest.mark.parametrize("left_out", ["g2", "g4", "g5"])
def test_an_empty_eta_leaves_a_kind_out(left_out):
    whole, piece = WACSF(CUTOFF), WACSF(CUTOFF, **{f"{left_out}_eta": ()})
    names = piece.atom_feature_names()
    assert names == [name for name in whole.atom_feature_names() if not name.startswith(left_out)]
    columns = [whole.atom_feature_names().index(name) for name in names]
    structures = list(STRUCTURES.values())
    np.testing.assert_allclose(
        piece.atom_features(structures), whole.atom_features(structures)[:, columns], rtol=1e-12
    )
