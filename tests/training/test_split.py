"""The inner split into training and validation."""

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit, ShuffleSplit

from gnnpre.training import split_train_valid


def assert_partition(parts, n):
    train, valid = parts
    assert sorted([*train, *valid]) == list(range(n))


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, np.float32(0.2)])
def test_fraction_of_the_crystals_validates(fraction):
    parts = split_train_valid(100, fraction, None, 0)
    assert_partition(parts, 100)
    assert len(parts[1]) == pytest.approx(100 * fraction, abs=1)


def test_seed_decides_the_split():
    first, same, other = (split_train_valid(50, 0.2, None, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == same
    assert first != other


@pytest.mark.parametrize("zero", [0, 0.0])
def test_zero_trains_on_all(zero, recwarn):
    train, valid = split_train_valid(5, zero, None, 0)
    assert train.tolist() == list(range(5))
    assert len(valid) == 0
    assert not recwarn


@pytest.mark.parametrize("groups", [np.repeat(np.arange(8), 5), list("aabbccddee" * 4)])
@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together(groups, seed):
    train, valid = split_train_valid(40, 0.25, groups, seed)
    assert_partition((train, valid), 40)
    groups = np.asarray(groups)
    assert len(valid)
    assert not set(groups[train]) & set(groups[valid])


def test_first_split_of_a_splitter_is_taken():
    train, valid = split_train_valid(10, KFold(5), None, 0)
    assert valid.tolist() == [0, 1]
    assert train.tolist() == list(range(2, 10))


def test_splitter_gets_groups():
    groups = np.repeat(["a", "b", "c"], 4)
    train, valid = split_train_valid(12, GroupKFold(3), groups, 0)
    assert not set(groups[train]) & set(groups[valid])


def test_predefined_validation_set():
    fold = -np.ones(8, dtype=int)
    fold[[2, 5]] = 0
    assert split_train_valid(8, PredefinedSplit(fold), None, 0)[1].tolist() == [2, 5]


@pytest.mark.parametrize(
    ("n", "groups", "word"), [(4, None, "4 crystals"), (1, None, "1 crystals"), (9, [0] * 9, "1 g")]
)
def test_tiny_sets_train_on_all_with_a_warning(n, groups, word):
    with pytest.warns(UserWarning, match=f"{word}.*too few.*validation_fraction=0.1"):
        train, valid = split_train_valid(n, 0.1, groups, 0)
    assert train.tolist() == list(range(n))
    assert len(valid) == 0


@pytest.mark.parametrize("value", [-0.1, 1.0, 1.5, np.nan, True, None, "0.1", [0.1]])
def test_bad_values_are_named(value):
    with pytest.raises(ValueError, match=r"validation_fraction=.*expected a number from 0"):
        split_train_valid(20, value, None, 0)


@pytest.mark.parametrize("fraction", [0, 0.2, KFold(2)])
@pytest.mark.parametrize("groups", [[0, 1, 2], np.zeros((5, 1))])
def test_groups_of_another_length_or_shape_are_refused(groups, fraction):
    with pytest.raises(ValueError, match=r"groups has shape .*X has 5 crystals"):
        split_train_valid(5, fraction, groups, 0)


def test_an_unseeded_splitter_is_seeded():
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - that one is to stay
    splitter = ShuffleSplit(1, test_size=0.25)
    one, two = (split_train_valid(40, splitter, None, 3) for _ in range(2))
    np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert splitter.random_state is None


def test_groups_of_any_kind():
    groups = ["a", 1, ("x", 2), "a"] * 10
    train, valid = split_train_valid(40, 0.4, groups, 0)
    assert not {groups[i] for i in train} & {groups[i] for i in valid}


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_group_is_named(missing):
    with pytest.raises(ValueError, match=r"groups is missing .* the first at row 2"):
        split_train_valid(4, 0.5, ["a", "b", missing, "c"], 0)


def test_splitters_that_cannot_split():
    with pytest.raises(ValueError, match=r"validation_fraction=GroupKFold.* without groups"):
        split_train_valid(10, GroupKFold(2), None, 0)
    with pytest.raises(ValueError, match="leaves no crystal to train on"):
        split_train_valid(10, PredefinedSplit(np.zeros(10)), None, 0)


class Pairs:
    """A splitter that returns one pair, whatever X is."""

    def __init__(self, train, valid):
        self.pair = train, valid

    def split(self, X, y=None, groups=None):
        yield self.pair


@pytest.mark.parametrize("n", [6, 10])
def test_a_predefined_split_of_other_crystals_is_refused(n):
    # The last two of 10 crystals were left out without a word; of 6, NumPy raised an IndexError.
    with pytest.raises(ValueError, match=f"PredefinedSplit of 8 rows; there are {n} crystals"):
        split_train_valid(n, PredefinedSplit([-1, 0] * 4), None, 0)


def test_masks_of_a_splitter_are_rows():
    mask = np.array([True, False, True, True, False])
    train, valid = split_train_valid(5, Pairs(mask, ~mask), None, 0)
    assert (train.tolist(), valid.tolist()) == ([0, 2, 3], [1, 4])


def test_sides_of_a_splitter_that_share_crystals_are_refused():
    with pytest.raises(ValueError, match=r"1 crystals on both sides .* row 2"):
        split_train_valid(5, Pairs([0, 1, 2], [2, 3]), None, 0)
    with pytest.raises(ValueError, match="validation_fraction returns row 5; expected rows from 0"):
        split_train_valid(5, Pairs([0, 1, 2], [5]), None, 0)
