"""What the tests of fingerprints share: images of atoms one by one, and fingerprints to try."""

import itertools
from collections.abc import Iterator

import numpy as np
from ase import Atoms

from gnnpre.fingerprints import EAD, GMP, WACSF, Fingerprint

#: Every fingerprint, with parameters that reach each of its forms. The cutoff is that of
#: ``cases.CUTOFF``, which no distance in ``cases.random_structures`` is close to; the threshold so
#: low that no step shows where an atom goes out of sight.
FINGERPRINTS: dict[str, Fingerprint] = {
    "wacsf": WACSF(4.0, g2_rs=(1.5, 3.0)),
    "wacsf pairs": WACSF(
        4.0,
        g2_eta=(0.5, 4.0),
        g2_rs=(0.0, 2.5),
        g4_eta=(0.01, 0.1),
        g4_zeta=(1.5, 16.0),
        g4_lambda=(-1.0, 0.5),
        g5_eta=(0.0, 0.05),
        g5_zeta=(1.5, 16.0),
        g5_lambda=(0.5, 1.0),
    ),
    "ead": EAD(4.0, L=3, eta=(0.5, 4.0), rs=(1.5, 2.5)),
    "ead cumulative": EAD(4.0, L=3, rs=(1.5, 2.5), cumulative=True),
    "gmp": GMP((0.3, 0.8), (-1, 0, 1, 2, 3), overlap_threshold=1e-13),
    "gmp square": GMP((0.5,), (0, 1, 4), square=True, overlap_threshold=1e-13),
}


def neighbors(atoms: Atoms, reach: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each atom, atomic numbers (m,) of all images within reach and vectors (m, 3) to them."""
    cell = atoms.cell.complete().array
    inverse = np.linalg.inv(cell)
    ranges = []
    for axis in range(3):
        # A fraction changes by no more than this over the reach, and between atoms.
        span = reach * np.linalg.norm(inverse[:, axis]) + np.ptp(atoms.positions @ inverse[:, axis])
        n = int(np.ceil(span)) if atoms.pbc[axis] else 0
        ranges.append(range(-n, n + 1))
    shifts = np.array(list(itertools.product(*ranges))) @ cell
    images = (atoms.positions + shifts[:, None]).reshape(-1, 3)
    numbers = np.tile(atoms.numbers, len(shifts))
    for position in atoms.positions:
        vectors = images - position
        distances = np.sqrt((vectors**2).sum(axis=1))
        near = (distances < reach) & (distances > 1e-6)
        yield numbers[near], vectors[near]


def cosine_cutoff(distance: float, cutoff: float) -> float:
    return 0.5 * (np.cos(np.pi * distance / cutoff) + 1.0) if distance < cutoff else 0.0


def assert_close(result: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Equal but for a fraction of the largest value in the column."""
    assert result.shape == expected.shape
    scale = np.abs(expected).max(axis=0, keepdims=True)
    assert np.isfinite(result).all()
    excess = np.abs(result - expected) - tolerance * scale
    # What vanishes by symmetry is noise, which depends on the order of the neighbours.
    column = excess.max(axis=0).argmax()
    assert (excess <= 1e-13).all(), f"column {column}: {result[:, column]}, {expected[:, column]}"
