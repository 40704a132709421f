"""Leak keys: training crystals are found again, in any cell, and damaged keys are refused."""

import dataclasses
import shutil

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from gnnpre import describe_pretrained
from gnnpre.model_selection import leak_audit
from gnnpre.pretrained import LeakKeys, read_leak_keys, write_release


def test_training_crystals_are_found_with_their_labels(released_file, training_set):
    structures, _ = training_set
    audit = leak_audit(released_file, structures)
    assert (audit.level == "structure").all()
    assert audit.seen_labels["structure"].all()
    # Even rows have the label; of equal crystals one may have it.
    assert audit.seen_labels["K"][::2].all()
    assert "trained on K:" in audit.summary()
    assert audit.to_frame()["trained_on_K"].tolist() == audit.seen_labels["K"].tolist()


def test_cell_volume_and_noise_do_not_hide_a_crystal(released_file, training_set):
    structures, _ = training_set
    changed = []
    for structure in structures:
        copy = structure * (2, 1, 1)
        copy.apply_strain(0.02)
        copy.perturb(0.005)
        changed.append(copy)
    assert (leak_audit(released_file, changed).level == "structure").all()
    primitive = [structure.get_primitive_structure() for structure in structures]
    assert (leak_audit(released_file, primitive).level == "structure").all()


def test_other_crystals_are_not_found(released_file):
    salt = Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0] * 3, [0.5] * 3]
    )
    audit = leak_audit(released_file, [salt])
    assert audit.level.tolist() == ["none"]
    assert not audit.seen_labels["structure"].any()


def make_keys(structures):
    from gnnpre.graphs import as_crystals
    from gnnpre.model_selection._leaks._key_audit import make_leak_keys

    crystals = as_crystals(structures)
    return make_leak_keys(crystals, {"structure": np.ones(len(crystals), dtype=bool)})


def audit_of(keys, structures):
    from gnnpre.graphs import as_crystals
    from gnnpre.model_selection._leaks._key_audit import audit_by_keys
    from gnnpre.model_selection._leaks._overlaps import Side

    return audit_by_keys(keys, Side.of(as_crystals(structures), None), match=True)


def test_polymorphs_share_the_composition_alone():
    blende = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.4), ["Zn", "S"], [[0] * 3, [0.25] * 3]
    )
    rock = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.0), ["Zn", "S"], [[0] * 3, [0.5] * 3])
    diamond = Structure.from_spacegroup("Fd-3m", Lattice.cubic(3.57), ["C"], [[0] * 3])
    hexagonal = Structure.from_spacegroup(
        "P6/mmm", Lattice.hexagonal(2.46, 3.4), ["C"], [[1 / 3, 2 / 3, 0]]
    )
    audit = audit_of(make_keys([blende, diamond]), [rock, hexagonal, blende, diamond])
    assert audit.level.tolist() == ["composition", "composition", "structure", "structure"]


def test_vacuum_of_a_layer_does_not_count_and_a_layer_is_not_its_bulk():
    layers = [
        Structure(
            Lattice.hexagonal(2.46, height), ["C", "C"],
            [[1 / 3, 2 / 3, 0.5], [2 / 3, 1 / 3, 0.5]],
        )
        for height in (12.0, 20.0, 3.4)
    ]  # fmt: skip
    audit = audit_of(make_keys(layers[:1]), layers)
    assert audit.level.tolist() == ["structure", "structure", "composition"]


def test_exchanged_elements_are_another_structure():
    normal = Structure.from_spacegroup(
        "Pm-3m", Lattice.cubic(3.9), ["Sr", "Ti", "O"], [[0] * 3, [0.5] * 3, [0.5, 0.5, 0]]
    )
    exchanged = normal.copy()
    exchanged.replace_species({"Sr": "Ti", "Ti": "Sr"})
    assert audit_of(make_keys([normal]), [exchanged]).level.tolist() == ["composition"]


def test_ids_are_compared_where_there_are_some(released_file, training_set):
    structures, _ = training_set
    ids = ["mp-3", None, "mp-999"]
    audit = leak_audit(released_file, structures[3:6], evaluation_ids=ids, match=False)
    assert audit.level.tolist() == ["id", "composition", "composition"]
    assert audit.seen_labels["K"].tolist() == [False, False, False]
    with pytest.raises(ValueError, match="leave pretraining_ids out"):
        leak_audit(released_file, structures, pretraining_ids=ids)
    with pytest.raises(ValueError, match="evaluation_ids has 3 entries"):
        leak_audit(released_file, structures, evaluation_ids=ids)


def test_labels_that_were_not_looked_for_are_not_absent(released_file, training_set):
    audit = leak_audit(released_file, training_set[0][3:6], match=False)
    assert audit.seen_labels == {}
    assert not [name for name in audit.to_frame() if name.startswith("trained_on")]


def test_keys_survive_a_file(released_file):
    keys = read_leak_keys(released_file)
    again = LeakKeys.from_bytes(keys.to_bytes())
    for name in ("compositions", "ids", "periodic", "fingerprints", "masks"):
        np.testing.assert_array_equal(getattr(again, name), getattr(keys, name))
    assert again.labels == ["structure", "K"]
    assert len(keys) == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": np.zeros(20, np.int64)}, "masks of another type"),
        ({"fingerprints": np.zeros((19, 32), np.int8)}, "fingerprints of another type or length"),
        ({"compositions": np.arange(20, dtype=np.uint64)[::-1].copy()}, "not sorted"),
        ({"labels": ["x"] * 17}, "more than 16 labels"),
    ],
)
def test_damaged_keys_are_refused(released_file, changes, message):
    keys = dataclasses.replace(read_leak_keys(released_file), **changes)
    with pytest.raises(ValueError, match=message):
        LeakKeys.from_bytes(keys.to_bytes())


def test_keys_of_two_trainings_are_joined(released_file, training_set):
    structures, _ = training_set
    keys = read_leak_keys(released_file)
    half = dataclasses.replace(keys, labels=["forces", "K"])
    joined = keys.join(half)
    assert len(joined) == 40
    assert joined.labels == ["structure", "K", "forces"]
    audit = audit_of(joined, structures)
    assert audit.seen_labels["forces"].all()
    assert audit.seen_labels["K"][::2].all()


def test_keys_of_a_second_model_of_the_package_count_too(tiny, training_set, tmp_path):
    structures, _ = training_set
    path = shutil.copy(tiny, tmp_path / "other.gnnpre")
    keys = make_keys(structures[:1])
    card = describe_pretrained(tiny).metadata
    write_release(path, card, dataclasses.replace(keys, also="tiny"))
    assert len(read_leak_keys(path)) == 21
