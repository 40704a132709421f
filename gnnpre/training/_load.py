"""How much work a training is, and how many processes it is worth."""

import torch

from gnnpre._devices import resolve_device

from ._work import TrainingWork

__all__ = ["suitable_n_processes"]

#: Seconds of one thread for an edge and 64 channels, in the fastest case (CGCNN, no forces).
SECONDS_PER_EDGE = 1.5e-6
#: A process takes several seconds to start; a shorter training is over before that pays off.
SHORTEST_TRAINING = 120.0
#: Work of each process in a step beside which the exchange of gradients is small.
SHORTEST_STEP = 0.01


def suitable_n_processes(work: TrainingWork) -> int:
    """Return the number of processes on this machine that surely does not slow a training down.

    It depends on the data, the settings and the machine, not on the clock: the same fit has the
    same rounding each time. Threads that torch may use are the cores to share: one within the
    workers of joblib, or under ``OMP_NUM_THREADS=1``.
    """
    device = resolve_device(work.settings.device)
    if device.type == "cuda":
        available = torch.cuda.device_count() if str(device) == "cuda" else 1
    else:
        available = torch.get_num_threads()
    edges = work.dataset.graphs.edge_counts[work.train].sum()
    channels = getattr(work.spec.backbone, "hidden_channels", 64)
    epoch = float(edges) * channels / 64 * SECONDS_PER_EDGE
    if epoch * work.settings.max_epochs < SHORTEST_TRAINING:
        return 1
    n_batches = max(1.0, len(work.train) / work.settings.batch_size)
    if work.settings.max_edges is not None:
        n_batches = max(n_batches, float(edges) / work.settings.max_edges)
    return max(1, min(available, int(epoch / n_batches / SHORTEST_STEP)))
