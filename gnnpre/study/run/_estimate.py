"""How long a study takes, from a few steps of each kind of training."""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gnnpre.estimators import Pretrainer, PropertyRegressor
from gnnpre.graphs import CrystalGraphs, Crystals, StructureToGraph, as_crystals

from ..declare._study import Study
from ..plan._data import LoadedData, load_data
from ..plan._job import Job
from ..plan._plan import Plan, plan_jobs
from ..plan._selection import select_jobs
from ._estimate_table import Estimate, EstimateRow
from ._evaluate import split_of
from ._folder import StudyFolder
from ._pools import labels_for, read_pool
from ._threads import limited_threads

__all__ = ["estimate_study"]

#: Batches to time and fewest crystals in them; epochs over them, of which the first warms up.
STEPS, FEWEST, EPOCHS = 3, 96, 3
#: Settings of fine-tuning that need pre-trained weights; training takes as long without, or longer.
OF_PRETRAINED = ("transfer", "strategy", "replay", "replay_weight", "replay_ratio")
HOUR = 3600.0
#: Models of rows that train one network. The kernel machine of a blend takes a fraction of that.
TRAINED = ("finetune", "blended")


def estimate_study(
    study: Study,
    folder: str | Path | None = None,
    *,
    data_home: str | Path | None = None,
    only: Sequence[str] = (),
    device: str = "auto",
    threads: int = 1,
) -> Estimate:
    """Estimate how long a study takes on this machine, from a few timed steps.

    Each kind of training is timed on some batches of its own crystals, in short epochs of which
    the first does not count; validation is in them. Nothing is kept or written. Early stopping
    and cheaper strategies of fine-tuning would make it less; reading files and looking for leaks
    come on top. Baselines, kernel machines, ensembles and recipes are not
    timed.

    Parameters
    ----------
    study : Study
        The study.
    folder : str or Path, optional
        Where it was run before: jobs that are done there do not count.
    data_home : str or Path, optional
        Folder of the known data; by default that of the environment variable ``GNNPRE_DATA``.
    only : sequence of str
        Names of data sets, backbones and strategies, and seeds or folds as in ``"seed=111"``; all
        by default.
    device : str
        Where to train.
    threads : int
        Threads of a job.

    Returns
    -------
    Estimate
        Core-hours of each kind of job, and of all.

    Raises
    ------
    ValueError
        If a name is unknown.
    FileNotFoundError
        If data are missing.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from gnnpre.datasets import make_emt_property
    >>> from gnnpre.study import DataSet, Study, estimate_study
    >>> structures, y = make_emt_property(20, random_state=0)
    >>> table = pd.DataFrame({"structure": [s.as_dict() for s in structures], "K": y})
    >>> path = f"{tempfile.mkdtemp()}/alloys.json"
    >>> table.to_json(path, orient="split")
    >>> data = [DataSet(name="alloys", path=path)]
    >>> estimate_study(Study(name="one", data=data, baselines=["mean"])).rows[0].n_jobs
    5
    """
    plan = plan_jobs(study, data_home)
    jobs = select_jobs(plan, only)
    if folder is not None:
        jobs = [job for job in jobs if not StudyFolder(folder).is_done(job)]
    timer = _Timer(plan, device, threads)
    with limited_threads(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a handful of crystals, say
        return Estimate(tuple(_rows(jobs, timer, threads)))


def _rows(jobs: Iterable[Job], timer: "_Timer", threads: int) -> Iterable[EstimateRow]:
    alike_jobs: dict[str, list[Job]] = {}
    for job in jobs:
        alike_jobs.setdefault(_timing_label(job), []).append(job)
    for alike in alike_jobs.values():
        seconds = timer.seconds(alike[0])
        hours = len(alike) * seconds * threads / HOUR
        yield EstimateRow(_title(alike), len(alike), seconds, hours)


def _timing_label(job: Job) -> str:
    """Return a label that is equal for jobs that take the same time."""
    if job.kind == "pretraining":
        return job.key
    if job.parameters["model"] not in TRAINED:
        return f"{job.data} other"
    settings = {k: v for k, v in job.parameters["finetuning"].items() if k not in OF_PRETRAINED}
    return json.dumps([job.data, job.backbone, settings], sort_keys=True)


def _title(jobs: Sequence[Job]) -> str:
    first = jobs[0]
    if first.kind == "pretraining":
        return str(first)
    if first.parameters["model"] not in TRAINED:
        return f"evaluation {first.data} without training"
    names = dict.fromkeys(job.strategy for job in jobs)
    return f"evaluation {first.data} {first.backbone} {', '.join(names)}"


class _Timer:
    """Times a few steps of a job's training."""

    def __init__(self, plan: Plan, device: str, threads: int) -> None:
        self.plan = plan
        self.device = device
        self.threads = threads
        self.loaded: dict[str, LoadedData] = {}

    def seconds(self, job: Job) -> float:
        if job.kind == "pretraining":
            return self._pretraining(job)
        if job.parameters["model"] in TRAINED:
            return self._finetuning(job)
        return float("nan")

    def _pretraining(self, job: Job) -> float:
        if "model" in job.tools:
            return 0.0
        tools, settings = job.tools, job.tools["settings"]
        declared = tools["declared"]
        # Without the audit for leaks, which takes longer than all else here.
        pool = read_pool(declared, tools["files"], (), self.threads)
        y = labels_for(declared.objective, pool, declared.targets)

        def fit(graphs: CrystalGraphs, rows: np.ndarray) -> Any:
            estimator = Pretrainer(tools["backbone"], declared.objective, **self._short(settings))
            return estimator.fit(graphs, None if y is None else y[rows])

        epochs = job.parameters["settings"]["max_epochs"]
        batch = job.parameters["settings"]["batch_size"]
        return _time(pool.crystals, tools["graphs"], batch, epochs, fit)

    def _finetuning(self, job: Job) -> float:
        data = self._load(str(job.data))
        split = split_of(job, len(data))
        both = np.concatenate([split.train, split.valid])
        settings = {k: v for k, v in job.tools["finetuning"].items() if k not in OF_PRETRAINED}
        # The same share of validation crystals, which cost a forward pass in each epoch.
        share = len(split.valid) / len(both)

        def fit(graphs: CrystalGraphs, rows: np.ndarray) -> Any:
            short = {"validation_fraction": share, **self._short(settings)}
            return PropertyRegressor(job.tools["backbone"], **short).fit(graphs, data.y[both[rows]])

        epochs = job.parameters["finetuning"]["max_epochs"]
        batch = job.parameters["finetuning"]["batch_size"]
        return _time(data.subset(both), job.tools["graphs"], batch, epochs, fit)

    def _short(self, settings: dict[str, Any]) -> dict[str, Any]:
        short: dict[str, Any] = {
            "max_epochs": EPOCHS,
            "patience": None,
            "device": self.device,
            "random_state": 0,
        }
        rest = {name: value for name, value in settings.items() if name != "checkpoint_epochs"}
        return {**rest, **short}

    def _load(self, name: str) -> LoadedData:
        if name not in self.loaded:
            self.loaded = {name: load_data(self.plan.data[name])}
        return self.loaded[name]


def _time(
    structures: Crystals | Sequence[Any],
    to_graph: StructureToGraph,
    batch_size: int,
    epochs: int,
    fit: Callable[[CrystalGraphs, np.ndarray], Any],
) -> float:
    """Time graphs and epochs of a few batches, and scale to all crystals and epochs."""
    n = len(structures)
    rows = np.random.default_rng(0).permutation(n)[: max(FEWEST, STEPS * batch_size)]
    started = time.perf_counter()
    graphs = to_graph.fit_transform(as_crystals(structures)[rows])
    building = time.perf_counter() - started
    # The first epoch compiles kernels and fills caches: it does not count.
    epoch = _epoch_seconds(fit(graphs, rows).history_)
    return float((building + epochs * epoch) * n / len(rows))


def _epoch_seconds(history: Sequence[dict[str, Any]]) -> float:
    return float(np.mean([row["dur"] for row in history[1:]]))
