"""One finished or failed job of a study, as read from its file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

__all__ = ["DataSummary", "Failure", "Method", "Record", "parse_record"]

SCHEMA = 1
KINDS = ("evaluation", "pretraining")
#: Keys of every record, and further keys of one of an evaluation.
REQUIRED = ("schema", "key", "kind", "strategy", "backbone", "history", "seconds")
REQUIRED_OF_EVALUATION = ("data", "role", "metrics", "test_indices", "targets", "predictions")
#: Predictions are float32, and their error may have been computed before they were rounded.
MAE_TOLERANCE, ROUNDING = 1e-3, 1e-6


class Method(NamedTuple):
    """A row of the tables: a backbone, None without a network, and a strategy."""

    backbone: str | None
    strategy: str

    def __str__(self) -> str:
        return self.strategy if self.backbone is None else f"{self.backbone} {self.strategy}"


class DataSummary(NamedTuple):
    """A data set of a study: target, unit, and the formulas of its crystals."""

    name: str
    target: str
    unit: str
    formulas: tuple[str, ...]
    #: Digest of its declaration and files; None in folders of an older version.
    digest: str | None = None


class Failure(NamedTuple):
    """A job that raised."""

    key: str
    job: Any
    error: str
    finished: str | None


@dataclass(frozen=True, eq=False)
class Record:
    """A finished job. Null in the file is None here, or NaN among numbers."""

    key: str
    kind: str
    method: Method
    data: str | None
    role: str | None
    seed: int | None
    fold: int | None
    member: int | None
    mae: float
    validation_mae: float
    test_indices: np.ndarray
    targets: np.ndarray
    predictions: np.ndarray
    history: tuple[Mapping[str, Any], ...]
    seconds: float
    extra: Mapping[str, Any] = field(repr=False)

    @property
    def errors(self) -> np.ndarray:
        """Absolute error of each test crystal."""
        return np.abs(self.predictions - self.targets)

    @property
    def run(self) -> int | None:
        """The repetition of the experiment: the fold, or the seed where there are no folds."""
        return self.seed if self.fold is None else self.fold


def parse_record(path: Path, raw: Any) -> Record:
    """Check the content of a record's file and return it as a :class:`Record`."""
    _check_fields(path, raw)
    # Provenance, kept as it is: another version may have written other fields.
    extra = {name: raw[name] for name in raw if name not in Record.__dataclass_fields__}
    record = Record(
        key=raw["key"],
        kind=raw["kind"],
        method=Method(raw["backbone"], raw["strategy"]),
        data=raw.get("data"),
        role=raw.get("role"),
        seed=raw.get("seed"),
        fold=raw.get("fold"),
        member=raw.get("member"),
        mae=_number((raw.get("metrics") or {}).get("mae")),
        validation_mae=_number((raw.get("validation") or {}).get("mae")),
        test_indices=np.asarray(raw.get("test_indices") or [], dtype=np.int64),
        targets=_numbers(raw.get("targets")),
        predictions=_numbers(raw.get("predictions")),
        history=tuple(raw["history"] or ()),
        seconds=_number(raw["seconds"]),
        extra=extra,
    )
    if record.kind == "evaluation":
        _check_evaluation(path, record)
    return record


def _check_fields(path: Path, raw: Any) -> None:
    if not isinstance(raw, dict):
        _refuse(path, f"it holds a JSON {type(raw).__name__}, not an object")
    if raw.get("schema") != SCHEMA:
        _refuse(path, f"its schema is {raw.get('schema')!r}, expected {SCHEMA}")
    if raw.get("kind") not in KINDS:
        _refuse(path, f"its kind is {raw.get('kind')!r}, expected one of {list(KINDS)}")
    needed = REQUIRED + (REQUIRED_OF_EVALUATION if raw["kind"] == "evaluation" else ())
    missing = [name for name in needed if name not in raw]
    if missing:
        _refuse(path, f"it lacks {', '.join(missing)}")
    for name in ("seed", "fold", "member"):
        if not isinstance(raw.get(name), (int, type(None))) or isinstance(raw.get(name), bool):
            _refuse(path, f"its {name} is {raw[name]!r}, expected an int or null")
    for name in ("strategy", "backbone", "data"):
        if not isinstance(raw.get(name), (str, type(None))):
            _refuse(path, f"its {name} is {raw[name]!r}, expected text or null")
    if raw["key"] != path.stem:
        _refuse(path, f"its key is {raw['key']!r}, which is not the name of the file")


def _check_evaluation(path: Path, record: Record) -> None:
    lengths = [len(record.test_indices), len(record.targets), len(record.predictions)]
    if len(set(lengths)) > 1 or not lengths[0]:
        _refuse(
            path,
            "it has {} test_indices, {} targets and {} predictions, expected as many of each, and "
            "one at least".format(*lengths),
        )
    if record.run is None:
        _refuse(path, "its seed and its fold are both null, expected one of them")
    mae = float(record.errors.mean())
    # Relative to the targets, whatever their unit is.
    rounding = ROUNDING * float(np.abs(record.targets).max())
    if np.isfinite(mae) and not np.isclose(mae, record.mae, rtol=MAE_TOLERANCE, atol=rounding):
        _refuse(path, f"its metrics say mae = {record.mae}, its predictions {mae}")


def _refuse(path: Path, reason: str) -> None:
    raise ValueError(
        f"{path} is not a record of a finished job: {reason}. It is damaged or of another program: "
        "move it away, and run the study again to have the job done."
    )


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _numbers(values: Any) -> np.ndarray:
    return np.asarray(values or [], dtype=np.float64)  # None becomes NaN
