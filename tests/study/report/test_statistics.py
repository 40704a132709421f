"""Numbers of a report against formulas worked out another way."""

import numpy as np
import pytest
from scipy import stats

from gnnpre.study.report._bootstrap import interval, resampled_improvements
from gnnpre.study.report._read_results import read_results
from gnnpre.study.report._record import Method
from gnnpre.study.report._statistics import (
    average_improvements,
    cells,
    choose_by_validation,
    improvements,
    sign_flip_test,
    wilcoxon_test,
)
from study.report_folder import (
    DATA,
    FORMULAS,
    METHODS,
    SEEDS,
    all_evaluations,
    evaluation,
    failure_of,
    write_folder,
)

EAD, SCRATCH = Method("cgcnn", "ead"), Method("cgcnn", "scratch")


@pytest.fixture
def records():
    return all_evaluations()


def of(records, data, strategy):
    return [r for r in records if (r["data"], r["strategy"]) == (data, strategy)]


def errors(record):
    return np.abs(np.array(record["predictions"]) - np.array(record["targets"]))


def read(tmp_path, records, **study):
    return read_results(write_folder(tmp_path, records, **study))


def test_cell_is_mean_and_sample_deviation_over_seeds(tmp_path, records):
    maes = [errors(record).mean() for record in of(records, "jdft2d", "ead")]
    cell = cells(read(tmp_path, records))["jdft2d", EAD]
    assert cell.mean == pytest.approx(sum(maes) / 3)
    assert cell.std == pytest.approx(np.sqrt(np.sum((maes - np.mean(maes)) ** 2) / 2))
    assert (cell.n_runs, cell.n_records, cell.n_expected) == (3, 3, 3)
    assert cell.complete


def test_cell_over_folds_averages_seeds_within_a_fold(tmp_path):
    shape = {"data": "jdft2d", "backbone": "cgcnn", "strategy": "ead"}
    records = [evaluation(**shape, seed=s, fold=f) for s in (1, 2) for f in range(5)]
    by_fold = [
        np.mean([errors(record).mean() for record in records if record["fold"] == fold])
        for fold in range(5)
    ]
    cell = cells(read(tmp_path, records, protocol="matbench"))["jdft2d", EAD]
    assert cell.mean == pytest.approx(np.mean(by_fold))
    assert cell.std == pytest.approx(np.std(by_fold, ddof=1))
    assert (cell.n_runs, cell.n_records) == (5, 10)


def test_missing_and_failed_runs_are_counted(tmp_path, records):
    failed, waiting = of(records, "jdft2d", "ead")[:2]
    done = [record for record in records if record not in (failed, waiting)]
    results = read(tmp_path, done, jobs=records, failures=[failure_of(failed)])
    cell = cells(results)["jdft2d", EAD]
    assert (cell.n_records, cell.n_expected, cell.n_failed) == (1, 3, 1)
    assert not cell.complete
    assert np.isnan(cell.std)


def test_cell_of_a_diverged_run_is_not_a_number(tmp_path, records):
    broken = of(records, "jdft2d", "ead")[0]
    broken["predictions"][0], broken["metrics"]["mae"] = None, None
    results = read(tmp_path, records)
    assert np.isnan(cells(results)["jdft2d", EAD].mean)
    assert not cells(results)["jdft2d", EAD].complete
    assert ("jdft2d", EAD) not in improvements(results, n_resamples=10)


def test_improvement_is_of_the_mean_errors_of_shared_seeds(tmp_path, records):
    records = [r for r in records if not (r["strategy"] == "ead" and r["seed"] == SEEDS[0])]
    found = improvements(read(tmp_path, records), n_resamples=50)["jdft2d", EAD]
    before = np.mean([errors(r).mean() for r in of(records, "jdft2d", "scratch")[1:]])
    after = np.mean([errors(r).mean() for r in of(records, "jdft2d", "ead")])
    assert found.percent == pytest.approx(100 * (before - after) / before)
    assert found.n_runs == 2


def test_improvement_needs_a_backbone_and_its_scratch(tmp_path, records):
    records = [r for r in records if (r["data"], r["strategy"]) != ("phonons", "scratch")]
    compared = improvements(read(tmp_path, records), n_resamples=10)
    assert {data for data, _ in compared} == {"jdft2d"}
    assert {method.strategy for _, method in compared} == {"forces", "ead"}


