"""Jobs and the keys that name them."""

import pytest

from gnnpre import Denoising, StructureToGraph
from gnnpre.pretrained import FORCE_FIELD
from gnnpre.study import DataSet, Network, Pretraining, Strategy
from gnnpre.study.plan import _pretraining_jobs
from gnnpre.study.plan._plan import plan_jobs
from gnnpre.study.plan._selection import select_jobs
from study.small_studies import small_study, write_table


@pytest.fixture(scope="module")
def alloys(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("data") / "alloys.json", 8)


def test_settings_of_network_data_and_strategy_win_in_this_order(alloys):
    network = small_study(alloys).backbones[0]
    own = {"max_epochs": 4, "learning_rate": 1e-3, "batch_size": 6}
    study = small_study(
        alloys,
        backbones=[Network(name="tiny", backbone=network.backbone, finetuning=own)],
        data=[DataSet(name="alloys", path=alloys, finetuning={"max_epochs": 5, "batch_size": 7})],
        strategies=[Strategy(name="scratch", finetuning={"max_epochs": 6})],
    )
    (job,) = [job for job in plan_jobs(study).jobs if job.strategy == "scratch"]
    settings = job.parameters["finetuning"]
    found = [settings[name] for name in ("max_epochs", "batch_size", "learning_rate")]
    assert found == [6, 7, 1e-3]


@pytest.mark.parametrize(
    "changes",
    [
        {"finetuning": {"max_epochs": 4, "batch_size": 8}},
        {"graphs": StructureToGraph(cutoff=3.6)},
        {"seeds": [2]},
        {"protocol": "matbench"},
    ],
)
def test_what_changes_a_result_changes_its_key(alloys, changes):
    keys = [
        {job.key for job in plan_jobs(study).jobs if job.strategy == "scratch"}
        for study in (small_study(alloys), small_study(alloys, **changes))
    ]
    assert not keys[0] & keys[1]


def test_what_changes_a_pretraining_changes_what_uses_it(alloys):
    study = small_study(alloys)
    longer = small_study(alloys, pretraining={"max_epochs": 3, "batch_size": 8})
    first, second = ({str(j): j.key for j in plan_jobs(s).jobs} for s in (study, longer))
    changed = {name for name in first if first[name] != second[name]}
    assert {name for name in first if "noise" in name or "kernel" in name or "three" in name} == (
        changed
    )


def test_name_of_the_study_and_notes_change_no_key(alloys):
    study, other = small_study(alloys), small_study(alloys, name="other", notes=["a note"])
    assert [j.key for j in plan_jobs(study).jobs] == [j.key for j in plan_jobs(other).jobs]


@pytest.mark.parametrize("how", [{"n_jobs": 2}, {"device": "cuda"}])
def test_where_graphs_are_built_changes_no_key(alloys, how):
    keys = [
        [job.key for job in plan_jobs(small_study(alloys, graphs=graphs)).jobs]
        for graphs in (StructureToGraph(cutoff=3.6), StructureToGraph(cutoff=3.6, **how))
    ]
    assert keys[0] == keys[1]


def test_what_is_in_the_file_is_in_the_key_and_not_where_it_lies(alloys, tmp_path):
    same = tmp_path / "elsewhere.json"
    same.write_bytes(alloys.read_bytes())
    other = write_table(tmp_path / "other.json", 8, seed=5)
    keys = [
        [job.key for job in plan_jobs(small_study(path, baselines=["mean"])).jobs if job.data]
        for path in (alloys, same, other)
    ]
    rows = [job.strategy for job in plan_jobs(small_study(alloys, baselines=["mean"])).jobs]
    assert keys[0][:2] == keys[1][:2]  # mean and scratch, which need no pre-training of the path
    assert rows[1:3] == ["mean", "scratch"]
    assert not set(keys[0]) & set(keys[2])


def test_keys_are_unique_and_pretrainings_come_first(alloys):
    jobs = plan_jobs(small_study(alloys, seeds=[1, 2])).jobs
    assert len({job.key for job in jobs}) == len(jobs)
    assert [job.kind for job in jobs].index("evaluation") == 1


def ensembles(alloys, *others):
    three = Strategy(name="three", pretraining="noise", members=3)
    strategies = [Strategy(name="scratch"), three, *others]
    jobs = plan_jobs(small_study(alloys, strategies=strategies)).jobs
    (mean,) = [job for job in jobs if job.role == "ensemble"]
    return jobs, mean


