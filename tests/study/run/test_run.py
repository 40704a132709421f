"""Runs of a study: records, resumption, failures, what the numbers come from."""

import dataclasses
import json

import numpy as np
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import make_pipeline

from gnnpre import EAD, ForceField, PropertyRegressor, StructureToGraph
from gnnpre.study import Pretraining, Recipe, Strategy, read_results, run_study
from gnnpre.study.plan._plan import plan_jobs
from gnnpre.study.plan._protocols import split_data
from gnnpre.study.report._report import write_report
from study.small_studies import crystals, records_of, small_study, write_frames, write_table


@pytest.fixture(scope="module")
def alloys(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data") / "alloys.json")


@pytest.fixture(scope="module")
def run(alloys, tmp_path_factory):
    """Run the small study once for all tests that only look."""
    return run_study(small_study(alloys), tmp_path_factory.mktemp("run"))


def by_row(folder):
    records = records_of(folder).values()
    return {(r["kind"], r["strategy"], r["member"]): r for r in records}


def test_every_declared_job_has_a_record(run, alloys):
    jobs = plan_jobs(small_study(alloys)).jobs
    assert set(run.done) == {job.key for job in jobs}
    assert set(records_of(run.folder)) == {f"{job.key}.json" for job in jobs}
    assert run.failed == {}


def test_record_tells_where_its_numbers_come_from(run):
    record = by_row(run.folder)["evaluation", "noise", None]
    y, split = crystals(30)[1], split_data(30, "papers", seed=1)
    assert record["test_indices"] == split.test.tolist()
    np.testing.assert_allclose(record["targets"], y[split.test])
    errors = np.array(record["predictions"]) - record["targets"]
    assert record["metrics"]["mae"] == pytest.approx(np.abs(errors).mean())
    assert record["metrics"]["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert record["metrics"]["r2"] == pytest.approx(
        1 - (errors**2).sum() / ((y[split.test] - y[split.test].mean()) ** 2).sum()
    )
    assert record["validation"]["indices"] == split.valid.tolist()
    assert record["seed"] == record["parameters"]["split"]["seed"] == 1
    assert {"torch", "gnnpre", "python", "numpy"} <= set(record["versions"])
    pretraining = by_row(run.folder)["pretraining", "noise", None]
    assert record["pretraining"] == pretraining["key"]
    assert (run.folder / pretraining["pretrained"]).is_file()


def test_network_is_the_estimator_with_the_recorded_settings(run):
    record = by_row(run.folder)["evaluation", "scratch", None]
    structures, y = crystals(30)
    split = split_data(30, "papers", seed=1)
    known = np.concatenate([split.train, split.valid])
    graphs = StructureToGraph(cutoff=3.5).fit_transform(structures)

    class Inner:
        def split(self, X, y=None, groups=None):
            yield np.arange(18), np.arange(18, 24)

    settings = {"max_epochs": 3, "batch_size": 8, "diagnose": False, "random_state": 1}
    backbone = small_study("x.json").backbones[0].backbone
    model = PropertyRegressor(backbone, validation_fraction=Inner(), **settings)
    model.fit(graphs[known], y[known])
    np.testing.assert_allclose(record["predictions"], model.predict(graphs[split.test]), rtol=1e-6)
    assert record["n_train"] == model.data_["n_train"] == 18
    best = min(row["valid_loss"] for row in record["losses"])
    std = y[split.train].std()
    assert record["validation"]["mae"] == pytest.approx(best * std, rel=1e-4)


def test_mean_is_that_of_all_known_labels(run):
    record = by_row(run.folder)["evaluation", "mean", None]
    y, split = crystals(30)[1], split_data(30, "papers", seed=1)
    known = np.concatenate([split.train, split.valid])
    np.testing.assert_allclose(record["predictions"], y[known].mean())
    assert record["validation"]["mae"] == pytest.approx(
        np.abs(y[split.valid] - y[split.train].mean()).mean()
    )


def test_ensemble_is_the_mean_of_its_members(run):
    rows = by_row(run.folder)
    assert ("evaluation", "three", 0) not in rows
    # The row that is trained as the first would be.
    first = rows["evaluation", "noise", None]
    members = [first, *(rows["evaluation", "three", number] for number in (1, 2))]
    ensemble = rows["evaluation", "three", None]
    each = np.array([member["predictions"] for member in members])
    assert len({tuple(row) for row in each.tolist()}) == 3
    np.testing.assert_allclose(ensemble["predictions"], each.mean(axis=0))
    assert ensemble["members"] == [member["key"] for member in members]
    assert ensemble["role"] == "ensemble"
    assert ensemble["pretraining"] == members[0]["pretraining"]


def test_mean_of_strategies_takes_their_predictions(alloys, run, tmp_path):
    study = small_study(alloys)
    both = Strategy(name="both", of=["scratch", "three", "mean"])
    run_study(
        dataclasses.replace(study, strategies=[*study.strategies, both]), tmp_path, only=["both"]
    )
    rows = by_row(tmp_path)
    # The records of its parts are those that the study has without it.
    assert rows["evaluation", "three", None] == by_row(run.folder)["evaluation", "three", None]
    parts = [rows["evaluation", name, None]["predictions"] for name in both.of]
    np.testing.assert_allclose(
        rows["evaluation", "both", None]["predictions"], np.mean(parts, axis=0)
    )


def test_second_run_does_nothing(run, alloys):
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.json")}
    again = run_study(small_study(alloys), run.folder)
    assert (again.done, len(again.skipped)) == ((), len(run.done))
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.json")} == before


def test_deleted_records_come_back_with_the_same_numbers(run, alloys):
    before = records_of(run.folder)
    doomed = sorted(before)[::2]
    for name in doomed:
        (run.folder / "records" / name).unlink()
    again = run_study(small_study(alloys), run.folder)
    assert sorted(again.done) == [name.removesuffix(".json") for name in doomed]
    assert records_of(run.folder) == before


def test_deleted_weights_are_made_again(alloys, tmp_path):
    study = small_study(alloys)
    run_study(study, tmp_path, only=["noise"])
    before = records_of(tmp_path)
    (weights,) = (tmp_path / "pretrained").iterdir()
    weights.unlink()
    assert run_study(study, tmp_path, only=["noise"]).done == (weights.stem,)
    assert weights.is_file()
    assert records_of(tmp_path) == before


def test_report_reads_the_folder(run):
    results = read_results(run.folder)
    assert len(results.records) == len(run.done)
    assert not results.strays
    write_report(run.folder)
    text = (run.folder / "report.md").read_text()
    assert "tiny three" in text
    assert "alloys (GPa)" in text


def test_only_runs_what_is_named_and_what_it_needs(alloys, tmp_path):
    done = run_study(small_study(alloys), tmp_path, only=["kernel_head", "mean"]).done
    assert len(done) == 3
    assert {row[:2] for row in by_row(tmp_path)} == {
        ("pretraining", "noise"),
        ("evaluation", "kernel_head"),
        ("evaluation", "mean"),
    }


def test_only_refuses_a_name_that_is_not_in_the_study(alloys, tmp_path):
    with pytest.raises(
        ValueError, match=r"only has 'et'; expected names of alloys, tiny, mean, .*kernel_head"
    ):
        run_study(small_study(alloys), tmp_path, only=["et"])


def failing(context):
    raise RuntimeError("no such luck")


def constant(context):
    return DummyRegressor(strategy="constant", constant=context.random_state)


def ridge_on_embeddings(context):
    (path,) = context.pretrained.values()
    return make_pipeline(
        StructureToGraph(cutoff=3.5), PropertyRegressor(pretrained=path, max_epochs=1)
    )


def bare(alloys, **changes):
    empty = {"backbones": [], "strategies": [], "pretrainings": [], "baselines": ["mean"]}
    return small_study(alloys, **{**empty, **changes})


def test_failed_job_is_described_and_the_others_go_on(alloys, tmp_path):
    study = bare(alloys, estimators={"bad": Recipe(make=failing)})
    run = run_study(study, tmp_path)
    (key,) = run.failed
    failure = json.loads((tmp_path / "failures" / f"{key}.json").read_text())
    assert failure["error"] == run.failed[key] == "RuntimeError: no such luck"
    assert 'raise RuntimeError("no such luck")' in failure["traceback"]
    assert failure["job"]["strategy"] == "bad"
    assert len(run.done) == 1
    assert read_results(tmp_path).failures[0].key == key


def test_failure_shows_no_path_of_the_machine(alloys, tmp_path, monkeypatch):
    def fails(*_):
        raise ValueError(f"{tmp_path / 'checkpoints' / 'a'} is damaged")

    study = bare(alloys, estimators={"lucky": Recipe(make=constant)})
    monkeypatch.setattr(DummyRegressor, "fit", fails)
    (error,) = run_study(study, tmp_path, only=["lucky"]).failed.values()
    assert error == "ValueError: ./checkpoints/a is damaged"


def test_failure_goes_when_its_job_succeeds(alloys, tmp_path, monkeypatch):
    study = bare(alloys, estimators={"lucky": Recipe(make=constant)})
    monkeypatch.setattr(DummyRegressor, "fit", lambda *_: 1 / 0)
    assert len(run_study(study, tmp_path, only=["lucky"]).failed) == 1
    monkeypatch.undo()
    assert run_study(study, tmp_path, only=["lucky"]).failed == {}
    assert list((tmp_path / "failures").iterdir()) == []


def test_what_needs_a_failed_pretraining_is_not_done(alloys, tmp_path):
    wrong = Pretraining(name="noise", objective=ForceField(), sources=[str(alloys)])
    run = run_study(small_study(alloys, pretrainings=[wrong]), tmp_path, only=["noise", "scratch"])
    assert len(run.done) == 1
    assert sum("not done: it needs pretraining tiny noise" in e for e in run.failed.values()) == 1


def test_recipe_gets_structures_seed_and_pretrainings(alloys, tmp_path):
    recipes = {
        "constant": Recipe(make=constant),
        "mine": Recipe(make=ridge_on_embeddings, needs=["noise"], backbone="tiny"),
    }
    study = small_study(alloys, estimators=recipes)
    assert run_study(study, tmp_path, only=["constant", "mine"]).failed == {}
    rows = by_row(tmp_path)
    assert set(rows["evaluation", "constant", None]["predictions"]) == {1.0}
    mine = rows["evaluation", "mine", None]
    assert mine["pretraining"] == rows["pretraining", "noise", None]["key"]
    assert "PropertyRegressor" in mine["parameters"]["source"]


def test_frames_and_a_mixture_of_sources_are_learnt(alloys, tmp_path):
    from gnnpre import FingerprintTargets, Mixture, PropertyTargets

    frames = write_frames(tmp_path / "frames.extxyz")
    mixture = Mixture(
        [
            ("forces", ForceField(), 1.0),
            ("K", PropertyTargets(), 0.5),
            ("ead", FingerprintTargets(EAD(L=0)), 0.1),
        ]
    )
    pretrainings = [
        Pretraining(name="forces", objective=ForceField(), sources=[str(frames)]),
        Pretraining(name="mixed", objective=mixture, sources=[str(frames), str(alloys)]),
        Pretraining(name="K", objective=PropertyTargets(), sources=[str(alloys)]),
    ]
    rows = [Strategy(name=name, pretraining=name) for name in ("forces", "mixed", "K")]
    study = small_study(
        alloys, pretrainings=pretrainings, strategies=[Strategy(name="scratch"), *rows]
    )
    assert run_study(study, tmp_path / "run", only=["forces", "mixed", "K"]).failed == {}
    records = by_row(tmp_path / "run")
    sizes = {name: _size(records["pretraining", name, None]) for name in ("forces", "mixed", "K")}
    assert sizes == {"forces": 11, "mixed": 41, "K": 30}  # a frame with a huge force is left out
    assert "train_K.properties" in records["pretraining", "mixed", None]["losses"][0]


def _size(record):
    return record["n_train"] + record["n_valid"]


def test_leaks_are_dropped_and_sizes_limited(alloys, tmp_path):
    noise = small_study(alloys).pretrainings[0]
    more = write_table(tmp_path / "more.json", 40)  # its first thirty are those of alloys
    pretrainings = [
        dataclasses.replace(noise, sources=[str(more)], drop_leaks=["alloys"]),
        dataclasses.replace(noise, name="few", sources=[str(more)], max_structures=12),
    ]
    rows = [Strategy(name="scratch"), *(Strategy(name=n, pretraining=n) for n in ("noise", "few"))]
    study = small_study(alloys, pretrainings=pretrainings, strategies=rows)
    assert run_study(study, tmp_path / "run", only=["noise", "few"]).failed == {}
    records = by_row(tmp_path / "run")
    kept = records["pretraining", "noise", None]
    assert kept["n_leaks_dropped"] >= 30
    assert _size(kept) + kept["n_leaks_dropped"] == 40
    assert _size(records["pretraining", "few", None]) == 12


def test_epochs_of_a_pretraining_are_kept(alloys, tmp_path):
    noise = dataclasses.replace(
        small_study(alloys).pretrainings[0],
        settings={"checkpoint_epochs": [1], "restore_best": False},
    )
    rows = [
        Strategy(name="scratch"),
        Strategy(name="early", pretraining="noise", epoch=1),
        Strategy(name="late", pretraining="noise"),
    ]
    study = small_study(alloys, pretrainings=[noise], strategies=rows)
    assert run_study(study, tmp_path, only=["early", "late"]).failed == {}
    records = by_row(tmp_path)
    early, late = (records["evaluation", name, None] for name in ("early", "late"))
    assert early["predictions"] != late["predictions"]
    assert early["pretraining"] == late["pretraining"]
