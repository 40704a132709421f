"""The report of all parts so far, as a page."""

import json
import platform
from pathlib import Path
from typing import Any

import torch


def write_report(out: Path, names: list[str], rehearsal: bool) -> None:
    """Write ``report.md`` from the results of the parts."""
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        device = f"{torch.cuda.get_device_name()} ({memory:.0f} GiB)"
    else:
        device = "no GPU"
    lines = ["# gnnpre on a GPU", ""]
    if rehearsal:
        lines += ["**A rehearsal on the CPU at tiny sizes: no figure below means anything.**", ""]
    lines.append(f"{device}, torch {torch.__version__}, Python {platform.python_version()}")
    for name in names:
        file = out / f"{name}.json"
        if file.exists():
            results = json.loads(file.read_text())
            outcome, seconds = results.pop("outcome"), results.pop("seconds")
            lines += ["", f"## {name}", "", f"{outcome}, {seconds:.0f} s", ""]
            lines += [line for key, value in results.items() for line in lines_of(key, value)]
    (out / "report.md").write_text("\n".join([*lines, ""]))


def lines_of(key: str, value: Any) -> list[str]:
    """Return a result as a list item, or as a table where it is a list of rows."""
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return [f"- {key}: {in_words(value)}"]
    columns = list(dict.fromkeys(name for row in value for name in row))
    rows = [[in_words(row.get(name, "")) for name in columns] for row in value]
    table = [columns, ["---"] * len(columns), *rows]
    return ["", f"{key}:", "", *(f"| {' | '.join(row)} |" for row in table), ""]


def in_words(value: Any) -> str:
    """Return a value with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
