"""Attack: the command line with strange options and damaged files.

A command that cannot be run exits with 2, writes one line that says why, and no file.
"""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre.cli import main

from .outcomes import WrongResult
from .shared import Shared
from .values import damage_bytes, pick

VALUES = [
    "", "0", "1", "2", "-1", "-7", "1e400", "nan", "inf", "1.5", "abc", "K", "file", "id", "none",
    "cpu", "cuda:99", "gpu", "9" * 30, "../x", "/none/x", "/", "/dev/null", ".", "a\x00b", "é",
    "\ud800", "x" * 300, "out.csv", "out.parquet", "out.xlsx", "out.extxyz", "--help",
]  # fmt: skip
FAST = ["--max-epochs", "1", "--batch-size", "4"]


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose a command, and change, repeat, drop or add a word of it, or damage its files."""
    _write_files(folder, shared)
    arguments = list(pick(rng, _commands()))
    action = pick(rng, ["value", "value", "option", "option", "drop", "add", "damage", "config"])
    change = action
    if action == "damage":
        name = pick(rng, ["table.csv", "a0.cif", "regressor.gnnpre", "forces.gnnpre", "f.extxyz"])
        path = folder / name
        path.write_bytes(damage_bytes(rng, path.read_bytes()))
        change += f" {name}"
    elif action == "config":
        lines = ["max_epochs = 1", "x = 2", "output = 3", "cv = 'a'", "n_jobs = []", "[a]", "=",
                 "max_epochs = nan", "target = true", "device = {a = 1}"]  # fmt: skip
        (folder / "c.toml").write_text(pick(rng, lines) + "\n")
        arguments += ["--config", pick(rng, ["c.toml", "c.toml", "none.toml", "a0.cif", "."])]
    elif action == "drop":
        del arguments[int(rng.integers(1, len(arguments)))]
    elif action == "add":
        arguments.insert(int(rng.integers(len(arguments) + 1)), pick(rng, VALUES))
    else:
        options = [row for row, word in enumerate(arguments) if word.startswith("-")]
        row = 1 + (pick(rng, options) if action == "option" and options else 0)
        row = min(row, len(arguments) - 1)
        arguments[row] = pick(rng, VALUES)
    shown = " ".join(word[:40] for word in arguments)
    return f"gnnpre {shown!r}, {change}", lambda: _run(arguments, folder)


def _commands() -> list[list[str]]:
    train = ["train", "table.csv", "--target", "K", "--cv", "2", "--output", "out", *FAST]
    return [
        [*train, "--groups", "id", "--patience", "2", "--validation-fraction", "0.4"],
        [*train, "--calibration-fraction", "0.4", "--ema-decay", "0.9"],
        [*train, "--target", "hard", "--task", "classification", "--structure-column", "file"],
        [*train, "--id-column", "id", "--n-jobs", "1", "--random-state", "1"],
        [*train, "--pretrained", "noise.gnnpre", "--strategy", "full", "--pooling", "sum"],
        ["predict", "regressor.gnnpre", "table.csv", "--output", "p.csv"],
        ["predict", "regressor.gnnpre", "*.cif", "--n-jobs", "1", "--output", "p.parquet"],
        ["predict", "forces.gnnpre", "f.extxyz", "--output", "p.extxyz"],
        ["embed", "noise.gnnpre", "a0.cif", "--layer", "0", "--pooling", "mean", "-o", "e.csv"],
        ["info", "regressor.gnnpre"],
        ["convert", "table.csv", "--output", "all.extxyz"],
        ["convert", "a0.cif", "--output", "folder"],
        ["convert", "f.extxyz", "--output", "all.parquet"],
        ["audit", "table.csv", "a0.cif", "--no-match", "--output", "audit.csv"],
        ["relax", "forces.gnnpre", "f.extxyz", "--max-steps", "2", "--output", "r.extxyz"],
        ["pretrain", "f.extxyz", "--objective", "forces", "--backbone", "cgcnn", "-o", "m.gnnpre",
         "--hidden-channels", "4", "--n-layers", "1", "--cutoff", "4", *FAST],
        ["pretrain", "table.csv", "--objective", "denoising", "--backbone", "cgcnn", "-o",
         "m.gnnpre", "--hidden-channels", "4", "--checkpoint-dir", "states", *FAST],
        ["study", "report", "."],
        ["study", "run", "s.toml", "--folder", "records", "--estimate"],
    ]  # fmt: skip


def _write_files(folder: Path, shared: Shared) -> None:
    rows = ["file,K,id,hard"]
    for row, (structure, value) in enumerate(zip(*shared.crystals, strict=True)):
        structure.to(str(folder / f"a{row}.cif"))
        rows.append(f"a{row}.cif,{value},{row // 2},{'yes' if row % 2 else 'no'}")
    (folder / "table.csv").write_text("\n".join([*rows, ""]))
    for name in ("regressor.gnnpre", "forces.gnnpre", "noise.gnnpre", "f.extxyz"):
        (folder / name).write_bytes(shared.files[name])
    (folder / "s.toml").write_text('name = "s"\ndata = [{name = "d", path = "none.json"}]\n')


def _run(arguments: list[str], folder: Path) -> Any:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        code = main(arguments)
    if code not in (0, 1, 2):
        raise WrongResult(f"exit code {code}")
    if code == 2:
        _check_refused(errors.getvalue(), folder, before)
    return 0


def _check_refused(text: str, folder: Path, before: dict[Path, int]) -> None:
    lines = [line for line in text.splitlines() if line.startswith("Error: ")]
    if len(lines) != 1 or text.splitlines()[-1] != lines[0]:
        raise WrongResult(f"the last and only line should be the error: {text[-300:]!r}")
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    if after != before:
        changed = sorted(str(path) for path in set(after) ^ set(before)) or "a file"
        raise WrongResult(f"wrote {changed} although it failed: {lines[0]:.200}")
