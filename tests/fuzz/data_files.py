"""Attack: extended XYZ, MatBench, Gaussian densities and study declarations with damage."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre import GMP
from gnnpre.datasets import read_frames, read_matbench
from gnnpre.study import load_study

from .shared import Shared
from .values import JSON_VALUES, compress, damage_bytes, damage_json, pick, to_json

COLUMNS = "Properties=species:S:1:pos:R:3:forces:R:3"
XYZ = "\n".join(
    [
        "2",
        f'Lattice="4 0 0 0 4 0 0 0 4.2" {COLUMNS} energy=-3.5 stress="1 0 0 0 1 0 0 0 1" group=a',
        "Cu 0 0 0 0.1 0.0 0.0",
        "Cu 2 2 2.1 -0.1 0.0 0.0",
        "1",
        f'Lattice="3 0 0 0 3 0 0 0 3" {COLUMNS} energy=-1.5 stress="0 0 0 0 0 0 0 0 0" pbc="T T T"',
        "O 0 0 0 0.0 0.0 0.0",
        "",
    ]
)
XYZ_WORDS = [
    "-1", "0", "1000000000", "9" * 5000, "²", "nan", "inf", "1e400", "Xx", "D", "T", "lattice",
    "Properties=",
    "species:S:1:pos:R:3000000000", "pos:R:-3", "pos:I:3", "forces:R:1", '"', "'", "=", "{}",
    "[" * 3000, "energy_unit=hartree",
    "units=foo", 'Lattice="1 2 3"', 'pbc="F F F"', "\x00", "é", "", "\n", "virial", "energy=abc",
    'stress="1 2"',
]  # fmt: skip
STUDY = """
name = "small"
protocol = "papers"
seeds = [1, 2]
data = ["jdft2d", {name = "gap", source = "mp_gap", sample = 1000}]
graphs = {cutoff = 5.0}
[finetuning]
max_epochs = 10
[backbones.cgcnn]
class = "CGCNN"
hidden_channels = 64
[pretrainings.ead]
sources = ["mp_form_gap_37k"]
objective = {class = "FingerprintTargets", fingerprint = {class = "EAD"}}
[strategies.scratch]
[strategies.ead]
pretraining = "ead"
"""
TOML_WORDS = [
    "1", "-1", "true", "[]", "{}", '""', '"a"', "[1]", '["a"]', "{class = 1}",
    "{class = {a = 1}}", "nan", "inf",
    "1e400", '"../x"', "2026-01-01", "[[1]]", "[" * 2000, '"\\u0000"', "99999999999999999999",
]  # fmt: skip


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose a format, and damage a file of it."""
    attack = pick(rng, [_xyz, _xyz, _matbench, _matbench, _gpsp, _toml])
    return attack(rng, folder, shared)


def _damage_text(rng: np.random.Generator, text: str, words: list[str]) -> tuple[str, bytes]:
    """Replace a word of the text, or damage its bytes."""
    if rng.random() < 0.3:
        return "bytes damaged", damage_bytes(rng, text.encode())
    lines = text.split("\n")
    row = int(rng.integers(len(lines)))
    tokens = lines[row].split(" ")
    position, word = int(rng.integers(len(tokens))), pick(rng, words)
    key, equals, _ = tokens[position].partition("=")
    tokens[position] = f"{key}={word}" if equals and rng.random() < 0.5 else word
    lines[row] = " ".join(tokens)
    return f"line {row}, word {position}: {word!r:.60}", "\n".join(lines).encode()


def _xyz(rng: np.random.Generator, folder: Path, shared: Shared) -> tuple[str, Callable[[], Any]]:
    change, content = _damage_text(rng, XYZ, XYZ_WORDS)
    path = _write(rng, folder / "frames.extxyz", content)

    def read() -> Any:
        structures, _ = read_frames(path)  # NaN marks missing labels
        return [_coordinates(structure) for structure in structures]

    return f"read_frames, {change}", read


def _matbench(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    crystals, y = shared.crystals
    rows = [
        [crystal.as_dict(), float(value)] for crystal, value in zip(crystals[:2], y, strict=False)
    ]
    tree = {"index": [0, 1], "columns": ["structure", "K"], "data": rows}
    if rng.random() < 0.3:
        change, content = "bytes damaged", damage_bytes(rng, to_json(tree))
    else:
        change, changed = damage_json(rng, tree)
        if rng.random() < 0.2 and isinstance(changed, dict) and changed.get("data"):
            change += ", site property added"
            _add_property(rng, changed)
        content = to_json(changed)
    path = _write(rng, folder / "table.json", content)

    def read() -> Any:
        structures, _ = read_matbench(path)
        return [_coordinates(structure) for structure in structures]

    return f"read_matbench, {change}", read


def _add_property(rng: np.random.Generator, tree: Any) -> None:
    # An earlier change may have taken the site away.
    with suppress(TypeError, KeyError, IndexError):
        tree["data"][0][0]["sites"][0]["properties"] = {"note": pick(rng, JSON_VALUES)}


def _gpsp(rng: np.random.Generator, folder: Path, shared: Shared) -> tuple[str, Callable[[], Any]]:
    symbols = ("Ag", "Al", "Au", "Cu", "Ni", "Pd", "Pt")
    text = "\n".join(f"! {symbol} 2\n3.5 1.2\n-0.5 0.8" for symbol in symbols)
    change, content = _damage_text(rng, text, [*XYZ_WORDS, "!", "! Cu 5", "Cu", "-3.0"])
    path = _write(rng, folder / "densities.gpsp", content)
    crystals = shared.crystals[0][:2]
    return f"densities, {change}", lambda: GMP(
        (0.3,), (-1, 0), densities=str(path), pooling="mean"
    ).fit_transform(crystals)


def _toml(rng: np.random.Generator, folder: Path, shared: Shared) -> tuple[str, Callable[[], Any]]:
    change, content = _damage_text(rng, STUDY, TOML_WORDS)
    path = folder / "study.toml"
    path.write_bytes(content)
    return f"load_study, {change}", lambda: load_study(path).name


def _write(rng: np.random.Generator, path: Path, content: bytes) -> Path:
    name, content = compress(rng, path.name, content)
    path.with_name(name).write_bytes(content)
    return path.with_name(name)


def _coordinates(structure: Any) -> Any:
    return getattr(structure, "cart_coords", getattr(structure, "positions", 0.0))
