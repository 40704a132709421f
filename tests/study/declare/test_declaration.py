"""What a study refuses, and says about it."""

import pytest

from gnnpre import CGCNN, Denoising
from gnnpre.study import DataSet, Network, Pretraining, Recipe, Strategy, Study
from gnnpre.study.plan._plan import plan_jobs
from study.small_studies import small_study, write_table

CGCNN_ROW = {"backbones": [Network(name="cgcnn", backbone=CGCNN())]}
SCRATCH = [Strategy(name="scratch")]


def declare(**changes):
    return Study(**{"name": "bad", "data": ["jdft2d"], **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": []}, "data is empty"),
        ({"protocol": "paper"}, "protocol='paper'.*papers.*matbench"),
        ({"data": ["jdft2d", "jdft2d"]}, "jdft2d occurs more than once"),
        ({"seeds": [1, 1]}, "seeds: 1 occurs more than once"),
        ({"seeds": [-1]}, "seeds=-1"),
        ({"seeds": []}, "seeds is empty"),
        ({"baselines": ["median"]}, "baselines='median'.*ridge_composition"),
        ({"finetuning": {"epochs": 3}}, "unknown key 'epochs'.*max_epochs"),
        ({"pretraining": {"strategy": "head"}}, "unknown key 'strategy'.*max_epochs"),
        ({"finetuning": {"random_state": 3}}, "'random_state', which the study sets itself"),
        ({"strategies": SCRATCH}, "no backbones"),
        ({**CGCNN_ROW, "strategies": [Strategy(name="big")]}, "without 'scratch'.*Add"),
        (
            {**CGCNN_ROW, "strategies": [*SCRATCH, Strategy(name="a", pretraining="ead")]},
            "pretraining of a is 'ead'",
        ),
        (
            {**CGCNN_ROW, "strategies": [*SCRATCH, Strategy(name="a", backbones=["et"])]},
            r"backbones of a is 'et'; the study has \['cgcnn'\]",
        ),
        (
            {**CGCNN_ROW, "strategies": [*SCRATCH, Strategy(name="mean")]},
            "mean occurs more than once",
        ),
        (
            {**CGCNN_ROW, "strategies": [*SCRATCH, Strategy(name="x", of=["scratch", "a"])]},
            "of of x is 'a'",
        ),
        ({"estimators": {"x": Recipe(make=len, backbone="et")}}, "backbone of x is 'et'"),
    ],
)
def test_study_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        declare(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataSet(name="a/b"), "name of a data set is 'a/b'"),
        (lambda: DataSet(name="jdft2d", target="K"), "target or unit but no path"),
        (lambda: DataSet(name="a", path="x.json", source="jdft2d"), "one of the two"),
        (lambda: DataSet(name="a", sample=0), "sample of a=0"),
        (lambda: Strategy(name="k", kind="kernel"), "no pretraining"),
        (
            lambda: Strategy(name="p", kind="kernel", pretraining="a", members=2),
            "Leave members out",
        ),
        (
            lambda: Strategy(name="p", pretraining="a", finetuning={"strategy": "kernel"}),
            "Set kind='kernel'",
        ),
        (
            lambda: Strategy(name="p", pretraining="a", finetuning={"strategy": "auto"}),
            "finetuning of p has strategy='auto'.* Set kind='blended'",
        ),
        (lambda: DataSet(name="a", path="x", finetuning={"strategy": "blended"}), "kind='blended'"),
        (lambda: Strategy(name="p", kind="blended"), "no pretraining"),
        (
            lambda: Strategy(
                name="p", pretraining="a", kind="blended", finetuning={"strategy": "full"}
            ),
            "Leave one of them out",
        ),
        (lambda: Strategy(name="p", pretraining="a", max_time=3), "expected kind='ensemble'"),
        (
            lambda: Strategy(name="p", pretraining="a", kind="ensemble", max_time="3 parsecs"),
            "Strategy 'p': max_time",
        ),
        (
            lambda: Strategy(
                name="p", kind="kernel", pretraining="a", finetuning={"max_epochs": 3}
            ),
            "unknown key 'max_epochs'; expected some of kernel_features",
        ),
        (lambda: Strategy(name="scratch", members=3), "Give this strategy another name"),
        (lambda: Strategy(name="x", pretraining="a", members=1), "members of x=1"),
        (lambda: Pretraining(name="a", objective=Denoising(), sources=[]), "sources of a is empty"),
        (lambda: Recipe(make=len, needs=["ead"]), "without backbone"),
        (lambda: Strategy(name="x", of=["a"]), "expected at least two strategies"),
        (lambda: Strategy(name="x", of=["a", "b"], members=2), "trains nothing"),
    ],
)
def test_part_refuses(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network(name="a", backbone="CGCNN"), "backbone of a is 'CGCNN'"),
        (lambda: Pretraining(name="a", objective=Denoising(), sources="frames"), "in brackets"),
        (lambda: declare(data=[3]), "data is 3"),
        (lambda: declare(data=1), "data is 1; expected a list"),
        (lambda: declare(backbones=3), "backbones is 3; expected a list"),
        (lambda: declare(backbones=["cgcnn"]), "an item of backbones is 'cgcnn'"),
        (lambda: declare(strategies=Strategy(name="scratch")), "strategies is Strategy"),
        (lambda: declare(seeds=1), "seeds is 1; expected a list"),
        (lambda: declare(estimators=[3]), "estimators is"),
        (lambda: declare(estimators={"a": 3}), "estimator 'a' is 3"),
        (lambda: declare(name=None), "name is None"),
        (lambda: declare(finetuning=3), "finetuning is 3"),
        (lambda: DataSet(name="a", path=1), "path of a is 1"),
        (lambda: DataSet(name="a", path="a.json", unit=3), "unit of a is 3"),
        (lambda: Recipe(make=3), "make is 3"),
    ],
)
def test_wrong_type_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make()


