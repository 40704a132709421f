"""Crystals to pre-train on."""

import json

import numpy as np
import pandas as pd
import pytest

from gnnpre import (
    EAD,
    Crystals,
    Denoising,
    FingerprintTargets,
    ForceField,
    Mixture,
    PropertyTargets,
)
from gnnpre.datasets import make_emt_frames, to_parquet
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
    assert pool.labels.n_atoms.tolist() == [len(structure) for structure in pool.crystals]


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
    drawn = [pool.crystals.to_structures() for pool in (one, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    positions = [crystals(30)[0].index(structure) for structure in drawn[0]]
    np.testing.assert_array_equal(one.labels.groups("K"), crystals(30)[1][positions])


def test_table_of_any_format_gives_the_same_crystals_and_labels(tmp_path):
    structures, y = crystals(5)
    y[2] = np.nan
    json_pool = pool_of(write_table(tmp_path / "a.json", 5, K=y))
    # 1. the same table as Parquet, with a column of text, and as CSV
    to_parquet(tmp_path / "a.parquet", Crystals.from_structures(structures, info={"K": y}))
    texts = [json.dumps(structure.as_dict()) for structure in structures]
    table = pd.DataFrame({"structure": texts, "K": y, "source": ["x"] * 5})
    table.to_csv(tmp_path / "a.csv", index=False)
    for path in (tmp_path / "a.parquet", tmp_path / "a.csv"):
        # 2. crystals, labels, and nothing of the text
        pool = pool_of(path)
        assert pool.columns == ("K",)
        assert pool.crystals.to_structures() == json_pool.crystals.to_structures()
        np.testing.assert_array_equal(labels_for(PropertyTargets(), pool, None)[:, 0], y)


def test_parquet_brings_energies_and_forces(tmp_path):
    structures, labels = make_emt_frames(6, random_state=0)
    to_parquet(tmp_path / "a.parquet", Crystals.from_structures(structures), labels)
    pool = pool_of(tmp_path / "a.parquet")
    np.testing.assert_allclose(pool.labels.energy, labels.energy)
    np.testing.assert_allclose(pool.labels.forces, labels.forces)


@pytest.mark.parametrize("text", ["unknown", "202,70", "20,270.3", "202.7 GPa"])
def test_text_among_numbers_is_named(tmp_path, text):
    texts = [json.dumps(structure.as_dict()) for structure in crystals(3)[0]]
    table = pd.DataFrame({"structure": texts, "K": ["1.0", text, ""], "G": [1.0, 2.0, 3.0]})
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match=rf"Column 'K' of .*a.csv has '{text}' in row 1"):
        pool_of(tmp_path / "a.csv")
    # A column that no target names is left alone.
    assert pool_of(tmp_path / "a.csv", targets=["G"]).columns == ("G",)


def test_numbers_written_in_another_way_are_no_text(tmp_path):
    texts = [json.dumps(structure.as_dict()) for structure in crystals(3)[0]]
    table = pd.DataFrame({"structure": texts, "K": ["1,5", "2,5", ""], "G": [1.0, 2.0, 3.0]})
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(ValueError, match=r"Column 'K' of .* expected numbers with decimal points"):
        pool_of(tmp_path / "a.csv")


def test_dates_and_the_index_are_no_properties(tmp_path):
    structures, y = crystals(3)
    table = pd.DataFrame({"structure": [json.dumps(s.as_dict()) for s in structures], "K": y})
    table["day"] = ["2026-11-25", "2026-11-26", "2026-11-27"]
    table.to_csv(tmp_path / "a.csv")  # with the index, as column without a name
    assert pool_of(tmp_path / "a.csv").columns == ("K",)
    info = {"K": y, "day": pd.to_datetime(table["day"]).to_numpy()}
    to_parquet(tmp_path / "a.parquet", Crystals.from_structures(structures), targets=info)
    assert pool_of(tmp_path / "a.parquet").columns == ("K",)


def test_energies_in_a_table_are_not_ignored(tmp_path):
    pool = pool_of(write_table(tmp_path / "a.json", 4, energy=np.arange(4.0)))
    mixed = Mixture([("ead", FingerprintTargets(EAD()), 1.0), ("forces", ForceField(), 1.0)])
    for objective in (ForceField(), mixed):
        with pytest.raises(ValueError, match=r"a column 'energy', which is a property like any"):
            labels_for(objective, pool, None)
    # A part that learns it is no mistake.
    named = Mixture([("energy", PropertyTargets(), 1.0), ("forces", ForceField(), 1.0)])
    assert labels_for(named, pool, None) is pool.labels
