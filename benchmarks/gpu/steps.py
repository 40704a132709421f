"""Training steps: crystals per second by model, task, batch size, precision and compilation."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from gnnpre import CGCNN, ForceField, PropertyTargets, SchNet, StructureToGraph, TorchMDNet
from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Objective, ObjectiveModel, Targets
from gnnpre.training import resolve_compile

from .job import Job, frame_data

BACKBONES: dict[str, Backbone] = {
    "CGCNN(64, 3)": CGCNN(64, 3),
    "CGCNN(100, 4)": CGCNN(100, 4),
    "TorchMDNet(64, 2)": TorchMDNet(64, 2),
    "TorchMDNet(128, 4)": TorchMDNet(128, 4),
    "SchNet": SchNet(),
}
TASKS: dict[str, Objective] = {"E+F+S": ForceField(), "property": PropertyTargets()}
BATCHES = (16, 128, 1024)
PRECISIONS = ("float32", "tf32", "bf16")


class Case(NamedTuple):
    """One row of the table."""

    model: str
    task: str
    batch: int
    precision: str
    compiled: bool


def cases(job: Job) -> Iterator[Case]:
    """Yield what to measure, the most telling first: time may run out."""
    batches = BATCHES[:1] if job.rehearse else BATCHES
    models = ["CGCNN(64, 3)", "TorchMDNet(64, 2)"] if job.rehearse else list(BACKBONES)
    yield from (Case(m, t, b, "float32", False) for t in TASKS for b in batches for m in models)
    largest = batches[-1]
    if not job.rehearse:  # kernels are compiled first
        compiled = ("CGCNN(64, 3)", "TorchMDNet(64, 2)", "SchNet")
        yield from (Case(m, "E+F+S", largest, "float32", True) for m in compiled)
    reduced = PRECISIONS[1:]
    yield from (Case(m, t, largest, p, False) for p in reduced for t in TASKS for m in models)
    if not job.rehearse:
        remaining = ("CGCNN(100, 4)", "TorchMDNet(128, 4)")
        yield from (Case(m, "E+F+S", largest, "float32", True) for m in remaining)


def main(job: Job) -> None:
    """Measure limits of the device, then each case until time runs out."""
    job.record("limits", limits(job))
    structures, frames, source = frame_data(job.size(2048, 24))
    graphs = StructureToGraph(5.0).transform(structures)
    job.record("crystals", f"{len(graphs)}, {source}; {graphs.edge_counts.mean():.0f} edges each")
    labels = {"E+F+S": frames, "property": frames.energy / frames.n_atoms}
    rows: list[dict[str, Any]] = []
    for case in cases(job):
        if not job.has_time:
            job.record("left out", "the remaining cases: out of time")
            break
        try:
            rows.append(case._asdict() | measure(job, case, graphs, labels[case.task]))
        except (RuntimeError, NotImplementedError) as error:  # out of memory, too
            rows.append(case._asdict() | {"error": f"{type(error).__name__}: {error}"[:100]})
        job.record("steps", rows)


def limits(job: Job) -> dict[str, float]:
    """Measure the bandwidth of copies, and the rate of matrix products in each precision."""
    size, length = job.size(8192, 256), job.size(2**28, 2**20)
    source = torch.rand(length, device=job.device)
    target = torch.empty_like(source)
    rates = {"TB/s": 2 * source.nbytes / job.seconds(lambda: target.copy_(source)) / 1e12}
    for precision in PRECISIONS:
        set_precision(precision)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        matrix = torch.rand(size, size, device=job.device, dtype=dtype)
        rate = 2 * size**3 / job.seconds(lambda matrix=matrix: matrix @ matrix)
        rates[f"TFLOP/s, {precision}"] = rate / 1e12
    set_precision("float32")
    return rates


def set_precision(precision: str) -> None:
    """Allow TF32 in matrix products or not, in torch's and in Triton's."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def measure(job: Job, case: Case, graphs: CrystalGraphs, labels: Any) -> dict[str, float]:
    """Return speed, memory and operations of the steps of one case."""
    set_precision(case.precision)
    step = Step(job, case, graphs, labels)
    if job.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = job.seconds(step)
    results = {"crystals/s": case.batch / seconds, "ms": 1e3 * seconds}
    if job.device == "cuda":
        results["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
    # Bytes of the edge features that each layer reads once per pass: forward, gradient, second.
    passes = 3 if case.task == "E+F+S" else 2
    backbone = BACKBONES[case.model]
    moved = passes * backbone.n_layers * step.n_edges * 4 * backbone.hidden_channels
    bandwidth, rate = (
        job.results["limits"][name] * 1e12 for name in ("TB/s", f"TFLOP/s, {case.precision}")
    )
    results["share of bandwidth"] = moved / bandwidth / seconds
    if not case.compiled:
        results["share of arithmetic"] = step.operations() / rate / seconds
    return results


class Step:
    """One training step, batch assembly included, always on the same crystals."""

    def __init__(self, job: Job, case: Case, graphs: CrystalGraphs, labels: Any) -> None:
        objective = TASKS[case.task]
        targets: Targets = objective.make_targets(graphs, labels)
        neighbors = len(graphs.edge_shift) / len(graphs.positions)
        backbone = BACKBONES[case.model].build(graphs.cutoff, neighbors)
        self.model: ObjectiveModel = objective.build(backbone, objective.layout(targets))
        self.model.set_statistics(graphs, targets, np.arange(len(graphs)))
        self.model.to(job.device).train()
        device = torch.device(job.device)
        self.model.backbone.compiled = resolve_compile(case.compiled, device)
        self.graphs, self.targets = graphs.to(job.device), targets.to(job.device)
        self.rows = np.resize(np.random.default_rng(0).permutation(len(graphs)), case.batch)
        self.n_edges = int(graphs.edge_counts[self.rows].sum())
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4, fused=True)
        half = case.precision == "bf16"
        self.autocast = torch.autocast(job.device, torch.bfloat16, enabled=half)

    def __call__(self) -> None:
        batch = self.graphs.batch(self.rows)
        labels = self.targets.batch(self.rows, torch.float64)
        targets = {k: v.float() for k, v in self.model.standardize(labels, batch).items()}
        with self.autocast:
            terms = self.model.losses(self.model(batch), targets, batch)
            loss = torch.stack([term.weight * term.step_mean for term in terms.values()]).sum()
        self.optimizer.zero_grad()
        loss.backward(inputs=self.parameters)
        nn.utils.clip_grad_norm_(self.parameters, 10.0)
        self.optimizer.step()

    def operations(self) -> int:
        """Return the floating-point operations of the matrix products of a step."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            self()
        return counter.get_total_flops()
