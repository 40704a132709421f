"""Pages about the out-of-fold predictions of ``gnnpre train``."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["note_leaks", "report_files", "write_reports"]


def note_leaks(estimator: Any, source: str) -> list[str]:
    """Return, and print, a note on errors of crystals that a model of the package has learnt."""
    name = _model_of_the_package(estimator.pretrained)
    if name is None:
        return []
    audit = shlex.join(["gnnpre", "audit", name, source])
    start = "" if name == str(estimator.pretrained) else f"{estimator.pretrained} went on from "
    which = ", which" if start else ""
    note = (
        f"{start}{name}{which} was pre-trained on crystals of public databases, with some of their "
        f"properties: errors of such crystals are too small. `{audit}` lists them."
    )
    click.echo(f"Note: {note}", err=True)
    return [note]


def _model_of_the_package(pretrained: Any) -> str | None:
    """Return the model of the package that a start is, or was trained from; None for none."""
    from gnnpre.estimators import load_estimator
    from gnnpre.pretrained import is_shipped

    if pretrained is None:
        return None
    if is_shipped(pretrained):
        return str(pretrained)
    # Only one step back: paths in a file are those of whoever saved it.
    source = load_estimator(pretrained).get_params(deep=False).get("pretrained")
    return str(source) if source is not None and is_shipped(source) else None


def report_files(folder: Path, target: Sequence[str]) -> list[Path]:
    """Return the file of the page of each target."""
    if len(target) == 1:
        return [folder / "report.html"]
    # Names of columns may hold characters that file systems refuse.
    safe = [re.sub(r"[^\w.+-]", "_", name) for name in target]
    unique = [
        name if safe.count(name) == 1 else f"{name}_{number}"
        for number, name in enumerate(safe, start=1)
    ]
    return [folder / f"report_{name}.html" for name in unique]


def write_reports(
    folder: Path,
    estimator: Any,
    X: Any,
    table: Any,
    target: Sequence[str],
    unit: str,
    cv: int,
    notes: list[str],
) -> None:
    """Write a page about the out-of-fold predictions of each target."""
    from gnnpre.inspection import report

    notes = [
        *notes,
        f"Each crystal was predicted by one of {cv} models that had not seen it (folds of a "
        "cross-validation); model.gnnpre was then trained on all crystals.",
    ]
    for name, file in zip(target, report_files(folder, target), strict=True):
        path = report(
            estimator,
            X,
            table[name],
            file,
            y_pred=table[f"{name}_predicted"],
            ids=table.index,
            unit=unit,
            title=f"{name}: report",
            notes=notes,
        )
        click.echo(f"Wrote {path}.", err=True)
