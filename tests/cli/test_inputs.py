"""No command replaces a file that it reads, whichever argument or table names it."""

import pandas as pd
import pytest

from gnnpre.cli import main
from gnnpre.datasets import make_emt_property

FAST = ["--max-epochs", "1", "--cv", "2"]


@pytest.fixture
def small(tmp_path):
    """A folder of six CIF files and a table that names them."""
    structures, y = make_emt_property(6, random_state=0, max_atoms=4)
    for number, structure in enumerate(structures):
        structure.to(str(tmp_path / f"n{number}.cif"))
    table = pd.DataFrame({"file": [f"n{number}.cif" for number in range(6)], "K": y})
    table.to_csv(tmp_path / "table.csv", index=False)
    table.to_csv(tmp_path / "predictions.csv", index=False)
    table.assign(file=table.index, where=table["file"]).to_csv(tmp_path / "two.csv", index=False)
    (tmp_path / "options.toml").write_text("max_epochs = 1\n")
    return tmp_path


CASES = {
    "a file": ("relax {model} {folder}/n0.cif -o {folder}", "n0.cif is read for SOURCE"),
    "a pattern": ("relax {model} {folder}/n*.cif -o {folder}", "n0.cif is read for SOURCE"),
    "files of a table": ("relax {model} {folder}/table.csv -o {folder}", "n0.cif is read for"),
    "conversion": ("convert {folder}/table.csv -o {folder}", "n0.cif is read for SOURCE"),
    "structure column": (
        "convert {folder}/two.csv --structure-column where -o {folder}",
        "n0.cif is read for SOURCE",
    ),
    "file of a folder": ("pretrain {folder} -o {folder}/n0.cif", "n0.cif is read for SOURCE"),
    "configuration": (
        "pretrain {folder} --config {folder}/options.toml -o {folder}/options.toml",
        "options.toml is read for --config",
    ),
    "labels": (
        "train {folder}/predictions.csv --target K -o {folder}",
        "predictions.csv is read for SOURCE",
    ),
    "crystals to predict": (
        "train {folder}/table.csv --target K --predict {folder}/predictions.csv -o {folder}",
        "predictions.csv is read for --predict",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_inputs_stay(small, force_field, capsys, case):
    command, message = CASES[case]
    before = {path.name: path.read_bytes() for path in small.iterdir()}
    words = [word.format(folder=small, model=force_field) for word in command.split()]
    options = FAST if words[0] == "train" else []
    assert main([*words, *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert "name another file or folder" in lines[-1]
    assert not any(line.startswith(("Fold", "Wrote")) for line in lines)
    assert {path.name: path.read_bytes() for path in small.iterdir()} == before


def test_the_model_that_a_training_starts_from_stays(folder, model, capsys):
    file = model / "model.gnnpre"
    before = file.read_bytes()
    command = ["train", str(folder / "labels.csv"), "--target", "K", *FAST]
    assert main([*command, "--pretrained", str(file), "-o", str(model)]) == 2
    assert "model.gnnpre is read for --pretrained" in capsys.readouterr().err
    assert file.read_bytes() == before


def test_results_beside_inputs_may_be_replaced(small, model):
    command = ["predict", str(model / "model.gnnpre"), str(small), "-o", str(small / "out.csv")]
    assert [main(command), main(command)] == [0, 0]
    convert = ["convert", str(small / "table.csv"), "-o", str(small / "new")]
    assert [main(convert), main(convert)] == [0, 0]
