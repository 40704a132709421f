"""Crystals to pre-train on."""

import numpy as np
import pytest

from gnnpre import Denoising, ForceField, PropertyTargets
from gnnpre.study import Pretraining
from gnnpre.study.plan._files import source_files
from gnnpre.study.run._pools import labels_for, read_pool
from study.small_studies import crystals, write_frames, write_table


def pool_of(*paths, **declared):
    pretraining = Pretraining(
        name="a", objective=Denoising(), sources=[str(path) for path in paths], **declared
    )
    files = [file for source in pretraining.sources for file in source_files(source, None)]
    return read_pool(pretraining, files, (), 1)


def test_sources_are_joined_with_what_they_lack_missing(tmp_path):
    frames = write_frames(tmp_path / "f.extxyz")
    one = write_table(tmp_path / "one.json", 4, K=np.arange(4.0))
    two = write_table(tmp_path / "two.json", 3, G=np.arange(3.0), K=np.ones(3))
    pool = pool_of(frames, one, two)
    assert (len(pool), pool.columns) == (18, ("K", "G"))
    known = np.isfinite(np.stack([pool.labels.energy, *map(pool.labels.groups, pool.columns)]))
    np.testing.assert_array_equal(known[0], np.arange(18) < 11)
    np.testing.assert_array_equal(known[1], np.arange(18) >= 11)
    np.testing.assert_array_equal(known[2], np.arange(18) >= 15)
    assert pool.labels.n_atoms.tolist() == [len(structure) for structure in pool.structures]


def test_labels_have_the_form_of_the_objective(tmp_path):
    pool = pool_of(write_table(tmp_path / "a.json", 4, K=np.arange(4.0), G=np.ones(4)))
    assert labels_for(Denoising(), pool, None) is None
    assert labels_for(ForceField(), pool, None) is pool.labels
    assert labels_for(PropertyTargets(), pool, None).shape == (4, 2)
    assert labels_for(PropertyTargets(), pool, ["K"]).ravel().tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"sources have the columns \['K', 'G'\]"):
        labels_for(PropertyTargets(), pool, ["H"])


def test_drawn_crystals_are_decided_by_the_seed(tmp_path):
    path = write_table(tmp_path / "a.json", 30)
    one, again, other = (pool_of(path, max_structures=10, random_state=seed) for seed in (0, 0, 1))
    assert one.structures == again.structures != other.structures
    positions = [crystals(30)[0].index(structure) for structure in one.structures]
    np.testing.assert_array_equal(one.labels.groups("K"), crystals(30)[1][positions])
