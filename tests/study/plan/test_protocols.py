"""Splits of the protocols."""

import numpy as np
import pytest
from sklearn.model_selection import KFold

from gnnpre.study.plan._protocols import split_data


def parts(split):
    return [set(part.tolist()) for part in split]


@pytest.mark.parametrize("n", [5, 636, 1265, 1000])
def test_papers_parts_are_a_fifth_each_and_disjoint(n):
    train, valid, test = parts(split_data(n, "papers", seed=111))
    assert len(valid) == len(test) == round(n / 5)
    assert train | valid | test == set(range(n))
    assert len(train) + len(valid) + len(test) == n


def test_papers_split_changes_with_the_seed_and_with_nothing_else():
    first, again, other = (split_data(100, "papers", seed=seed) for seed in (111, 111, 222))
    assert parts(first) == parts(again)
    assert all(a != b for a, b in zip(parts(first), parts(other), strict=True))


@pytest.mark.parametrize("fold", range(5))
def test_matbench_test_part_is_the_official_fold(fold):
    train, valid, test = split_data(636, "matbench", seed=0, fold=fold, validation=0.2)
    official = list(KFold(5, shuffle=True, random_state=18012019).split(np.arange(636)))[fold]
    np.testing.assert_array_equal(test, official[1])
    np.testing.assert_array_equal(np.sort(np.concatenate([train, valid])), official[0])
    assert len(valid) == round(0.2 * len(official[0]))


def test_matbench_seed_changes_the_inner_split_alone():
    one, two = (split_data(100, "matbench", seed=seed, fold=2) for seed in (0, 1))
    assert parts(one)[2] == parts(two)[2]
    assert parts(one)[1] != parts(two)[1]


def test_fewer_labels_keep_the_test_part_and_are_nested():
    whole = split_data(500, "papers", seed=3)
    few, more = (split_data(500, "papers", seed=3, n_labels=k) for k in (40, 100))
    assert parts(few)[2] == parts(more)[2] == parts(whole)[2]
    assert [len(part) for part in few] == [30, 10, 100]
    for small, large, all_of_it in zip(parts(few), parts(more), parts(whole), strict=True):
        assert small <= large <= all_of_it


def test_more_labels_than_there_are_is_refused():
    with pytest.raises(ValueError, match="n_labels=90, but the protocol leaves 80"):
        split_data(100, "papers", seed=0, n_labels=90)


def test_too_few_crystals_are_refused():
    with pytest.raises(ValueError, match="has 4 crystals"):
        split_data(4, "papers", seed=0)
