"""Pages about the out-of-fold predictions of ``gnnpre train``."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

__all__ = ["note_leaks", "write_reports"]


def note_leaks(estimator: Any, source: str) -> list[str]:
    """Return, and print, a note on errors of crystals that a model of the package has learnt."""
    from gnnpre.pretrained import is_shipped

    if estimator.pretrained is None or not is_shipped(estimator.pretrained):
        return []
    name = estimator.pretrained
    note = (
        f"{name} was pre-trained on crystals of public databases, with some of their properties: "
        f"errors of such crystals are too small. `gnnpre audit {name} {source}` lists them."
    )
    click.echo(f"Note: {note}", err=True)
    return [note]


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
    # Names of columns may hold characters that file systems refuse.
    safe = [re.sub(r"[^\w.+-]", "_", name) for name in target]
    for number, name in enumerate(target):
        unique = safe[number] if safe.count(safe[number]) == 1 else f"{safe[number]}_{number + 1}"
        stem = "report" if len(target) == 1 else f"report_{unique}"
        path = report(
            estimator,
            X,
            table[name],
            folder / f"{stem}.html",
            y_pred=table[f"{name}_predicted"],
            ids=table.index,
            unit=unit,
            title=f"{name}: report",
            notes=notes,
        )
        click.echo(f"Wrote {path}.", err=True)