def test_unknown_data_set_is_refused_with_those_known(tmp_path):
    with pytest.raises(ValueError, match=r"Unknown data set.*'steels'.*jdft2d.*mp_gap"):
        plan_jobs(declare(data=["steels"]), tmp_path)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("mp_form_38k", ValueError, "sources has 'mp_form_38k'.*path of a file.*jdft2d"),
        ("./crystals.cif", ValueError, "ends in .extxyz"),
        ("./crystals.json", FileNotFoundError, "there is no file"),
    ],
)
def test_missing_sources_are_named(tmp_path, source, error, message):
    path = write_table(tmp_path / "alloys.json", 6)
    noise = Pretraining(name="noise", objective=Denoising(), sources=[source])
    with pytest.raises(error, match=message):
        plan_jobs(small_study(path, pretrainings=[noise]), tmp_path)


def test_epoch_that_is_not_kept_is_refused(tmp_path):
    path = write_table(tmp_path / "alloys.json", 6)
    rows = [*SCRATCH, Strategy(name="early", pretraining="noise", epoch=1)]
    with pytest.raises(ValueError, match="epoch of strategy 'early' is 1, but checkpoint_epochs"):
        plan_jobs(small_study(path, strategies=rows))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"finetuning": {"learning_rate": -1.0}}, "learning_rate=-1.0"),
        ({"pretraining": {"max_epochs": 2, "checkpoint_epochs": [3]}}, "max_epochs=2"),
        ({"backbones": [Network(name="tiny", backbone=CGCNN(0))]}, "hidden_channels=0"),
    ],
)
def test_setting_out_of_range_is_refused_before_anything_trains(tmp_path, changes, message):
    path = write_table(tmp_path / "alloys.json", 6)
    with pytest.raises(ValueError, match=message):
        plan_jobs(small_study(path, **changes))


def test_mean_of_a_row_that_is_not_there_is_refused(tmp_path):
    path = write_table(tmp_path / "alloys.json", 6)
    part = Strategy(name="part", pretraining="noise", data=[])
    rows = [*SCRATCH, part, Strategy(name="both", of=["scratch", "part"])]
    with pytest.raises(ValueError, match="of 'part', which its backbones and data leave out"):
        plan_jobs(small_study(path, strategies=rows))
