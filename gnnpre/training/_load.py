"""How much work a training is, and how many processes and threads it is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gnnpre._devices import resolve_device

from ._randomness import PrivateRandomness, default_float32
from ._work import TrainingWork

__all__ = ["suitable_n_processes", "suitable_threads"]

#: Seconds of one thread for an edge and 64 channels, in the fastest case (CGCNN, no forces).
SECONDS_PER_EDGE = 1.5e-6
#: Forces and stress take a second derivative of all layers.
FACTOR_OF_DERIVATIVES = 3.0
#: A process takes several seconds to start; a shorter training is over before that pays off.
SHORTEST_TRAINING = 120.0
#: Work of each process in a step. Two processes exchanged weights and gradients in a = 5 to 8 ms,
#: and p of them take a log2(p): work w is done first by w ln(2) / a processes. Steps of 7 to 13 ms
#: became slower with two or no faster, those of 37 to 185 ms 1.2 to 1.6 times as fast
#: (benchmarks/results/training.md).
SHORTEST_STEP = 0.012
#: Assumed, not measured: a GPU is as fast as so many cores.
CORES_OF_GPU = 50
#: Work of a step below which threads save nothing: two of them made steps of 5 and 15 ms 0.96 to
#: 1.07 times as fast, those of 20 ms 1.15 and 1.41 times (benchmarks/results/training.md).
SHORTEST_THREADED_STEP = 0.018


def suitable_n_processes(work: TrainingWork) -> int:
    """Return the number of processes on this machine that surely does not slow a training down.

    It depends on the data, the settings and the machine, not on the clock: the same fit has the
    same rounding each time. Threads that torch may use are the cores to share: one within the
    workers of joblib, or under ``OMP_NUM_THREADS=1``.
    """
    device = resolve_device(work.settings.device)
    factor = FACTOR_OF_DERIVATIVES if _differentiates(work) else 1.0
    if device.type == "cuda":
        available = torch.cuda.device_count() if str(device) == "cuda" else 1
        factor /= CORES_OF_GPU
    else:
        available = torch.get_num_threads()
    epoch, step = (factor * seconds for seconds in _seconds(work))
    if epoch * work.settings.max_epochs < SHORTEST_TRAINING:
        return 1
    return max(1, min(available, int(step / SHORTEST_STEP)))


def _differentiates(work: TrainingWork) -> bool:
    """Return whether a step differentiates energies first; the model is built to ask it."""
    with PrivateRandomness(0, torch.device("cpu")), default_float32():
        return work.spec().differentiates


@contextmanager
def suitable_threads(work: TrainingWork, *, derivatives: bool) -> Iterator[None]:
    """Run a training on a CPU with one thread where more would slow its small steps down.

    Parameters
    ----------
    work : TrainingWork
        The training.
    derivatives : bool
        Whether a step differentiates energies first.
    """
    before = torch.get_num_threads()
    is_small = seconds_of_step(work, derivatives=derivatives) < SHORTEST_THREADED_STEP
    if before == 1 or not is_small or resolve_device(work.settings.device).type != "cpu":
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds_of_step(work: TrainingWork, *, derivatives: bool) -> float:
    """Return the least seconds of one thread for a step; derivatives of energies take longer."""
    return _seconds(work)[1] * (FACTOR_OF_DERIVATIVES if derivatives else 1.0)


def _seconds(work: TrainingWork) -> tuple[float, float]:
    """Return the least seconds of one thread for an epoch, and for a step."""
    settings = work.settings
    edges = float(work.dataset.graphs.edge_counts[work.train].sum())
    channels = getattr(work.spec.backbone, "hidden_channels", 64)
    epoch = edges * channels / 64 * SECONDS_PER_EDGE
    n_batches = max(1.0, len(work.train) / settings.batch_size)
    if settings.max_edges is not None:
        n_batches = max(n_batches, edges / settings.max_edges)
    return epoch, epoch / n_batches
