"""Labels of frames: shapes, indexing, files, and what is refused."""

import pickle

import numpy as np
import pytest

from gnnpre.graphs import FrameLabels

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
    )


def assert_same_labels(left: FrameLabels, right: FrameLabels) -> None:
    for name in ("n_atoms", "offsets", "energy", "forces", "stress"):
        expected = getattr(right, name)
        assert getattr(left, name).dtype == expected.dtype, name
        np.testing.assert_array_equal(getattr(left, name), expected, err_msg=name)
    assert sorted(left.info) == sorted(right.info)
    for key, column in right.info.items():
        assert left.info[key].dtype == column.dtype, key
        np.testing.assert_array_equal(left.info[key], column, err_msg=key)


def test_shapes(labels):
    assert len(labels) == 4
    assert labels.shape == (4,)
    assert labels.forces.shape == (7, 3)
    assert labels.stress.shape == (4, 3, 3)
    np.testing.assert_array_equal(labels.offsets, [0, 2, 3, 6, 7])


def test_repr_counts_what_is_labelled(labels):
    assert repr(labels) == (
        "FrameLabels(n=4, 3 energies, 4 forces, 3 stresses, info=['material', 'step'])"
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
    given = [[1, 2, 3], [4, 5, 6]]
    np.testing.assert_array_equal(FrameLabels([2], forces=given).forces, given)
    np.testing.assert_array_equal(FrameLabels([2], forces=[given]).forces, given)


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
    expected = FrameLabels(
        COUNTS[indices],
        energy=labels.energy[indices],
        forces=np.concatenate([np.empty((0, 3)), *(per_frame[i] for i in indices)]),
        stress=labels.stress[indices],
        info={key: column[indices] for key, column in labels.info.items()},
    )
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
    with pytest.raises(TypeError, match=r"no array; take \.energy"):
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
    with pytest.raises(ValueError, match="parts is empty"):
        FrameLabels.concatenate([])


def test_pickle_round_trip(labels):
    assert_same_labels(pickle.loads(pickle.dumps(labels)), labels)


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
    ("given", "message"),
    [
        ({"energy": [1.0, 2.0]}, r"energy has shape \(2,\); expected \(4,\) \(eV per cell"),
        ({"energy": 1.0}, r"energy has shape \(\); expected \(4,\)"),
        ({"energy": np.ones((4, 1))}, r"energy has shape \(4, 1\); expected \(4,\)"),
        ({"energy": ["a", "b", "c", "d"]}, r"energy must be numbers of shape \(4,\)"),
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
def test_wrong_lengths_and_shapes(given, message):
    with pytest.raises(ValueError, match=message):
        FrameLabels(COUNTS, **given)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_refused_and_named(value):
    with pytest.raises(ValueError, match="energy is infinite at row 2; give NaN"):
        FrameLabels(COUNTS, energy=[0, 0, value, 0])
    forces = np.zeros((7, 3))
    forces[5, 1] = value
    with pytest.raises(ValueError, match="forces is infinite at row 5"):
        FrameLabels(COUNTS, forces=forces)
    stress = np.zeros((4, 3, 3))
    stress[3, 0, 2] = value
    with pytest.raises(ValueError, match="stress is infinite at row 3"):
        FrameLabels(COUNTS, stress=stress)


@pytest.mark.parametrize("counts", [[1, 0], [-1], [1.0, 2.0], [[1, 2]], 3, ["a"]], ids=repr)
def test_bad_counts_are_refused(counts):
    with pytest.raises(ValueError, match=r"n_atoms must hold .* positive ints"):
        FrameLabels(counts)
