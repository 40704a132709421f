"""Labels of frames: shapes, indexing, files, and what is refused."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch

from gnnpre._storage import save_tensors
from gnnpre.graphs import FrameLabels
from gnnpre.graphs._frame_labels import ARRAYS

COUNTS = np.array([2, 1, 3, 1])


@pytest.fixture
def labels() -> FrameLabels:
    rng = np.random.default_rng(0)
    forces = rng.normal(size=(7, 3))
    forces[3:6] = np.nan
    stress = rng.normal(size=(4, 3, 3))
    stress[1] = np.nan
    return FrameLabels(
        COUNTS,
        energy=[-1.0, np.nan, -3.0, -4.0],
        forces=forces,
        stress=stress,
        info={"material": ["a", "a", "b", None], "step": [0, 1, 0, 1]},
        atom_info={"magmom": [0.5, np.nan, 2.0, 3.0, 4.0, 5.0, 6.0]},
    )


def assert_same_labels(labels: FrameLabels, expected: FrameLabels) -> None:
    for name in ("n_atoms", "offsets", "energy", "forces", "stress"):
        array, reference = getattr(labels, name), getattr(expected, name)
        assert array.dtype == reference.dtype, name
        np.testing.assert_array_equal(array, reference, err_msg=name)
    assert labels.atom_info.keys() == expected.atom_info.keys()
    for key, column in expected.atom_info.items():
        np.testing.assert_array_equal(labels.atom_info[key], column)
    assert sorted(labels.info) == sorted(expected.info)
    for key, column in expected.info.items():
        # A column of texts has objects where the whole column, which it was cut from, has others.
        assert labels.info[key].tolist() == column.tolist(), key


def test_shapes(labels):
    assert len(labels) == 4
    assert labels.shape == (4,)
    assert labels.forces.shape == (7, 3)
    assert labels.stress.shape == (4, 3, 3)
    np.testing.assert_array_equal(labels.offsets, [0, 2, 3, 6, 7])


def test_repr_counts_what_is_labelled(labels):
    assert repr(labels) == (
        "FrameLabels(n=4, 3 energies, 4 forces, 3 stresses, info=['material', 'step'], "
        "atom_info=['magmom'])"
    )


def test_what_is_not_given_is_missing():
    labels = FrameLabels(COUNTS)
    assert np.isnan(labels.energy).all()
    assert np.isnan(labels.forces).all()
    assert np.isnan(labels.stress).all()
    assert labels.forces.shape == (7, 3)
    assert labels.info == {}


def test_forces_may_be_a_list_of_arrays(labels):
    per_frame = np.split(labels.forces, np.cumsum(COUNTS)[:-1])
    for forces in (per_frame, tuple(per_frame), [f.tolist() for f in per_frame]):
        np.testing.assert_array_equal(FrameLabels(COUNTS, forces=forces).forces, labels.forces)


def test_forces_of_one_frame_may_be_a_list():
    forces = [[1, 2, 3], [4, 5, 6]]
    np.testing.assert_array_equal(FrameLabels([2], forces=forces).forces, forces)
    np.testing.assert_array_equal(FrameLabels([2], forces=[forces]).forces, forces)


def test_ints_become_floats():
    labels = FrameLabels([1], energy=[-3], forces=[[0, 0, 1]], stress=np.eye(3, dtype=int)[None])
    assert {a.dtype for a in (labels.energy, labels.forces, labels.stress)} == {np.dtype(float)}


MASK = np.array([True, False, True, False])


@pytest.mark.parametrize(
    "key",
    [slice(1, 3), slice(None, None, -1), [3, 0, 0], [-1], np.array([2], np.int32), MASK, [], 2, -1],
    ids=repr,
)
def test_indexing_keeps_forces_with_their_frames(labels, key):
    chosen = labels[key]
    empty = isinstance(key, list) and not key  # which NumPy takes for floats
    indices = np.atleast_1d(np.arange(4)[slice(0) if empty else key])
    per_frame = np.split(labels.forces, np.cumsum(COUNTS)[:-1])
    moments = np.split(labels.atom_info["magmom"], np.cumsum(COUNTS)[:-1])
    expected = FrameLabels(
        COUNTS[indices],
        energy=labels.energy[indices],
        forces=np.concatenate([np.empty((0, 3)), *(per_frame[i] for i in indices)]),
        stress=labels.stress[indices],
        info={key: column[indices] for key, column in labels.info.items()},
        atom_info={"magmom": np.concatenate([[], *(moments[i] for i in indices)])},
    )
    assert len(chosen.per_atom("magmom")) == len(chosen)
    assert_same_labels(chosen, expected)
    if not isinstance(key, int):
        assert_same_labels(labels[key, ...], expected)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (4, IndexError, "Index 4 is out of bounds for FrameLabels with 4"),
        ([0, -5], IndexError, "Index -5 is out of bounds"),
        ([True], IndexError, "The mask has 1 entries; FrameLabels has 4"),
        (([0], 0), IndexError, "FrameLabels has one axis"),
        ([[0]], IndexError, "FrameLabels has one axis"),
        ("energy", TypeError, "FrameLabels takes an int, a slice, an array of ints"),
        ([0.5], TypeError, "got float64"),
    ],
)
def test_keys_that_do_not_fit(labels, key, error, message):
    with pytest.raises(error, match=message):
        labels[key]


def test_groups(labels):
    np.testing.assert_array_equal(labels.groups("step"), [0, 1, 0, 1])
    np.testing.assert_array_equal(labels[[2, 0]].groups("material"), ["b", "a"])
    with pytest.raises(KeyError, match=r"No info column 'run'; there are \['material', 'step'\]"):
        labels.groups("run")


def test_it_refuses_to_become_an_array(labels):
    with pytest.raises(TypeError, match=r"not an array: use \.energy"):
        np.asarray(labels)


def test_concatenate(labels):
    joined = FrameLabels.concatenate([labels[2:], labels[:2]])
    assert_same_labels(joined, labels[[2, 3, 0, 1]])


def test_concatenate_keeps_the_columns_that_all_have(labels):
    other = FrameLabels([1], info={"step": [7], "run": [0]})
    joined = FrameLabels.concatenate([labels, other])
    assert list(joined.info) == ["step"]
    np.testing.assert_array_equal(joined.groups("step"), [0, 1, 0, 1, 7])
    assert np.isnan(joined.energy[-1])


def test_nothing_does_not_join():
    with pytest.raises(ValueError, match="blocks is empty"):
        FrameLabels.concatenate([])


def test_pickle_round_trip(labels):
    assert_same_labels(pickle.loads(pickle.dumps(labels)), labels)


def test_a_file_from_before_there_were_columns_of_atoms(labels, tmp_path):
    tensors = {name: torch.from_numpy(getattr(labels, name)) for name in ARRAYS}
    save_tensors(tmp_path / "labels", tensors, kind="FrameLabels", metadata={"info": []})
    loaded = FrameLabels.load(tmp_path / "labels")
    assert (loaded.atom_info, loaded.info) == ({}, {})
    np.testing.assert_array_equal(loaded.forces, labels.forces)


@pytest.mark.parametrize("key", [slice(None), slice(1, 2)], ids=["four", "one"])
def test_save_and_load(labels, tmp_path, key):
    labels[key].save(tmp_path / "labels.safetensors")
    assert_same_labels(FrameLabels.load(tmp_path / "labels.safetensors"), labels[key])
    assert [file.name for file in tmp_path.iterdir()] == ["labels.safetensors"]


def test_a_truncated_file_is_refused(labels, tmp_path):
    path = tmp_path / "labels.safetensors"
    labels.save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated"):
        FrameLabels.load(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"energy": [1.0, 2.0]}, r"energy has shape \(2,\); expected \(4,\) \(eV per cell"),
        ({"energy": 1.0}, r"energy has shape \(\); expected \(4,\)"),
        ({"energy": np.ones((4, 1))}, r"energy has shape \(4, 1\); expected \(4,\)"),
        (
            {"energy": ["a", "b", "c", "d"]},
            "energy cannot be read as numbers: 4 of 4 rows hold text",
        ),
        ({"forces": np.ones((6, 3))}, r"forces has shape \(6, 3\); expected \(7, 3\)"),
        ({"forces": np.ones((7, 2))}, r"forces has shape \(7, 2\); expected \(7, 3\)"),
        ({"forces": np.ones(21)}, r"forces has shape \(21,\); expected \(7, 3\)"),
        ({"forces": [np.ones((2, 3))] * 3}, "forces has 3 frames; n_atoms has 4"),
        (
            {"forces": [np.ones((n, 3)) for n in (2, 3, 1, 1)]},
            r"forces of frame 1 have shape \(3, 3\); expected \(1, 3\)",
        ),
        ({"stress": np.ones((4, 6))}, r"stress has shape \(4, 6\); expected \(4, 3, 3\)"),
        ({"stress": np.ones((3, 3))}, r"stress has shape \(3, 3\); expected \(4, 3, 3\)"),
        ({"info": {"run": [1, 2]}}, r"info\['run'\] has shape \(2,\); expected \(4,\)"),
        ({"info": {"run": "abcd"}}, r"info\['run'\] has shape \(\); expected \(4,\)"),
    ],
)
def test_wrong_lengths_and_shapes(arguments, message):
    with pytest.raises(ValueError, match=message):
        FrameLabels(COUNTS, **arguments)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_refused_and_named(value):
    with pytest.raises(ValueError, match=r"energy is -?inf at row 2, infinite in 1 of 4"):
        FrameLabels(COUNTS, energy=[0, 0, value, 0])
    forces = np.zeros((7, 3))
    forces[5, 1] = value
    with pytest.raises(ValueError, match=r"forces is -?inf at row 5"):
        FrameLabels(COUNTS, forces=forces)
    stress = np.zeros((4, 3, 3))
    stress[3, 0, 2] = value
    with pytest.raises(ValueError, match=r"stress is -?inf at row 3"):
        FrameLabels(COUNTS, stress=stress)


@pytest.mark.parametrize("counts", [[1, 0], [-1], [1.0, 2.0], [[1, 2]], 3, ["a"]], ids=repr)
def test_bad_counts_are_refused(counts):
    with pytest.raises(ValueError, match=r"n_atoms must hold .* positive ints"):
        FrameLabels(counts)


# Values that are not numbers, and missing ones


MASKED = np.ma.masked_array([1.0, -999.0, 3.0, 4.0], mask=[0, 1, 0, 0])
MISSING = {
    "masked array": MASKED,
    "pandas.NA": pd.array([1.0, pd.NA, 3.0, 4.0], dtype="Float64"),
    "objects": [1.0, None, 3.0, 4.0],
    "pandas.NaT": [1.0, pd.NaT, 3.0, 4.0],
}


@pytest.mark.parametrize("energy", MISSING.values(), ids=MISSING)
def test_missing_values_become_nan(energy):
    np.testing.assert_array_equal(FrameLabels(COUNTS, energy=energy).energy, [1, np.nan, 3, 4])


def test_a_mask_of_forces_and_stress_is_respected():
    forces = np.ma.masked_array(np.ones((7, 3)), mask=np.zeros((7, 3), dtype=bool))
    forces[2] = np.ma.masked
    stress = np.ma.masked_array(np.ones((4, 3, 3)), mask=np.zeros((4, 3, 3), dtype=bool))
    stress[1] = np.ma.masked
    labels = FrameLabels(COUNTS, forces=forces, stress=stress)
    assert np.isnan(labels.forces).all(axis=1).tolist() == [False] * 2 + [True] + [False] * 4
    assert np.isnan(labels.stress).all(axis=(1, 2)).tolist() == [False, True, False, False]
    per_frame = [forces[0:2], forces[2:3], forces[3:6], forces[6:7]]
    listed = FrameLabels(COUNTS, forces=per_frame).forces
    np.testing.assert_array_equal(listed, labels.forces)


@pytest.mark.parametrize(
    "energy",
    [
        [True, False, True, True],
        [1j, 2, 3, 4],
        np.array(["2026-01-01"] * 4, dtype="datetime64[D]"),
        np.array([1, 2, 3, 4], dtype="timedelta64[s]"),
        ["1", "2", "3", "4"],
        [b"1", b"2", b"3", b"4"],
        [[1], [2, 3], [4], [5]],
        [10**400, 1, 2, 3],
    ],
    ids=lambda energy: str(np.asarray(energy, dtype=object).ravel()[0])[:10],
)
def test_energies_that_are_no_numbers(energy):
    with pytest.raises(ValueError, match="energy"):
        FrameLabels(COUNTS, energy=energy)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (3, "info is of type int; expected a dict"),
        (["run"], "info is of type list; expected a dict"),
        ({7: [1, 2, 3, 4]}, "info has a column named 7; expected names that are strings"),
    ],
    ids=str,
)
def test_info_that_is_no_table(info, message):
    with pytest.raises(TypeError, match=message):
        FrameLabels(COUNTS, info=info)


def test_info_may_be_a_table_with_missing_values():
    info = pd.DataFrame({"run": ["a", pd.NA, "b", "c"], "gap": MASKED, "n": [1, 2, 3, 4]})
    labels = FrameLabels(COUNTS, info=info)
    assert pd.isna(labels.groups("run")).tolist() == [False, True, False, False]
    assert labels.groups("n").dtype.kind == "i"
    masked = FrameLabels(COUNTS, info={"gap": MASKED})
    np.testing.assert_array_equal(masked.groups("gap"), [1, np.nan, 3, 4])


def test_a_frame_of_absurd_size_is_refused_before_memory_is_taken():
    with pytest.raises(ValueError, match=r"n_atoms\[1\] is 1099511627776; expected at most"):
        FrameLabels([1, 2**40])


def test_a_range_shares_memory(labels):
    assert np.shares_memory(labels[1:3].forces, labels.forces)
    assert np.shares_memory(labels[np.arange(4)].energy, labels.energy)


def test_info_of_many_types_survives_a_file(tmp_path):
    info = {
        "flag": [True, False, True, True],
        "small": np.array([1, 2, 3, 4], dtype=np.uint8),
        "gap": [0.5, np.nan, 1.5, 2.0],
        "text": ["a", "bb", "ä", ""],
        "long": ["x" * 200, "", "y", "z"],
        "mixed": [1, "a", None, 2.5],
        "day": np.array(["2026-01-01", "NaT", "2026-01-03", "2026-01-04"], dtype="datetime64[D]"),
        "list": [[1], [2, 3], [], [4]],
    }
    labels = FrameLabels(COUNTS, info=info)
    labels.save(tmp_path / "labels")
    loaded = FrameLabels.load(tmp_path / "labels")
    for name, column in labels.info.items():
        assert loaded.info[name].dtype == column.dtype
        np.testing.assert_array_equal(loaded.info[name], column)


def test_info_that_no_file_can_hold(tmp_path):
    labels = FrameLabels([1], info={"object": [object()]})
    with pytest.raises(ValueError, match="column 'object' cannot be saved"):
        labels.save(tmp_path / "labels")
    assert list(tmp_path.iterdir()) == []


class TestAtomInfo:
    def test_columns_of_atoms_follow_their_frames(self, labels):
        rows = labels.per_atom("magmom")
        assert rows.shape == (4,)
        np.testing.assert_array_equal(rows[2], [3.0, 4.0, 5.0])
        np.testing.assert_array_equal(labels[[2, 0]].atom_info["magmom"], [3, 4, 5, 0.5, np.nan])
        joined = FrameLabels.concatenate([labels[:1], labels[3:]])
        np.testing.assert_array_equal(joined.atom_info["magmom"], [0.5, np.nan, 6.0])
        lacking = FrameLabels.concatenate([labels, FrameLabels([1])])
        assert lacking.atom_info == {}

    def test_frames_of_equal_size(self):
        rows = FrameLabels([2, 2], atom_info={"q": np.arange(4.0)}).per_atom("q")
        assert rows.shape == (2,)
        np.testing.assert_array_equal(rows[1], [2.0, 3.0])

    def test_one_array_for_each_frame(self):
        columns = {"q": [[1.0, 2.0], None, [3, 4, 5], [np.nan]]}
        labels = FrameLabels(COUNTS, atom_info=columns)
        np.testing.assert_array_equal(labels.atom_info["q"], [1, 2, np.nan, 3, 4, 5, np.nan])

    @pytest.mark.parametrize(
        ("columns", "error", "match"),
        [
            ({"q": np.zeros(6)}, ValueError, r"atom_info\['q'\] has shape \(6,\); expected \(7,\)"),
            (
                {"q": [[1.0], [1.0], [1.0], [1.0]]},
                ValueError,
                "row 0, whose crystal has 2 atoms",
            ),
            ({1: np.zeros(7)}, TypeError, "atom_info has a column named 1"),
            ([np.zeros(7)], TypeError, "atom_info is of type list"),
            ({"q": np.full(7, np.inf)}, ValueError, "inf"),
        ],
    )
    def test_columns_that_do_not_fit(self, columns, error, match):
        with pytest.raises(error, match=match):
            FrameLabels(COUNTS, atom_info=columns)

    def test_unknown_columns_are_named(self, labels):
        with pytest.raises(KeyError, match=r"No atom_info column 'q'; there are \['magmom'\]"):
            labels.per_atom("q")
