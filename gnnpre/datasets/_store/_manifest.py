"""The manifest of a store: its shards with their sizes and checksums, in one JSON file."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gnnpre._atomic import write_file

__all__ = ["MANIFEST", "Manifest", "Shard", "file_sha256", "read_manifest"]

MANIFEST = "manifest.json"
KIND, FORMAT = "gnnpre crystal store", 2


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a store.

    Attributes
    ----------
    file : str
        Name within the folder.
    task : int
        Number of the batch, or group of batches, that it was written from.
    source : str
        Digest of that batch, by which a writer that resumes recognises it.
    rows, bytes : int
        Number of crystals, and size of the file.
    sha256 : str
        Checksum of the file.
    labels : dict of str to int
        How many crystals have an energy, forces and a stress.
    columns : list of str
        Columns that describe crystals, and targets.
    has_ids : bool
        Whether its crystals have ids.
    """

    file: str
    task: int
    source: str
    rows: int
    bytes: int
    sha256: str
    labels: dict[str, int]
    columns: list[str]
    has_ids: bool


@dataclass(frozen=True)
class Manifest:
    """All finished shards of a store, in the order of their rows."""

    block_rows: int
    complete: bool
    shards: tuple[Shard, ...] = field(default=())

    @property
    def digest(self) -> str:
        """Digest of the content of all shards."""
        text = "".join(shard.sha256 for shard in self.shards)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def columns(self) -> list[str]:
        """Columns that all shards have."""
        first = self.shards[0].columns
        return [name for name in first if all(name in shard.columns for shard in self.shards)]

    def labelled(self, name: str) -> int:
        """Return how many crystals have a label."""
        return sum(shard.labels.get(name, 0) for shard in self.shards)

    def with_shards(self, shards: Iterable[Shard], *, complete: bool = False) -> "Manifest":
        """Return a manifest of these shards, put in the order of their rows."""
        ordered = sorted(shards, key=lambda shard: (shard.task, shard.file))
        return Manifest(self.block_rows, complete, tuple(ordered))

    def save(self, folder: Path) -> None:
        """Write the manifest as a whole."""
        content = {"kind": KIND, "format": FORMAT, **asdict(self)}
        write_file(folder / MANIFEST, json.dumps(content, indent=1))


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest of a folder, None if it has none.

    Raises
    ------
    ValueError
        If the file is damaged or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if (content.pop("kind"), content.pop("format")) != (KIND, FORMAT):
            raise ValueError(f"it is not a {KIND} of format {FORMAT}")
        shards = tuple(Shard(**shard) for shard in content["shards"])
        _check_shards(shards, content["block_rows"])
        return Manifest(content["block_rows"], bool(content["complete"]), shards)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {error}): it is damaged, or was "
            "written by something else. Delete the folder and write the store again."
        ) from error


def _check_shards(shards: Sequence[Shard], block_rows: Any) -> None:
    """Check what a manifest states of its files: a store takes it as it is."""
    counts = [block_rows, *(shard.rows for shard in shards)]
    if not all(type(count) is int and count > 0 for count in counts):
        raise ValueError(f"it has the numbers of rows {counts[:5]}; expected 1 or more")
    names = [shard.file for shard in shards]
    if not all(isinstance(name, str) and name == Path(name).name for name in names):
        raise ValueError("a file is not in its folder")
    if len(set(names)) < len(names):
        raise ValueError("it names a file twice")


def file_sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
