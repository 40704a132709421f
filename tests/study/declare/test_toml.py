"""Study files."""

import pytest

from gnnpre import CGCNN, EAD, ForceField, Mixture
from gnnpre.cli import main
from gnnpre.study import DataSet, load_study, run_study
from gnnpre.training import PlateauSchedule
from study.small_studies import write_table

TEXT = """
name = "small"
protocol = "matbench"
validation = 0.2
notes = ["three layers only"]
data = ["jdft2d", {name = "mine", path = "sub/mine.json", target = "K", n_labels = 50}]
graphs = {cutoff = 5.0}
baselines = ["mean"]
[finetuning]
max_epochs = 20
schedule = {class = "PlateauSchedule", patience = 3}
[backbones.wide]
class = "CGCNN"
hidden_channels = 128
graphs = {cutoff = 6.0}
finetuning = {learning_rate = 1e-3}
[pretrainings.mixed]
sources = ["phonons", "./more.json.gz"]
settings = {max_epochs = 5}
[pretrainings.mixed.objective]
class = "Mixture"
[[pretrainings.mixed.objective.parts]]
name = "forces"
objective = {class = "ForceField", stress = 20}
[[pretrainings.mixed.objective.parts]]
name = "ead"
weight = 0.1
objective = {class = "FingerprintTargets", fingerprint = {class = "EAD", L = 1}}
[strategies.scratch]
[strategies.mixed]
pretraining = "mixed"
members = 2
finetuning = {transfer = "matching"}
"""


def load(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    return load_study(path)


def test_file_gives_the_declared_objects(tmp_path):
    study = load(tmp_path, TEXT)
    (network,), (pretraining,) = study.backbones, study.pretrainings
    assert network.backbone.get_params() == CGCNN(hidden_channels=128).get_params()
    assert (network.graphs.cutoff, study.graphs.cutoff) == (6.0, 5.0)
    mixture = Mixture([("forces", ForceField(stress=20), 1.0)])
    assert isinstance(pretraining.objective, Mixture)
    parts = pretraining.objective.parts
    assert parts[0][1].get_params() == mixture.parts[0][1].get_params()
    assert parts[1][1].fingerprint.get_params() == EAD(L=1).get_params()
    assert parts[1][2] == 0.1
    assert isinstance(study.finetuning["schedule"], PlateauSchedule)
    assert study.finetuning["schedule"].patience == 3
    assert study.strategies[1].members == 2
    assert study.seeds == (0,)


def test_paths_are_relative_to_the_file(tmp_path):
    study = load(tmp_path, TEXT)
    assert isinstance(study.data[1], DataSet)
    assert study.data[1].path == str(tmp_path / "sub/mine.json")
    assert study.pretrainings[0].sources == ("phonons", str(tmp_path / "more.json.gz"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "small"', "", "has no 'name'"),
        ("notes", "remarks", "study file has an unknown key 'remarks'; expected some of name"),
        ("n_labels", "labels", "unknown key 'labels'; expected some of name, source, path"),
        ('"CGCNN"', '"CGCN"', r"class='CGCN'; expected one of .*CGCNN"),
        ("hidden_channels", "channels", r"backbones.wide \(CGCNN\) has an unknown key 'channels'"),
        ('class = "CGCNN"\n', "", "backbones.wide has no class"),
        ("stress = 20", "tension = 20", "unknown key 'tension'; expected some of"),
        ("L = 1", "l = 1", r"\(EAD\) has an unknown key 'l'"),
        ("settings =", "setting =", "unknown key 'setting'; expected some of objective, sources"),
        ("{cutoff = 5.0}", "{cutof = 5.0}", "graphs has an unknown key 'cutof'"),
        ('name = "forces"\n', "", "needs name and objective"),
        ("members = 2", "ensemble = 2", "unknown key 'ensemble'; expected some of pretraining"),
        ('sources = ["phonons", "./more.json.gz"]\n', "", "has no 'sources'"),
        ("validation = 0.2", "validation = ", "is not TOML"),
        ("max_epochs = 20", "max_epoch = 20", "unknown key 'max_epoch'"),
        ('protocol = "matbench"', 'protocol = "matbnch"', "protocol='matbnch'"),
    ],
)
def test_mistake_is_named(tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        load(tmp_path, TEXT.replace(old, new, 1))


def test_python_file_defines_a_study(tmp_path):
    path = tmp_path / "study.py"
    path.write_text("from gnnpre.study import Study\nstudy = Study(name='p', data=['jdft2d'])\n")
    assert load_study(path).name == "p"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none.toml", FileNotFoundError, "no study file"),
        ("study.json", ValueError, "expected .toml or .py"),
        ("study.py", ValueError, "defines study=None"),
    ],
)
def test_file_that_is_no_study_is_refused(tmp_path, name, error, message):
    for existing in ("study.json", "study.py"):
        (tmp_path / existing).write_text("")
    with pytest.raises(error, match=message):
        load_study(tmp_path / name)


