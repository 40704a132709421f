"""What the README quotes stands in the records, which are of the weights in the package."""

import json
import re
from pathlib import Path

from benchmarks.gain_tables import gains, interval
from gnnpre.pretrained import shipped_checksum

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def read_rows(name, labels):
    """Return the rows of an amount of labels in a file of results."""
    rows = json.loads((RESULTS / name).read_text())
    return [row for row in rows if row["labels"] == labels]


def quoted(rows, ending):
    """Return the mean gain of the default as the README has it."""
    mean, low, high = interval(gains(rows, "default"))
    return f"{100 * mean:.0f} % [{100 * low:.0f}, {100 * high:.0f}] {ending}"


def test_gains_of_the_model_in_the_package():
    line = re.search(r"average gain of `gnnpre-1`.*", README)[0]
    digest = "-".join(shipped_checksum(name)[:8] for name in ("gnnpre-1", "gnnpre-1-forces"))
    endings = {"200": "with 200 labels", "all": "with 500 to 1,600 (three seeds)"}
    for labels, ending in endings.items():
        rows = read_rows("pretrained_gain.json", labels)
        shipped = [row for row in rows if row["model"] == "scratch" or row.get("digest") == digest]
        assert len(gains(shipped, "default")) == 10
        runs = [(row["set"], row["seed"]) for row in shipped if row["model"] == "default"]
        assert len(runs) == len(set(runs)) == 10 * 3
        assert quoted(shipped, ending) in line


def errors_in_report(study):
    """Return the mean absolute errors of the data sets of a study, by the name of the row."""
    report = (RESULTS / study / "report.md").read_text(encoding="utf-8")
    table = report.split("## Mean absolute error")[1].split("\n## ")[0]
    cells = {}
    for line in table.splitlines():
        name, *values = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if re.match(r"\d", values[0] if values else ""):
            cells[name] = [
                float(value.split()[0].strip("*")) for value in values if value[0] != "—"
            ]
    return cells


def test_errors_on_matbench():
    texts = dict(re.findall(r"MatBench (\w+), MAE .*?\| (.*) \|", README))
    cells = errors_in_report("matbench_gnnpre_1")
    of_perovskites = errors_in_report("matbench_perovskites")
    for row in ("base default", "base scratch"):
        errors = dict(zip(("jdft2d", "phonons"), cells[row], strict=False))
        errors["perovskites"] = of_perovskites[row][0]
        for name, error in errors.items():
            numbers = [float(number) for number in re.findall(r"\d+\.\d+", texts[name])]
            tolerance = 0.0006 if name == "perovskites" else 0.051
            assert any(abs(number - error) < tolerance for number in numbers), (name, row)
