"""Attack: labels, sample weights and groups of every container and shape."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone

from gnnpre import FrameLabels

from .shared import Shared
from .values import pick, strange_value


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose an estimator, and make one or two of its arguments strange."""
    if rng.random() < 0.3:
        return _frame_labels(rng, shared)
    name = pick(rng, ["regressor", "regressor", "classifier", "forces"])
    model = clone(shared.models[name])
    X, y = shared.graphs, shared.crystals[1]
    if name == "forces":
        X, y = shared.frame_graphs, shared.frames[1]
    if name == "classifier":
        y = np.array(list("aabbabab"))
    arguments: dict[str, Any] = {"y": y}
    for argument in {pick(rng, ["y", "y", "sample_weight", "groups"]) for _ in range(2)}:
        arguments[argument] = column(rng, len(X))
    if rng.random() < 0.3:
        X = shared.crystals[0] if name != "forces" else shared.frames[0]
    description = f"{name}: " + ", ".join(f"{k}={_describe(v)}" for k, v in arguments.items())
    return description, lambda: _fit(model, X, arguments)


def _fit(model: Any, X: Any, arguments: dict[str, Any]) -> Any:
    return model.fit(X, **arguments).predict(X)


def _frame_labels(rng: np.random.Generator, shared: Shared) -> tuple[str, Callable[[], Any]]:
    labels = shared.frames[1]
    total = int(np.sum(labels.n_atoms))
    arguments: dict[str, Any] = {"n_atoms": labels.n_atoms, "energy": labels.energy}
    arguments |= {"forces": labels.forces, "stress": labels.stress, "info": None}
    name = pick(rng, list(arguments))
    size = pick(rng, [len(labels), total])
    arguments[name] = (
        {"a": column(rng, size)} if name == "info" and rng.random() < 0.7 else column(rng, size)
    )

    def make() -> Any:
        made = FrameLabels(**arguments)
        # NaN marks a missing label, so that NaN out is right where it went in.
        return [np.nan_to_num(values, posinf=np.inf) for values in (made.energy, made.forces)]

    return f"FrameLabels({name}={_describe(arguments[name])})", make


def column(rng: np.random.Generator, n: int) -> Any:
    """Return n values of some type, as some container, or something else altogether."""
    if rng.random() < 0.15:
        return strange_value(rng)
    values = _values(rng, n)
    container = pick(
        rng,
        [
            "list",
            "array",
            "array",
            "series",
            "object",
            "tensor",
            "column",
            "masked",
            "frame",
            "short",
        ],
    )
    if container == "list":
        return list(values)
    if container == "short":
        return values[: int(rng.integers(n))]
    if container == "series":
        return pd.Series(values, index=rng.permutation(n) + 100)
    if container == "frame":
        return pd.DataFrame({"a": list(values)})
    if container == "object":
        return np.array([*values, None], dtype=object)[:-1]
    if container == "tensor" and np.asarray(values).dtype.char in "bBhHiIlLqQefd?":
        tensor = torch.as_tensor(np.asarray(values))
        return tensor.requires_grad_(tensor.is_floating_point())
    if container == "column":
        return np.asarray(values)[:, None]
    if container == "masked":
        return np.ma.masked_array(values, mask=rng.random(n) < 0.3)
    return np.asarray(values)


def _values(rng: np.random.Generator, n: int) -> Any:
    """Return n values, most of which are not usual labels."""
    numbers = rng.normal(size=n)
    spoiled = numbers.copy()
    spoiled[int(rng.integers(n))] = pick(rng, [np.nan, np.inf, -np.inf, 1e300, -1e38, 1e-320])
    with_missing = list(numbers)
    with_missing[int(rng.integers(n))] = pick(
        rng, [None, pd.NA, pd.NaT, "", "nan", "a", 10**400, [1.0], Decimal("NaN")]
    )
    return pick(
        rng,
        [
            numbers, numbers * 1e6, numbers + 1e8, numbers * 1e-25, spoiled, spoiled,
            np.zeros(n), np.full(n, 1e30),
            np.full(n, np.nan), numbers > 0, numbers.astype(np.float16),
            numbers.astype(np.longdouble),
            (numbers * 100).astype(np.int8), (np.abs(numbers) * 100).astype(np.uint64),
            numbers + 1j,
            numbers.astype(str), numbers.astype(bytes), np.array(["2026-01-01"] * n,
            dtype="datetime64[D]"),
            np.arange(n).astype("timedelta64[s]"), list("abcdefgh" * n)[:n],
            _objects(with_missing), _objects(with_missing),
            _objects([Decimal(str(v)) for v in numbers]),
            _objects([Fraction(v) for v in numbers]),
            _objects([{"a": 1}] * n), np.arange(n) % 2, np.arange(n) % 3, np.arange(n),
        ],
    )  # fmt: skip


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _describe(value: Any) -> str:
    return f"{type(value).__name__}[{getattr(value, 'dtype', '')}] {value!r:.120}".replace(
        "\n", " "
    )