def test_average_is_unweighted_and_names_what_it_lacks(tmp_path, records):
    results = read(tmp_path / "all", records)
    found = improvements(results, n_resamples=200)
    average = average_improvements(results, found)[EAD]
    parts = [found[data, EAD] for data in ("jdft2d", "phonons")]
    assert average.percent == pytest.approx(sum(part.percent for part in parts) / 2)
    draws = (parts[0].draws + parts[1].draws) / 2
    assert (average.low, average.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))
    assert average.missing == ()

    records = [r for r in records if (r["data"], r["strategy"]) != ("phonons", "ead")]
    results = read(tmp_path / "some", records)
    average = average_improvements(results, improvements(results, n_resamples=10))[EAD]
    assert (average.data, average.missing) == (("jdft2d",), ("phonons",))


def test_average_over_the_same_crystals_is_no_more_certain_than_one(tmp_path, records):
    one = [r for r in records if r["data"] == "jdft2d"]
    # The same crystals and the same errors under another name, such as a second property.
    twins = [{**r, "data": "phonons", "key": r["key"][::-1]} for r in one]
    compared = improvements(read(tmp_path / "a", [*one, *twins]))
    average = average_improvements(read(tmp_path / "b", [*one, *twins]), compared)[EAD]
    single = compared["jdft2d", EAD]
    assert (average.low, average.high) == pytest.approx((single.low, single.high))


def test_average_over_other_crystals_is_more_certain(tmp_path, records):
    one = [r for r in records if r["data"] == "jdft2d"]
    twins = [{**r, "data": "phonons", "key": r["key"][::-1]} for r in one]
    data = {**DATA, "phonons": (*DATA["phonons"][:2], FORMULAS[::-1])}
    compared = improvements(read(tmp_path / "a", [*one, *twins], data=data))
    average = average_improvements(read(tmp_path / "b", [*one, *twins], data=data), compared)[EAD]
    single = compared["jdft2d", EAD]
    assert average.high - average.low < 0.9 * (single.high - single.low)


def test_records_of_different_splits_are_refused(tmp_path, records):
    record = of(records, "jdft2d", "ead")[0]
    unused = next(i for i in range(100) if i not in record["test_indices"])
    record["test_indices"][0] = unused
    results = read(tmp_path, records)
    with pytest.raises(ValueError, match="'jdft2d' have different test crystals in one run"):
        improvements(results, n_resamples=10)


def test_crystals_are_paired_by_index_not_by_place(tmp_path, records):
    found = improvements(read(tmp_path / "a", records), n_resamples=20)["jdft2d", EAD]
    for record in (of(records, "jdft2d", "ead")[0], of(records, "jdft2d", "scratch")[1]):
        for name in ("test_indices", "targets", "predictions"):
            record[name] = record[name][::-1]
    shuffled = improvements(read(tmp_path / "b", records), n_resamples=20)["jdft2d", EAD]
    assert shuffled.p_crystals == pytest.approx(found.p_crystals)
    assert (shuffled.low, shuffled.high) == pytest.approx((found.low, found.high))


def test_test_over_crystals_averages_a_crystal_over_its_seeds(tmp_path, records):
    found = improvements(read(tmp_path, records), n_resamples=10)["jdft2d", EAD]
    differences: dict[int, list[float]] = {}
    pairs = zip(of(records, "jdft2d", "scratch"), of(records, "jdft2d", "ead"), strict=True)
    for before, after in pairs:
        change = errors(before) - errors(after)
        for index, value in zip(before["test_indices"], change, strict=True):
            differences.setdefault(index, []).append(value)
    means = [np.mean(values) for values in differences.values()]
    assert found.n_crystals == len(means)
    assert found.p_crystals == pytest.approx(stats.wilcoxon(means).pvalue)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8])
def test_sign_flip_test_counts_all_signs(n):
    differences = np.random.default_rng(n).normal(0.7, 1.0, n)
    signs = np.array(np.meshgrid(*[[1, -1]] * n)).reshape(n, -1)
    flipped = np.abs((signs * differences[:, None]).sum(axis=0))
    expected = np.mean(flipped >= abs(differences.sum()) - 1e-12)
    assert sign_flip_test(differences) == pytest.approx(expected)