def test_row_that_is_the_first_member_of_an_ensemble_is_trained_once(alloys):
    jobs, mean = ensembles(alloys, Strategy(name="noise", pretraining="noise"))
    (row,) = [job for job in jobs if job.kind == "evaluation" and job.strategy == "noise"]
    assert mean.needs[0].key == row.key
    assert [(job.strategy, job.member) for job in mean.needs[1:]] == [("three", 1), ("three", 2)]
    seeds = {job.parameters["random_state"] for job in mean.needs}
    assert len(seeds) == 3
    trained = [job for job in jobs if job.parameters.get("model") == "finetune"]
    assert len(trained) == 3 + 1  # scratch


@pytest.mark.parametrize(
    "other",
    [
        {"pretraining": None},
        {"finetuning": {"max_epochs": 4}},
        {"kind": "kernel"},
        {"data": ["others"]},
    ],
)
def test_row_that_differs_is_no_member(alloys, other):
    row = {"name": "noise", "pretraining": "noise", **other}
    if "data" in other:
        data = [DataSet(name=name, path=alloys) for name in ("alloys", "others")]
        study = small_study(
            alloys,
            data=data,
            strategies=[
                Strategy(name="scratch"),
                Strategy(name="three", pretraining="noise", members=3, data=["alloys"]),
                Strategy(**row),
            ],
        )
        (mean,) = [job for job in plan_jobs(study).jobs if job.role == "ensemble"]
    else:
        mean = ensembles(alloys, Strategy(**row))[1]
    assert [(job.strategy, job.member) for job in mean.needs] == [("three", n) for n in range(3)]


def kernel_job(study):
    (job,) = [job for job in plan_jobs(study).jobs if job.strategy == "kernel_head"]
    return job


def with_force_field(alloys):
    features = {"kernel_features": ("composition", "force_field")}
    frozen = Strategy(name="kernel_head", pretraining="noise", kind="kernel", finetuning=features)
    return small_study(alloys, strategies=[Strategy(name="scratch"), frozen])


def test_machines_on_a_pretraining_of_the_study_have_no_force_field_unless_asked(alloys):
    job = kernel_job(small_study(alloys))
    assert job.tools["finetuning"]["kernel_features"] == ("composition", "fingerprint")
    assert [needed.strategy for needed in job.needs] == ["noise"]
    asked = kernel_job(with_force_field(alloys))
    assert [needed.strategy for needed in asked.needs] == ["noise", FORCE_FIELD]


def test_other_weights_of_the_force_field_change_the_key(alloys, monkeypatch):
    key = kernel_job(with_force_field(alloys)).key
    monkeypatch.setattr(_pretraining_jobs, "hash_file", lambda path: "0" * 64)
    assert kernel_job(with_force_field(alloys)).key != key


def test_a_pretraining_takes_no_name_of_a_model(alloys):
    noise = Pretraining(name=FORCE_FIELD, objective=Denoising(), sources=[str(alloys)])
    with pytest.raises(ValueError, match="that of a model in the package: choose another name"):
        small_study(alloys, pretrainings=[noise], strategies=[Strategy(name="scratch")])


def test_only_restricts_each_field_that_it_names(alloys):
    strategies = [Strategy(name="scratch"), Strategy(name="noise", pretraining="noise")]
    seeds = [1, 2, 12]
    plan = plan_jobs(small_study(alloys, strategies=strategies, baselines=["mean"], seeds=seeds))

    def selected(*only):
        return [(job.strategy, job.seed) for job in select_jobs(plan, only)]

    assert selected("seed=2") == [("noise", None), ("mean", 2), ("scratch", 2), ("noise", 2)]
    assert selected("seed=1", "scratch", "mean", "seed=12") == [
        *(("mean", 1), ("scratch", 1), ("mean", 12), ("scratch", 12)),
    ]
    assert len(selected()) == len(plan.jobs) == 10
    with pytest.raises(ValueError, match=r"only has 'seed=3'; .* seed=1, seed=2, seed=12"):
        selected("seed=3")


def test_only_selects_a_fold(alloys):
    changes = {"protocol": "matbench", "seeds": [0], "baselines": ["mean"], "strategies": []}
    plan = plan_jobs(small_study(alloys, **changes))
    (job,) = select_jobs(plan, ["fold=3"])
    assert (job.strategy, job.fold) == ("mean", 3)
