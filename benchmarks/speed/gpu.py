"""Training steps on a GPU: crystals per second by batch size, and hours of a large training.

Batches are assembled on the device. A step is timed on the clock between two synchronisations
around ten steps, by CUDA events. The projection takes the crystals of this benchmark for those of
the large set.
"""

import argparse
from collections.abc import Callable

import torch
from common import where_and_when

from .crystals import Crystals, plan, read_crystals
from .floor import floor_seconds, measure_rates
from .report import cuda_lines, keep
from .training import Setting
from .works import TRAININGS, Training

BATCHES = (32, 128, 512, 1024, 2048, 4096)
STEPS = 10
FRAMES, EPOCHS = 187_687, 100
NOT_RUN = "Not run on a GPU: torch sees none (torch.cuda.is_available() is False)."


def run(arguments: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        print(NOT_RUN)
        return
    chosen = [name for name in arguments.only.split(",") if name]
    works = {name: work for name, work in TRAININGS.items() if not chosen or name in chosen}
    crystals = read_crystals(arguments.crystals)
    rates = measure_rates("cuda", seconds_of)
    for name, work in works.items():
        result = run_training(work, crystals, rates)
        result |= {"device": torch.cuda.get_device_name(), **where_and_when()}
        keep("cuda", name, result)
        print("\n".join(["", f"## {result['title']}", *cuda_lines(name, result)]), flush=True)


def seconds_of(step: Callable) -> float:
    """Time ten calls by events, after three that warm up."""
    for _ in range(3):
        step()
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(STEPS):
        step()
    stop.record()
    torch.cuda.synchronize()
    return start.elapsed_time(stop) / 1e3 / STEPS


def run_training(work: Training, crystals: Crystals, rates: dict) -> dict:
    setting = Setting(work, crystals, "cuda")
    trainer = setting.trainer(setting.our_model(), [], 1)
    rates, plain = {}, setting.plain([], 1)
    for size in BATCHES:
        indices = chosen_crystals(len(crystals.structures), size)
        try:
            rates[size] = size / seconds_of(lambda indices=indices: trainer.step(indices))
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
    best = max(rates, key=rates.__getitem__)
    indices = chosen_crystals(len(crystals.structures), best)
    batch = setting.graphs.to("cuda").batch(indices)
    floor = floor_seconds(trainer, batch, indices, work.backbone, rates)
    step = best / rates[best]
    small = chosen_crystals(len(crystals.structures), BATCHES[0])
    beside = BATCHES[0] / seconds_of(lambda: plain.step(small))
    hours = FRAMES * EPOCHS / rates[best] / 3600
    return {
        "title": work.title,
        "crystals_per_s": rates,
        "plain_per_s": {BATCHES[0]: beside},
        "floor": {**floor, **rates},
        "projection": (
            f"{FRAMES:,} frames x {EPOCHS} epochs at batch {best}, were they like these crystals: "
            f"{hours:.2f} hours. The plain reference at batch {BATCHES[0]}: {beside:.0f}/s."
        ),
        "limit": (
            f"A step takes {1e3 * step:.1f} ms; {100 * floor['products_s'] / step:.0f} % of that "
            f"for its matrix products at {rates['operations_per_s'] / 1e12:.1f} TFLOP/s and "
            f"{100 * floor['memory_s'] / step:.0f} % to move its edge tensors once at "
            f"{rates['bytes_per_s'] / 1e12:.2f} TB/s."
        ),
    }


def chosen_crystals(n_crystals: int, size: int) -> list[int]:
    """A fixed shuffle, again and again where the batch is larger than the set."""
    order = plan(n_crystals, n_crystals)[0]
    return [order[i % n_crystals] for i in range(size)]
