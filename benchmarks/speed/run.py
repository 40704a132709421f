"""Runs of works on one pinned core."""

import argparse
import gc
from typing import Any

import torch
from common import pin_to_one_core, race, where_and_when

from . import fingerprints, graphs
from .breakdown import breakdown
from .crystals import Crystals, plan, read_crystals
from .floor import count_operations, floor_seconds, measure_rates
from .memory import measure_memory
from .peers import close, start_peers
from .prediction import difference_words, make_predictors
from .report import keep, printed
from .training import Setting, Trainer
from .works import OURS, PLAIN, PREDICTIONS, TORCH, TRAININGS, Prediction, Training


def run(arguments: argparse.Namespace) -> None:
    """Measure the works that were asked for, one after the other."""
    available = [*TRAININGS, *graphs.WORKS, *PREDICTIONS, *fingerprints.WORKS]
    chosen = [name for name in arguments.only.split(",") if name] or available
    unknown = sorted(set(chosen) - set(available))
    if unknown:
        raise SystemExit(f"--only names {unknown}; expected {', '.join(available)}.")
    pin_to_one_core()
    torch.set_num_threads(1)
    crystals = read_crystals(arguments.crystals)
    rates = measure_rates()
    for name in chosen:
        gc.collect()  # what earlier works left would slow the collector down in this one
        gc.freeze()
        if name in TRAININGS:
            result = run_training(name, TRAININGS[name], crystals, arguments, rates)
        elif name in PREDICTIONS:
            result = run_prediction(PREDICTIONS[name], crystals, arguments)
        elif name in fingerprints.WORKS:
            result = fingerprints.run(crystals, arguments)
        else:
            result = graphs.run(name, crystals, arguments)
        result |= {"rounds": arguments.rounds, "crystals": arguments.crystals, **where_and_when()}
        keep("works", name, result)
        printed(name, result)


def run_training(
    name: str, work: Training, crystals: Crystals, arguments: argparse.Namespace, rates: dict
) -> dict:
    setting = Setting(work, crystals)
    batches = plan(len(crystals.structures), work.batch_size)
    contenders, absent, peers = our_contenders(setting, batches), {}, {}
    if arguments.peers:
        peers, notes = start_peers(setting, crystals, batches, arguments.peer_home)
        absent = notes
        for peer in peers.values():
            contenders |= {model: peer.contender(model) for model in peer.models}
    raced = race(contenders, arguments.rounds)
    close(peers)
    result = {
        "title": work.title,
        "reference": PLAIN,
        "asked": work.asked,
        "setting": f"Batches of {work.batch_size}, {work.steps} steps a round, float32.",
        "contenders": {model: row(result) for model, result in raced.items()},
        "absent": absent,
        "peers": {name: peer.versions for name, peer in peers.items()},
        "floor": floor(setting, batches, contenders, rates, raced[OURS]),
        "time goes": {model: breakdown(contenders[model]) for model in our_models(contenders)},
    }
    if work.memory_asked and not arguments.no_memory:
        sizes = {model: measure_memory(name, model, crystals) for model in (OURS, TORCH, PLAIN)}
        result["memory"] = {"mb": sizes, "asked": work.memory_asked}
    return result


def our_contenders(setting: Setting, batches: list[list[int]]) -> dict[str, Any]:
    """Ours with and without compiled kernels, and the plain reference."""
    steps = setting.work.steps
    return {
        OURS: setting.trainer(setting.our_model(), batches, steps),
        TORCH: setting.trainer(setting.our_model(compile=False), batches, steps),
        PLAIN: setting.plain(batches, steps),
    }


def our_models(contenders: dict[str, Any]) -> list[str]:
    return [model for model in contenders if model in (OURS, TORCH)]


def row(result: dict) -> dict:
    n_crystals = result["work"]["crystals"]
    return {
        "seconds_per_crystal": result["median"] / n_crystals,
        "clock_per_crystal": result["clock"] / n_crystals,
        "edges": result["work"].get("edges", ""),
        "seconds": result["seconds"],
    }


def floor(
    setting: Setting,
    batches: list[list[int]],
    contenders: dict[str, Trainer],
    rates: dict,
    result: dict,
) -> dict:
    """The floor of a step of middling size."""
    edges = setting.graphs.edge_counts
    sizes = [int(edges[indices].sum()) for indices in batches]
    indices = batches[sizes.index(sorted(sizes)[len(sizes) // 2])]
    batch = setting.graphs.batch(indices)
    # The operations that torch counts are all in the step without kernels.
    least = floor_seconds(contenders[TORCH], batch, indices, setting.work.backbone, rates)
    plain = count_operations(lambda: contenders[PLAIN].step(indices))
    step = result["median"] / setting.work.steps
    return {**least, **rates, "plain_operations": plain, "step_s": step}


def run_prediction(work: Prediction, crystals: Crystals, arguments: argparse.Namespace) -> dict:
    predictors = make_predictors(work, crystals)
    raced = race(predictors, arguments.rounds)
    taken = crystals.structures[: work.count]
    edges = len(work.graphs.transform(taken).edge_shift)
    rows = {model: {**row(result), "edges": edges} for model, result in raced.items()}
    return {
        "title": work.title,
        "reference": PLAIN,
        "asked": work.asked,
        "setting": f"{len(taken)} fresh pymatgen structures a round, float32.",
        "contenders": rows,
        "time goes": {
            model: breakdown(lambda model=model: predictors[model].predict(taken))
            for model in our_models(predictors)
        },
        "notes": [f"- {difference_words(predictors)}"],
    }
