"""What the README quotes stands in the records, which are of the weights in the package."""

import json
import re
from pathlib import Path

from benchmarks.gain_tables import gains, interval
from gnnpre.pretrained import shipped_checksum

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "benchmarks" / "results"


def rows_of_shipped_weights(labels):
    """Return the rows of an amount of labels that are of the weights in the package."""
    digest = "-".join(shipped_checksum(name)[:8] for name in ("gnnpre-1", "gnnpre-1-forces"))
    rows = json.loads((RESULTS / "pretrained_gain.json").read_text())
    return [row for row in rows if row["labels"] == labels and row.get("digest", digest) == digest]


def test_gains_of_the_model_in_the_package():
    quoted = re.search(r"average gain of `gnnpre-1`.*", README)[0]
    for labels, text in (("200", "200 labels"), ("all", "500 to 1,600")):
        mean, low, high = interval(gains(rows_of_shipped_weights(labels), "default"))
        expected = f"{100 * mean:.0f} % [{100 * low:.0f}, {100 * high:.0f}] with {text}"
        assert expected in quoted


def test_errors_on_matbench():
    report = (RESULTS / "matbench_gnnpre_1" / "report.md").read_text(encoding="utf-8")
    table = report.split("## Mean absolute error")[1].split("\n## ")[0]
    cells = {}
    for line in table.splitlines():
        name, *values = [cell.strip(" *") for cell in line.strip("|").split("|")]
        if re.match(r"\d", values[0] if values else ""):
            cells[name] = [
                float(value.split()[0].strip("*")) for value in values if value[0] != "—"
            ]
    quoted = dict(re.findall(r"MatBench (phonons|jdft2d), MAE .*?\| (.*) \|", README))
    for column, name in enumerate(("jdft2d", "phonons")):
        numbers = [float(number) for number in re.findall(r"\d+\.\d", quoted[name])]
        for row in ("base default", "base scratch"):
            assert any(abs(number - cells[row][column]) < 0.051 for number in numbers), (name, row)
