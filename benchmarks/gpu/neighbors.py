"""Neighbour search on the device against the CPU."""

import time

from gnnpre import StructureToGraph

from .job import Job, frame_data


def main(job: Job) -> None:
    """Time both searches on the same crystals, and compare their edges."""
    structures, _, source = frame_data(job.size(3000, 20))
    job.record("crystals", f"{len(structures)}, {source}")
    graphs = {}
    for device in ("cpu", job.device):
        try:
            StructureToGraph(5.0, device=device).transform(structures[:2])  # imports, kernels
            start = time.perf_counter()
            graphs[device] = StructureToGraph(5.0, device=device).transform(structures)
            seconds = time.perf_counter() - start
            job.record(f"crystals/s on {device}", len(structures) / seconds)
        except (ImportError, RuntimeError, ValueError) as error:
            job.record(f"on {device}", f"{type(error).__name__}: {error}")
    counts = [one.edge_counts.tolist() for one in graphs.values()]
    job.record("equal numbers of edges", all(one == counts[0] for one in counts))