THREE_LINES = """
name = "Mine"
data = [{name = "alloys", path = "alloys.json", target = "K", unit = "GPa"}]
baselines = ["mean"]
"""


def test_three_lines_run_a_study_of_a_file_of_ones_own(tmp_path):
    write_table(tmp_path / "alloys.json", 10)
    study = load(tmp_path, THREE_LINES)
    assert len(run_study(study, tmp_path / "runs").done) == 5


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("data = 1", TypeError, "data is 1"),
        ("data = [1]", TypeError, "an item of data is 1"),
        ("data = [{path = 'a.json'}]", ValueError, "no 'name'"),
        ("data = [{name = 'a', path = 1}]", TypeError, "path of data set 'a' is 1"),
        ("data = [{name = 'a', path = '$NO_SUCH_FOLDER/a.json'}]", ValueError, "NO_SUCH_FOLDER"),
        ("seeds = 1", TypeError, "seeds is 1; expected a list"),
        ("seeds = ['a']", ValueError, "seeds='a'"),
        ("notes = 'a'", TypeError, "notes is 'a'"),
        ("notes = [1]", TypeError, "notes has 1"),
        ("baselines = 3", TypeError, "baselines is 3"),
        ("name = 1", TypeError, "name is 1; expected text"),
        ('name = "a\\u0000b"', ValueError, "control character"),
        ("strategies = 3", TypeError, "strategies is 3"),
        ("pretraining = 3", TypeError, "pretraining is 3"),
        ("graphs = [1]", TypeError, r"graphs is \[1\]"),
        ("[backbones.a]\nclass = {a = 1}", ValueError, r"class=\{'a': 1\}"),
        ("[backbones.a]\nclass = [1]", ValueError, r"class=\[1\]"),
        ("[backbones.a]\nclass = 'CGCNN'\ngraphs = 3", TypeError, "backbones.a.graphs is 3"),
        (
            "finetuning = {schedule = {class = {b = 2}}}",
            ValueError,
            "finetuning.schedule has class",
        ),
        (
            "[pretrainings.a]\nsources = [1]\nobjective = {class = 'Denoising'}",
            TypeError,
            "pretrainings.a.sources has 1",
        ),
        (
            "[pretrainings.a]\nsources = 1\nobjective = {class = 'Denoising'}",
            TypeError,
            "pretrainings.a.sources is 1",
        ),
        (
            "[pretrainings.a]\nsources = ['phonons']\nobjective = {class = 'Mixture', parts = 1}",
            TypeError,
            "objective.parts is 1",
        ),
        ("[strategies.scratch]\npretraining = 3", TypeError, "pretraining of scratch is 3"),
        ("graphs = " + "[" * 20_000 + "]" * 20_000, ValueError, "nested too deeply"),
        ("graphs." + ".".join("a" * 2_000) + " = 1", ValueError, "nested too deeply|unknown key"),
    ],
)
def test_values_of_another_type_are_named(tmp_path, text, error, message):
    key = text.partition(" ")[0]
    lines = [line for line in ('name = "a"', 'data = ["jdft2d"]') if not line.startswith(key)]
    content = "\n".join([*lines, text])
    with pytest.raises(error, match=message):
        load(tmp_path, content)
    # One line and an exit code at the command line.
    path = tmp_path / "study.toml"
    assert main(["study", "run", str(path), "--folder", str(tmp_path / "runs")]) == 2
    assert not (tmp_path / "runs").exists()
