"""Frames in batches, and comparisons of what a store returns."""

import numpy as np

from gnnpre.datasets import make_emt_frames
from gnnpre.graphs import Crystals

ARRAYS = ("atomic_numbers", "positions", "cell", "pbc", "n_atoms")
N = 40


def make_frames():
    """Return crystals with ids and a column, and labels of a force field."""
    structures, labels = make_emt_frames(N, random_state=0)
    ids = [f"agm{number}" for number in range(N)]
    return Crystals.from_structures(structures, ids=ids, info={"run": np.arange(N) // 3}), labels


def batches_of(crystals, labels, size=10):
    return [
        (crystals[start : start + size], labels[start : start + size])
        for start in range(0, len(crystals), size)
    ]


def assert_same_crystals(read, crystals):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(read, name), getattr(crystals, name), err_msg=name)


def assert_same_labels(read, labels):
    np.testing.assert_array_equal(read.energy, labels.energy)
    np.testing.assert_array_equal(read.forces, labels.forces)
    # Stored in kbar, as LeMat does: converting there and back rounds the last digit.
    np.testing.assert_allclose(read.stress, labels.stress, rtol=1e-15, atol=0)
