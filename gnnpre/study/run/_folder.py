"""The folder of a study: its files, and how they are written."""

import json
import math
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre._atomic import remove_stale, write_file

from ..plan._job import Job

__all__ = ["StudyFolder", "now", "write_json"]

SUBFOLDERS = ("data", "records", "failures", "claims", "pretrained", "leaks", "checkpoints")


class StudyFolder:
    """Paths in the folder of a study; every file is written whole or not at all."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def create(self) -> None:
        """Create the folder and its subfolders, and remove leftovers of killed processes."""
        for name in (".", *SUBFOLDERS):
            (self.root / name).mkdir(parents=True, exist_ok=True)
            remove_stale(self.root / name)

    def data(self, name: str) -> Path:
        """Return the path of the summary of a data set."""
        return self.root / "data" / f"{name}.json"

    def record(self, key: str) -> Path:
        """Return the path of the record of a finished job."""
        return self.root / "records" / f"{key}.json"

    def failure(self, key: str) -> Path:
        """Return the path of the description of a job that raised."""
        return self.root / "failures" / f"{key}.json"

    def claim(self, key: str) -> Path:
        """Return the path of the lock of a job."""
        return self.root / "claims" / f"{key}.lock"

    def pretrained(self, key: str, epoch: int | None = None) -> Path:
        """Return the path of the weights of a pre-training, at its end or after an epoch."""
        name = key if epoch is None else f"{key}-epoch{epoch:04d}"
        return self.root / "pretrained" / f"{name}.gnnpre"

    def leak_keys(self, key: str) -> Path:
        """Return the path of the keys of the crystals that a pre-training has seen."""
        return self.root / "leaks" / f"{key}.keys"

    def audit(self, data: str, digest: str, key: str) -> Path:
        """Return the path of the list of crystals of a data set that a pre-training has seen."""
        return self.root / "leaks" / f"{data}-{digest}-{key}.json"

    def checkpoints(self, key: str) -> Path:
        """Return the folder of the training states that a job resumes from."""
        return self.root / "checkpoints" / key

    def is_done(self, job: Job) -> bool:
        """Return whether a job has a record, and its weights exist."""
        # Somebody may have deleted large files and kept the records.
        has_weights = job.kind != "pretraining" or self.pretrained(job.key).is_file()
        return has_weights and self.record(job.key).is_file()

    def read_record(self, key: str) -> dict[str, Any]:
        """Read the record of a job."""
        record: dict[str, Any] = json.loads(self.record(key).read_text(encoding="utf-8"))
        return record

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write the record of a job, and remove a failure of it."""
        key = record["key"]
        write_json(self.record(key), record)
        self.failure(key).unlink(missing_ok=True)
        self.clean(key)

    def clean(self, key: str) -> None:
        """Remove the checkpoints of a job, and half-written files of killed processes."""
        shutil.rmtree(self.checkpoints(key), ignore_errors=True)
        for name in ("records", "failures", "pretrained", "leaks"):
            remove_stale(self.root / name)

    def write_once(self, path: Path, content: Mapping[str, Any]) -> None:
        """Write a file unless it has this content already."""
        if not path.is_file() or path.read_text(encoding="utf-8") != _text(content):
            write_json(path, content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON; numbers that are not finite become null."""
    write_file(path, _text(content))


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(_plain(content), indent=1, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    # Before Iterable: a string is one too.
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def now() -> str:
    """Return the time, in UTC and ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
