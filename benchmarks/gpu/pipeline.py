"""End to end on the device: fit, cross-validation and a search, with the use of the GPU."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph, TorchMDNet
from gnnpre.model_selection import PruningSearchCV

from .job import Job, property_data

QUERY = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]


def main(job: Job) -> None:
    """Run each on phonons."""
    structures, y, source = property_data(job.size(1265, 24))
    job.record("crystals", f"{len(structures)}, {source}")
    epochs = job.size(20, 1)
    regressor = PropertyRegressor(
        TorchMDNet(*(8, 1) if job.rehearse else (64, 2)),
        max_epochs=epochs,
        batch_size=job.size(128, 8),
        random_state=0,
        device=job.device,
    )
    model = make_pipeline(StructureToGraph(5.0), regressor)
    run(job, "Pipeline.fit", lambda: model.fit(structures, y) and None)
    run(job, "cross_val_score", lambda: cross_validate(model, structures, y))
    run(job, "PruningSearchCV", lambda: search(job, structures, y))


def run(job: Job, name: str, function: Callable[[], Any]) -> None:
    """Record the seconds of a call, its result, and the mean use of the GPU."""
    if not job.has_time:
        job.record(name, "left out: out of time")
        return
    start = time.perf_counter()
    with utilization(job) as shares:
        result = function()
    record = {"seconds": time.perf_counter() - start, "result": result}
    if shares:
        record["GPU utilisation, %"] = float(np.mean(shares))
    job.record(name, [record])


def cross_validate(model: Any, structures: list, y: np.ndarray) -> float:
    """Return the mean absolute error of three folds."""
    scores = cross_val_score(
        model, structures, y, cv=KFold(3), scoring="neg_mean_absolute_error", error_score="raise"
    )
    return -float(scores.mean())


def search(job: Job, structures: list, y: np.ndarray) -> str:
    """Return the best parameters of a short search."""
    estimator = PropertyRegressor(
        CGCNN(8 if job.rehearse else 64, 2),
        max_epochs=job.size(10, 1),
        batch_size=job.size(128, 8),
        random_state=0,
        device=job.device,
    )
    fitted = PruningSearchCV(
        estimator,
        {"learning_rate": FloatDistribution(5e-4, 5e-3, log=True)},
        n_trials=job.size(6, 1),
        cv=KFold(2),
        scoring="neg_mean_absolute_error",
        refit=False,
        random_state=0,
    ).fit(StructureToGraph(5.0).transform(structures), y)
    return str(fitted.best_params_)


@contextmanager
def utilization(job: Job) -> Iterator[list[float]]:
    """Ask the driver for the use of the GPU, four times a second."""
    shares: list[float] = []
    done = threading.Event()

    def ask() -> None:
        while not done.wait(0.25):
            answer = subprocess.run(QUERY, capture_output=True, text=True, check=False)
            if answer.returncode == 0:
                shares.append(float(answer.stdout.splitlines()[0]))

    thread = threading.Thread(target=ask, daemon=True)
    if job.device == "cuda":
        thread.start()
    try:
        yield shares
    finally:
        done.set()
        if thread.is_alive():
            thread.join()
