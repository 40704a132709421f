"""Works of the benchmark of speed, in a process that runs one revision of gnnpre.

The works are those of that revision's own benchmarks, which differ in nothing that is timed.
"""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # This folder holds modules of such names as graphs and training.
    sys.path.pop(0)

import torch
from common import serve, stopwatch

from gnnpre import StructureToGraph


def make_contenders() -> dict[str, Callable]:
    """Return the contenders of all works that were asked for, by work and contender."""
    from speed.crystals import plan, read_crystals
    from speed.run import our_contenders
    from speed.training import Setting
    from speed.works import TRAININGS

    torch.set_num_threads(1)
    names, n_crystals = pickle.loads(Path(sys.argv[-1]).read_bytes())
    crystals = read_crystals(n_crystals)
    contenders: dict[str, Callable] = {}
    for name in names:
        if name in TRAININGS:
            work = TRAININGS[name]
            setting = Setting(work, crystals)
            made = our_contenders(setting, plan(n_crystals, work.batch_size))
        else:
            made = other_contenders(name, crystals)
        contenders |= {f"{name}: {contender}": timed for contender, timed in made.items()}
    return {"names": lambda: [list(contenders)], **contenders}


def other_contenders(name: str, crystals: Any) -> dict[str, Callable]:
    """Return the contenders of a work without training."""
    import fingerprints_speed

    from speed import fingerprints, graphs
    from speed.prediction import make_predictors
    from speed.works import OURS, PREDICTIONS

    if name in PREDICTIONS:
        return make_predictors(PREDICTIONS[name], crystals)
    if name in graphs.WORKS:
        structures = crystals.structures[: graphs.COUNT]
        transformer: Any = StructureToGraph(graphs.WORKS[name])
    else:
        taken = [graphs.as_tuple(s) for s in crystals.structures[: fingerprints.COUNT]]
        structures = fingerprints_speed.as_structures(taken, fingerprints_speed.SILICON)
        transformer = fingerprints_speed.symmetry_functions(fingerprints.FUNCTIONS, "float64")
    pickled = pickle.dumps(structures)

    def transform() -> tuple[list[float], int]:
        fresh = pickle.loads(pickled)
        seconds, _ = stopwatch(lambda: transformer.transform(fresh))
        return seconds, len(fresh)

    return {OURS: transform}


if __name__ == "__main__":
    serve(make_contenders)