def test_three_seeds_cannot_give_a_smaller_p_than_a_quarter():
    assert sign_flip_test(np.array([3.0, 3.1, 2.9])) == 0.25


def test_tests_of_no_difference_give_one():
    assert sign_flip_test(np.zeros(3)) == 1.0
    assert wilcoxon_test(np.zeros(30)) == 1.0


def test_bootstrap_of_one_run_resamples_its_crystals():
    errors = np.random.default_rng(0).exponential([[2.0], [1.0]], (2, 400))
    draws = resampled_improvements([errors], stream="a", n_resamples=4000)
    # The delta method for the ratio of two means.
    before, after = errors.mean(axis=1)
    influence = -errors[1] / before + after / before**2 * errors[0]
    assert draws.mean() == pytest.approx(100 * (before - after) / before, abs=0.5)
    assert draws.std() == pytest.approx(100 * influence.std() / np.sqrt(400), rel=0.08)


def test_bootstrap_resamples_runs_too():
    # Crystals of a run are alike: all that scatters is the choice of the runs.
    pairs = [np.full((2, 50), 1.0) * [[1.0], [value]] for value in (0.5, 1.0, 1.5)]
    draws = resampled_improvements(pairs, stream="a", n_resamples=5000)
    spread = 100 * np.std([0.5, 1.0, 1.5]) / np.sqrt(3)
    assert draws.std() == pytest.approx(spread, rel=0.05)


def test_bootstrap_is_the_same_each_time_and_by_data_set():
    pairs = [np.random.default_rng(0).exponential(1.0, (2, 30))]
    first, again, other = (
        resampled_improvements(pairs, stream=stream, n_resamples=20) for stream in "aab"
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        pairs = [
            rng.exponential(1.0, (2, 60)) * [[1.0], [0.8 + 0.05 * rng.normal()]] for _ in range(8)
        ]
        low, high = interval(resampled_improvements(pairs, stream="x", n_resamples=300))
        covered += low <= 20.0 <= high
    assert 0.88 <= covered / 200 <= 1.0
    assert covered < 200


def test_choice_looks_at_validation_alone(tmp_path, records):
    for record in records:
        if record["strategy"] == "ead":
            record["validation"] = {"mae": 1000.0}
    choice = choose_by_validation(read(tmp_path, records), "cgcnn")
    assert choice.best == Method("cgcnn", "forces")
    assert choice.unranked == ()


def test_choice_leaves_out_methods_that_lack_a_data_set_and_says_so(tmp_path, records):
    best = min(METHODS, key=lambda method: method[3])[1]
    fewer = [r for r in records if (r["data"], r["strategy"]) != ("phonons", best)]
    choice = choose_by_validation(read(tmp_path, fewer, jobs=records), "cgcnn")
    assert choice.best == Method("cgcnn", "forces")
    assert choice.unranked == (EAD,)


def test_choice_does_without_runs_that_only_scratch_has(tmp_path, records):
    last = max(SEEDS)
    early = [r for r in records if r["seed"] != last or r["strategy"] == "scratch"]
    choice = choose_by_validation(read(tmp_path / "early", early, jobs=records), "cgcnn")
    for record in of(early, "phonons", "scratch"):
        if record["seed"] == last:  # it would turn all averages, if it counted
            record["validation"]["mae"] = 1e-6
    assert choose_by_validation(read(tmp_path / "turned", early, jobs=records), "cgcnn") == choice
    assert choice.best == Method("cgcnn", "ead")
    assert choice.unranked == ()


def test_choice_leaves_out_methods_that_lack_a_run(tmp_path, records):
    best = min(METHODS, key=lambda method: method[3])[1]
    lacking = next(r for r in records if (r["data"], r["strategy"]) == ("phonons", best))
    fewer = [r for r in records if r is not lacking]
    choice = choose_by_validation(read(tmp_path, fewer, jobs=records), "cgcnn")
    assert choice.best == Method("cgcnn", "forces")
    assert choice.unranked == (EAD,)
