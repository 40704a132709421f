"""Processes killed (SIGKILL) at random moments, while they save models and while they train.

``python -m tests.fuzz.kills --saves 500 --trainings 100``: nothing may be lost, and nothing left
behind once the next one has ended.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import (
    make_emt_frames,
    make_emt_property,
    read_frames,
    read_parquet,
    to_extxyz,
    to_parquet,
)
from gnnpre.graphs import Crystals

#: Trainings of one run that go on at the same time, in one folder of states.
PROCESSES, THREADS = 3, 3


def main() -> int:
    """Kill, and return 1 if anything was lost or left behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.kills", description=__doc__)
    parser.add_argument(
        "--saves", type=int, default=500, help="kills of a save or write, to each kind of path"
    )
    parser.add_argument(
        "--trainings", type=int, default=100, help="kills of a training, of each kind"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    random.seed(options.seed)
    results = {}
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        for path in ("model.gnnpre", "model"):
            results[f"save to {path}"] = kill_saves(folder / f"saves-{path}", path, options.saves)
        for path in ("frames.extxyz", "frames.parquet"):
            results[f"write {path}"] = kill_writes(folder / f"writes-{path}", path, options.saves)
        for together in (in_processes, in_threads):
            results[f"training {together.__name__}"] = kill_trainings(
                folder / together.__name__, together, options.trainings
            )
    print(json.dumps(results, indent=1))
    return int(any(result["faults"] for result in results.values()))


def make_model(seed: int, **settings: Any) -> PropertyRegressor:
    """Return a regressor that trains in a tenth of a second, from one of two seeds."""
    return PropertyRegressor(
        CGCNN(16, 1), max_epochs=12, batch_size=8, random_state=seed, ema_decay=0.9, **settings
    )


def make_data() -> tuple[Any, np.ndarray]:
    """Return graphs and a property."""
    structures, y = make_emt_property(24, max_atoms=4, random_state=0)
    return StructureToGraph(cutoff=4.0).fit_transform(structures), y


def kill_saves(folder: Path, name: str, kills: int) -> dict[str, Any]:
    """Kill a process that saves two models in turn to one path; one of the two must be there."""
    folder.mkdir()
    path, (graphs, y) = folder / name, make_data()
    models = [make_model(seed).fit(graphs, y) for seed in (0, 1)]
    allowed = [model.predict(graphs) for model in models]
    models[0].save(path)
    duration = _seconds(lambda: models[1].save(path))
    faults = []
    for number in range(kills):
        child = _fork(lambda: _save_forever(models, path))
        time.sleep(random.uniform(0, 4 * duration))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        faults += _lost(number, path, graphs, allowed)
    # What killed processes left is removed by the next save.
    models[0].save(path)
    left_behind = sorted({entry.name for entry in folder.iterdir()} - {name})
    return {"kills": kills, "faults": faults + [f"left behind: {entry}" for entry in left_behind]}


def kill_writes(folder: Path, name: str, kills: int) -> dict[str, Any]:
    """Kill a process that writes two sets of frames in turn to one path; one must be there."""
    folder.mkdir()
    path = folder / name
    write, read = (
        (to_parquet, read_parquet) if name.endswith("parquet") else (to_extxyz, read_frames)
    )
    sets = [make_emt_frames(40, max_atoms=4, random_state=seed) for seed in (0, 1)]
    sets = [(Crystals.from_structures(frames), labels) for frames, labels in sets]
    write(path, *sets[0])
    duration = _seconds(lambda: write(path, *sets[1]))

    def write_forever() -> None:
        while True:
            for crystals, labels in sets:
                write(path, crystals, labels)

    faults = []
    for number in range(kills):
        child = _fork(write_forever)
        time.sleep(random.uniform(0, 4 * duration))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            energy = read(path)[1].energy
        except Exception as error:
            faults.append(f"kill {number}: {type(error).__name__}: {error}"[:200])
            continue
        if not any(np.allclose(energy, labels.energy) for _, labels in sets):
            faults.append(f"kill {number}: the frames are of neither set")
    write(path, *sets[0])
    left_behind = sorted({entry.name for entry in folder.iterdir()} - {name})
    return {"kills": kills, "faults": faults + [f"left behind: {entry}" for entry in left_behind]}


def _save_forever(models: list[PropertyRegressor], path: Path) -> None:
    while True:
        for model in models:
            model.save(path)


def _lost(number: int, path: Path, graphs: Any, allowed: list[np.ndarray]) -> list[str]:
    try:
        predicted = PropertyRegressor.load(path).predict(graphs)
    except Exception as error:
        return [f"kill {number}: {type(error).__name__}: {error}"[:200]]
    if any(np.array_equal(predicted, values) for values in allowed):
        return []
    return [f"kill {number}: the model predicts neither what the old nor what the new one did"]


def kill_trainings(folder: Path, together: Callable[..., int], kills: int) -> dict[str, Any]:
    """Kill groups of equal trainings that share a folder of states, and let them go on.

    A run is killed a few times; then it ends in peace, and must have the weights of a run that
    nobody disturbed.
    """
    folder.mkdir()
    graphs, y = make_data()
    start = time.monotonic()
    expected = make_model(0).fit(graphs, y).predict(graphs)
    duration = time.monotonic() - start
    done, runs, faults = 0, 0, []
    while done < kills:
        states, runs = folder / f"states-{runs}", runs + 1
        for _ in range(min(random.randint(1, 4), kills - done)):
            child = _fork(lambda states=states: together(states, graphs, y, expected))
            time.sleep(random.uniform(0, 1.5 * duration))
            _kill_group(child)
            done += 1
        status = os.waitstatus_to_exitcode(
            os.waitpid(_fork(lambda states=states: together(states, graphs, y, expected)), 0)[1]
        )
        if status:
            faults.append(f"run {runs}: status {status}")
        faults += [f"run {runs} left {name}" for name in _leftovers(states)]
    return {"kills": done, "runs": runs, "faults": faults}


def in_processes(states: Path, graphs: Any, y: np.ndarray, expected: np.ndarray) -> int:
    """Train the same model in several processes at once."""
    children = [
        _fork(lambda: _train(states, graphs, y, expected), new_group=False)
        for _ in range(PROCESSES)
    ]
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children)


def in_threads(states: Path, graphs: Any, y: np.ndarray, expected: np.ndarray) -> int:
    """Train the same model in several threads at once."""
    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(lambda _: _train(states, graphs, y, expected), range(THREADS)))


def _train(states: Path, graphs: Any, y: np.ndarray, expected: np.ndarray) -> int:
    """Train, and return 1 if the predictions are not those of an undisturbed run."""
    model = make_model(0, checkpoint_dir=str(states), resume=True)
    return int(not np.array_equal(model.fit(graphs, y).predict(graphs), expected))


def _leftovers(states: Path) -> list[str]:
    return sorted(path.name for path in states.iterdir() if path.suffix != ".safetensors")


def _fork(action: Callable[[], Any], *, new_group: bool = True) -> int:
    """Run an action in a child, whose exit status is what it returns; return its number."""
    if child := os.fork():
        return child
    status = 1
    try:
        if new_group:
            os.setpgid(0, 0)
        status = int(action() or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(min(status, 125))


def _kill_group(child: int) -> None:
    """Kill a child and its children."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:  # it has not even made its group yet
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _seconds(action: Callable[[], Any]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


if __name__ == "__main__":
    sys.exit(main())
