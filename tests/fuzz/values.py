"""Strange values, and ways to damage bytes, JSON and arrays."""

import copy
import gzip
import json
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import torch

#: Numbers at the edges of what a parameter can be.
NUMBERS: list[Any] = [
    0, 1, -1, 2, 3, 7, 1e-300, 1e-9, 0.5, -0.5, 1.5, 1e9, 1e30, 1e300, 2**31, 2**63, 2**64,
    -(2**63),
    10**400, float("nan"), float("inf"), float("-inf"), np.float32(0.3), np.int8(3),
    np.uint64(2**63),
    np.nan, np.bool_(True), True, False, 1j,
]  # fmt: skip
#: Things that are not numbers.
OBJECTS: list[Any] = [
    None, "", "a", "abc", "auto", "1", "nan", " ", "x" * 5000, "../x", "\x00", "\ud800", "ä",
    b"bytes", [], [1],
    [None], [1.0, "a"], (), (1, 2), {}, {"a": 1}, {1, 2}, object, object(), len, print, int,
    dict, str,
    np.array([]), np.array([1.0]), np.array(3.0), np.zeros((2, 2)), np.array(["a"]),
    np.array([None]),
    torch.zeros(3), torch.tensor(1.0), torch.tensor(1.0, requires_grad=True), pd.NA, pd.NaT,
    pd.Series([1.0]),
    pd.DataFrame({"a": [1]}), pd.Timestamp("2026-01-01"), timedelta(1), np.timedelta64(1),
    np.datetime64("2026"),
    slice(None), range(3), Ellipsis, NotImplemented, [[[[1]]]], iter([1]), np.ma.masked,
    lambda *a, **k: None,
]  # fmt: skip
#: What may stand in a JSON or TOML file.
JSON_VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 3, 1000, 10**9, 2**63, 10**30, 0.5, -0.1, 1e300, float("nan"),
    float("inf"),
    "", "a", "auto", "../x", "x" * 3000, "\x00", "CGCNN", "ForceField", [], [1], [[1]], {},
    {"a": 1},
    {"class": "CGCNN"}, {"class": "os.system"}, {"class": {"a": 1}}, {"@module": "os",
    "@class": "system"},
]  # fmt: skip


def pick(rng: np.random.Generator, options: Any) -> Any:
    """Return one of the options, whatever their types."""
    return options[int(rng.integers(len(options)))]


def strange_value(rng: np.random.Generator) -> Any:
    """Return a number or an object that few parameters expect."""
    return pick(rng, NUMBERS if rng.random() < 0.5 else OBJECTS)


def damage_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Return bytes that were cut, flipped, repeated, overwritten or lengthened."""
    damaged, size = bytearray(content), max(len(content), 1)
    action = pick(rng, ["flip", "cut", "zero", "insert", "repeat", "swap"])
    start, length = int(rng.integers(size)), int(rng.integers(1, 50))
    if action == "flip":
        for position in rng.integers(size, size=int(rng.integers(1, 5))):
            damaged[position] ^= 1 << int(rng.integers(8))
    elif action == "cut":
        del damaged[start:]
    elif action == "zero":
        damaged[start : start + length] = bytes(length)
    elif action == "insert":
        damaged[start:start] = rng.bytes(length)
    elif action == "repeat":
        damaged[start:start] = damaged[start : start + length] * int(rng.integers(1, 30))
    else:
        piece = damaged[start : start + length]
        del damaged[start : start + length]
        position = int(rng.integers(len(damaged) + 1))
        damaged[position:position] = piece
    return bytes(damaged)


def damage_json(rng: np.random.Generator, tree: Any) -> tuple[str, Any]:
    """Return what was changed, and a copy of the tree with one node changed."""
    tree = copy.deepcopy(tree)
    path: list[Any] = []
    node, parent = tree, None
    while isinstance(node, (dict, list)) and node and (not path or rng.random() < 0.8):
        key = pick(rng, list(node) if isinstance(node, dict) else range(len(node)))
        parent, node = node, node[key]
        path.append(key)
    if parent is None:
        return "whole document", pick(rng, JSON_VALUES)
    action = pick(rng, ["set", "set", "set", "delete", "rename", "nest"])
    if action == "delete":
        del parent[path[-1]]
    elif action == "rename" and isinstance(parent, dict):
        parent[pick(rng, ["x", "", "class", f"{path[-1]} "])] = parent.pop(path[-1])
    elif action == "nest":
        parent[path[-1]] = _nested(int(rng.choice([2, 50, 900])))
    else:
        value = pick(rng, JSON_VALUES)
        parent[path[-1]] = value
        action = f"set to {value!r:.60}"
    return f"{'.'.join(map(str, path))}: {action}", tree


def _nested(depth: int) -> Any:
    node: Any = 1
    for _ in range(depth):
        node = {"a": node}
    return node


def damage_tensor(rng: np.random.Generator, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """Return what was changed, and a changed copy of the tensor."""
    action = pick(
        rng, ["value", "value", "value", "dtype", "cut", "reshape", "empty", "scale", "all"]
    )
    changed = tensor.clone()
    if action in ("value", "all") and changed.numel():
        value = pick(
            rng, [0, 1, -1, 7, 127, -128, 1000, -2000, 2**30, 2**40, float("nan"), float("inf")]
        )
        flat = changed.view(-1)
        rows = slice(None) if action == "all" else int(rng.integers(changed.numel()))
        if not flat.is_floating_point():
            value = 0 if value != value or abs(value) == float("inf") else value
            value = max(min(int(value), _largest(flat.dtype)), -_largest(flat.dtype))
        flat[rows] = value
        return f"{action} {value}", changed
    if action == "dtype":
        dtype = pick(
            rng, [torch.float16, torch.float64, torch.int8, torch.int32, torch.int64, torch.bool]
        )
        return f"dtype {dtype}", changed.to(dtype)
    if action == "cut":
        return "cut", changed[: len(changed) // 2] if changed.ndim else changed
    if action == "reshape":
        return "reshape", changed.reshape(-1) if changed.ndim != 1 else changed[:, None]
    if action == "empty":
        return "empty", changed.new_zeros((0,) * max(changed.ndim, 1))
    factor = pick(rng, [-1, 0, 1e10, 1e38])
    return f"times {factor}", (changed.double() * factor).to(changed.dtype)


def _largest(dtype: torch.dtype) -> int:
    return 1 if dtype == torch.bool else torch.iinfo(dtype).max


def to_json(tree: Any) -> bytes:
    """Return the JSON of a tree, NaN included."""
    return json.dumps(tree, default=str).encode("utf-8", "replace")


def compress(rng: np.random.Generator, name: str, content: bytes) -> tuple[str, bytes]:
    """Return name and content of a file, now and then compressed, and cut within that."""
    if rng.random() < 0.2:
        name, content = f"{name}.gz", gzip.compress(content)
        if rng.random() < 0.3:
            content = damage_bytes(rng, content)
    return name, content
