"""Rows that start from a model in the package."""

import json

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit

from gnnpre import CGCNN, PropertyEnsemble, PropertyRegressor, StructureToGraph
from gnnpre.datasets import read_matbench
from gnnpre.pretrained import FORCE_FIELD, resolve_model
from gnnpre.study import (
    DataSet,
    Network,
    Strategy,
    estimate_study,
    load_study,
    read_results,
    run_study,
    write_report,
)
from gnnpre.study.plan._plan import plan_jobs
from gnnpre.study.plan._protocols import split_data
from gnnpre.study.report._overlap import _audits
from study.small_studies import small_study, write_table

MODEL = "gnnpre-1-small"
FEATURES = ("composition", "fingerprint", "force_field")
N = 50  # so that ten crystals validate, and a blend has a validation error
STRATEGIES = [
    Strategy(name="scratch"),
    Strategy(name="finetuned", pretraining=MODEL),
    Strategy(name="frozen", pretraining=MODEL, kind="kernel"),
    Strategy(name="default", pretraining=MODEL, kind="blended"),
    Strategy(name="blend", pretraining=MODEL, kind="ensemble", max_time="5min"),
]


def declare(path, **changes):
    declared = {
        "backbones": [Network(name="small", model=MODEL)],
        "pretrainings": [],
        "strategies": STRATEGIES,
        "baselines": ["mean"],
        "finetuning": {"max_epochs": 1},
    }
    return small_study(path, **{**declared, **changes})


@pytest.fixture(scope="module")
def alloys(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data") / "alloys.json", N)


@pytest.fixture(scope="module")
def run(alloys, tmp_path_factory):
    run = run_study(declare(alloys), tmp_path_factory.mktemp("run"))
    assert run.failed == {}
    return run


def read(path):
    """Read the crystals as the study does: kernel machines feel the rounding of coordinates."""
    structures, y = read_matbench(path)
    return StructureToGraph(cutoff=5.0).fit_transform(list(structures)), y.to_numpy()


def records(run):
    contents = [json.loads(path.read_text()) for path in (run.folder / "records").iterdir()]
    return {(r["kind"], r["strategy"]): r for r in contents}


def test_the_folder_has_the_weights_and_an_audit(run):
    record = records(run)["pretraining", MODEL]
    weights = run.folder / record["pretrained"]
    assert weights.read_bytes() == resolve_model(MODEL).read_bytes()
    assert record["hours_of_model"] > 0
    audits = [json.loads(path.read_text()) for path in (run.folder / "leaks").iterdir()]
    assert sorted(audit["pretraining"] for audit in audits) == [FORCE_FIELD, MODEL]
    assert min(audit["n_pretraining"] for audit in audits) > 90_000
    write_report(run.folder)
    text = (run.folder / "report.md").read_text()
    for name in (MODEL, FORCE_FIELD):
        assert f"| alloys | {name} | " in text
    assert "## What a user gets for one minute, ten, a hundred" in text


def test_frozen_row_is_the_kernel_strategy_on_all_labels_but_those_of_the_test(run, alloys):
    record = records(run)["evaluation", "frozen"]
    graphs, y = read(alloys)
    split = split_data(N, "papers", seed=1)
    both = np.concatenate([split.train, split.valid])
    for train, test, expected in (
        (both, split.test, record["predictions"]),
        (split.train, split.valid, record["validation"]["predictions"]),
    ):
        model = PropertyRegressor(
            pretrained=MODEL,
            strategy="kernel",
            kernel_features=FEATURES,
            random_state=1,
        ).fit(graphs[train], y[train])
        np.testing.assert_allclose(expected, model.predict(graphs[test]), rtol=1e-6)


def test_blend_is_the_default_and_is_validated_on_left_out_predictions(run, alloys):
    record = records(run)["evaluation", "default"]
    graphs, y = read(alloys)
    split = split_data(N, "papers", seed=1)
    both = np.concatenate([split.train, split.valid])
    validates = PredefinedSplit(np.repeat([-1, 0], [len(split.train), len(split.valid)]))
    model = PropertyRegressor(
        pretrained=MODEL,
        max_epochs=1,
        random_state=1,
        validation_fraction=validates,
    ).fit(graphs[both], y[both])
    np.testing.assert_allclose(record["predictions"], model.predict(graphs[split.test]), rtol=1e-6)
    assert record["validation"] == {
        "mae": pytest.approx(model.diagnosis_["blend"], rel=1e-6),
        "of": "left-out predictions",
    }
    assert record["member_weights"]["network"] == pytest.approx(model.weights_["network"][0])
    assert sum(record["member_weights"].values()) == pytest.approx(1.0)


def test_ensemble_is_validated_on_predictions_that_its_members_left_out(run, alloys):
    record = records(run)["evaluation", "blend"]
    graphs, y = read(alloys)
    split = split_data(N, "papers", seed=1)
    both = np.concatenate([split.train, split.valid])
    ensemble = PropertyEnsemble(MODEL, kernel_features=FEATURES, max_epochs=1, random_state=1)
    ensemble.fit(graphs[both], y[both])
    np.testing.assert_allclose(record["predictions"], ensemble.predict(graphs[split.test]))
    assert record["validation"]["mae"] == pytest.approx(ensemble.errors_["blend"])
    assert record["member_weights"] == pytest.approx(ensemble.weights_)


def test_a_mean_of_rows_refuses_one_without_validation_predictions(alloys):
    both = Strategy(name="both", of=["scratch", "blend"])
    with pytest.raises(ValueError, match="'blend' is of kind 'ensemble', which has no predictions"):
        plan_jobs(declare(alloys, strategies=[*STRATEGIES, both]))


@pytest.mark.parametrize("model", ["blended", "kernel", "ensemble"])
def test_misspelt_features_are_refused_before_anything_is_trained(alloys, model):
    features = {"kernel_features": ["composition", "fingerprints"]}
    row = Strategy(name="row", pretraining=MODEL, kind=model, finetuning=features)
    with pytest.raises(ValueError, match="kernel_features has 'fingerprints'"):
        plan_jobs(declare(alloys, strategies=[Strategy(name="scratch"), row]))


@pytest.mark.parametrize("model", ["kernel", "ensemble"])
def test_shared_bounds_hold_for_all_rows(alloys, model):
    row = Strategy(name="row", pretraining=MODEL, kind=model)
    _, y = read(alloys)
    bounds = (float(y.min()), float(y.max()))
    shared = {"max_epochs": 1, "bounds": bounds}
    study = declare(alloys, strategies=[Strategy(name="scratch"), row], finetuning=shared)
    (job,) = [job for job in plan_jobs(study).jobs if job.strategy == "row"]
    assert job.tools["finetuning"]["bounds"] == bounds
    free = declare(alloys, strategies=[Strategy(name="scratch"), row])
    assert job.key not in {job.key for job in plan_jobs(free).jobs}


@pytest.mark.parametrize(("model", "pooling"), [("kernel", "attention"), ("ensemble", "sum")])
def test_a_shared_pooling_that_a_row_lacks_is_refused(alloys, model, pooling):
    row = Strategy(name="row", pretraining=MODEL, kind=model)
    shared = {"max_epochs": 1, "pooling": pooling}
    with pytest.raises(ValueError, match=f"'row' of kind '{model}' has pooling='{pooling}'"):
        plan_jobs(declare(alloys, strategies=[Strategy(name="scratch"), row], finetuning=shared))


def test_an_extensive_property_is_one_for_the_kernel_machine(alloys):
    row = Strategy(name="row", pretraining=MODEL, kind="kernel")
    shared = {"max_epochs": 1, "pooling": "sum"}
    study = declare(alloys, strategies=[Strategy(name="scratch"), row], finetuning=shared)
    (job,) = [job for job in plan_jobs(study).jobs if job.strategy == "row"]
    assert job.tools["finetuning"]["pooling"] == "sum"


def test_models_cost_an_estimate_nothing(alloys):
    rows = {row.what: row for row in estimate_study(declare(alloys)).rows}
    assert rows[f"pretraining small {MODEL}"].core_hours == 0


def test_a_network_takes_config_and_graphs_of_its_model():
    network = Network(name="small", model=MODEL)
    assert network.backbone.get_params()["n_layers"] == 2
    assert network.graphs.cutoff == 5.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "gnnpre-0"}, r"model of x='gnnpre-0'; expected one of \['gnnpre-1'"),
        ({"model": MODEL, "backbone": CGCNN()}, "leave backbone and graphs out"),
        ({"model": MODEL, "graphs": StructureToGraph()}, "leave backbone and graphs out"),
    ],
)
def test_a_network_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        Network(name="x", **fields)


