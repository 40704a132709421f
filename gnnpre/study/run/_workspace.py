"""State that the jobs of one process share: the folder, and the data that were read."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gnnpre.graphs import CrystalGraphs, StructureToGraph

from ..plan._data import LoadedData, LocatedData, load_data
from ..plan._job import Job
from ._folder import StudyFolder, now
from ._pools import Pool, read_pool
from ._progress import EpochLines

__all__ = ["Workspace"]

#: Crystals of a pre-training up to which the next one finds them in memory (some 200 MB).
MOST_KEPT = 20_000


class Workspace:
    """Reads each data set once, and keeps the graphs of the last one.

    Parameters
    ----------
    folder : StudyFolder
        Where records and weights are.
    data : mapping of str to LocatedData
        The data sets.
    device : str
        Where to train.
    threads : int
        Threads that a job may use.
    write : callable, optional
        Function of a line of text, for progress.
    """

    def __init__(
        self,
        folder: StudyFolder,
        data: Mapping[str, LocatedData],
        device: str,
        threads: int,
        write: Callable[[str], None] | None = None,
    ) -> None:
        self.write = write
        self.folder = folder
        self.data = data
        self.device = device
        self.threads = threads
        self._loaded: tuple[str, LoadedData] | None = None
        self._graphs: dict[str, CrystalGraphs] = {}
        self._pool: tuple[str, Pool] | None = None

    def note(self, text: str) -> None:
        """Write a line about the job that runs."""
        if self.write is not None:
            self.write(f"{now()}       {text}")

    def epoch_callbacks(self, job: Job, n_epochs: int) -> list[Any]:
        """Return callbacks that write lines about the epochs of a job."""
        if self.write is None:
            return []
        return EpochLines(self.note, f"of {job}", n_epochs).callbacks()

    def load(self, name: str) -> LoadedData:
        """Read a data set, and write its summary for the report."""
        # Jobs come data set by data set: one of them fits in memory where all may not.
        if self._loaded is None or self._loaded[0] != name:
            self._graphs, self._pool = {}, None
            loaded = load_data(self.data[name])
            summary = {**loaded.summary(), "digest": self.data[name].digest}
            self.folder.write_once(self.folder.data(name), summary)
            self._loaded = name, loaded
        return self._loaded[1]

    def refresh_summary(self, name: str) -> None:
        """Write the summary of a data set, unless the folder has that of the same declaration."""
        path, located = self.folder.data(name), self.data[name]
        if path.is_file():
            summary = json.loads(path.read_text(encoding="utf-8"))
            if (summary.get("digest"), summary.get("unit")) == (located.digest, located.unit):
                return
        self._loaded = None
        self.load(name)

    def graphs(self, data: LoadedData, settings: StructureToGraph) -> CrystalGraphs:
        """Build the graphs of a data set."""
        key = json.dumps([data.name, settings.get_params()], sort_keys=True)
        if key not in self._graphs:
            self._graphs[key] = data.graphs(settings)
        return self._graphs[key]

    def pool(self, job: Job) -> Pool:
        """Read the crystals of a pre-training, unless the last one had the same."""
        tools = job.tools
        names = ("sha256", "targets", "max_structures", "drop_leaks", "leak_level", "random_state")
        # Objectives that are compared on equal crystals differ in none of these.
        key = json.dumps({name: job.parameters[name] for name in names}, sort_keys=True)
        if self._pool is not None and self._pool[0] == key:
            return self._pool[1]
        self._pool = None
        self.note(f"reading {len(tools['files'])} files for {job}")
        pool = read_pool(tools["declared"], tools["files"], tools["leaks"], self.threads)
        if len(pool) <= MOST_KEPT:
            self._pool = key, pool
        return pool

    def release(self) -> None:
        """Free the data that were read: a pre-training needs the memory."""
        self._loaded, self._graphs = None, {}

    def weights(self, pretraining: Job, epoch: int | None = None) -> Path:
        """Return the file of a finished pre-training."""
        return self.folder.pretrained(pretraining.key, epoch)