def test_a_model_starts_its_own_network_alone(alloys):
    tiny = Network(name="tiny", backbone=CGCNN(8, 1))
    with pytest.raises(ValueError, match="restrict the strategy by backbones, or declare a net"):
        plan_jobs(declare(alloys, backbones=[tiny]))
    epoch = Strategy(name="early", pretraining=MODEL, epoch=3)
    with pytest.raises(ValueError, match="at the end of its training alone: leave epoch out"):
        plan_jobs(declare(alloys, strategies=[Strategy(name="scratch"), epoch]))


def test_a_study_file_names_a_model(tmp_path):
    path = tmp_path / "study.toml"
    text = "\n".join(
        [
            'name = "from a model"',
            'data = ["jdft2d"]',
            "[backbones.small]",
            f'model = "{MODEL}"',
            "[strategies.scratch]",
            "[strategies.frozen]",
            f'pretraining = "{MODEL}"',
            'kind = "kernel"',
            "[strategies.frozen.finetuning]",
            'kernel_features = ["composition", {class = "FoundationFeatures", pooling = "mean"}]',
        ]
    )
    path.write_text(text)
    study = load_study(path)
    assert study.backbones[0].model == MODEL
    assert study.strategies[1].finetuning["kernel_features"][1].pooling == "mean"
    path.write_text(
        text.replace("[strategies.scratch]", "hidden_channels = 3\n[strategies.scratch]")
    )
    with pytest.raises(ValueError, match="unknown key 'hidden_channels'"):
        load_study(path)


def test_audits_and_summaries_follow_the_data(tmp_path):
    path = write_table(tmp_path / "alloys.json", 30)
    frozen = Strategy(name="frozen", pretraining=MODEL, kind="kernel")

    def run(unit="GPa", **sample):
        data = [DataSet(name="alloys", path=path, unit=unit, **sample)]
        strategies = [Strategy(name="scratch"), frozen]
        study = declare(path, data=data, strategies=strategies, baselines=[])
        assert run_study(study, tmp_path / "run", only=["frozen"]).failed == {}
        results = read_results(tmp_path / "run")
        (audit,) = [a for a in _audits(results) if a.pretraining == MODEL]
        return results.data["alloys"], audit

    summary, first = run(sample=20, sample_seed=0)
    assert (summary.unit, len(summary.formulas)) == ("GPa", 20)
    summary, second = run(sample=20, sample_seed=1)
    assert first.digest != second.digest
    # Nothing is fitted anew; the tables have the new unit, and the crystals of the first run.
    summary, third = run(unit="MPa", sample=20, sample_seed=0)
    assert (summary.unit, third.digest) == ("MPa", first.digest)
    write_report(tmp_path / "run")
    assert "MPa" in (tmp_path / "run" / "report.md").read_text()
