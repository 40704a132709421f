"""Attack: arrays and arguments of Crystals, and what is done with crystals that were accepted."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnpre import StructureToGraph
from gnnpre.graphs import Crystals

from .labels import column
from .outcomes import WrongResult
from .shared import Shared
from .values import damage_tensor, pick, strange_value


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Damage one argument of the constructor, or call a method with a strange one."""
    crystals = Crystals.from_structures(shared.crystals[0])
    if rng.random() < 0.3:
        return _method(rng, crystals, shared)
    arguments: dict[str, Any] = {
        "atomic_numbers": crystals.atomic_numbers,
        "positions": crystals.positions,
        "cell": crystals.cell,
        "n_atoms": crystals.n_atoms,
        "pbc": crystals.pbc,
        "ids": np.array([f"mp-{row}" for row in range(len(crystals))]),
        "info": {"K": shared.crystals[1]},
        "index": np.arange(len(crystals)),
    }
    name = pick(rng, list(arguments))
    change, arguments[name] = _damage(rng, name, arguments[name], len(crystals))
    use = pick(rng, [_slice, _graphs, _atoms, _round_trip])
    return f"Crystals, {name}: {change}, {use.__name__}", lambda: use(Crystals(**arguments))


def _damage(rng: np.random.Generator, name: str, value: Any, n: int) -> tuple[str, Any]:
    if rng.random() < 0.2:
        strange = strange_value(rng)
        return f"{strange!r:.80}", strange
    if name == "info":
        values = column(rng, n)
        return f"column {values!r:.80}", {pick(rng, ["K", "", 3, None]): values}
    if name in ("ids", "index"):
        values = column(rng, n)
        return f"{values!r:.80}", values
    change, tensor = damage_tensor(rng, torch.as_tensor(value))
    return change, tensor if rng.random() < 0.3 else tensor.numpy()


def _slice(crystals: Crystals) -> Any:
    rows = np.arange(len(crystals))[::-1]
    turned = Crystals.concatenate([crystals[rows], crystals[:1]])
    return [turned.positions, turned.cell]


def _graphs(crystals: Crystals) -> Any:
    return StructureToGraph(cutoff=4.0).fit_transform(crystals)


def _atoms(crystals: Crystals) -> Any:
    return [crystals.to_atoms()[-1].positions, crystals[0].cart_coords]


def _round_trip(crystals: Crystals) -> Any:
    loaded = pickle.loads(pickle.dumps(crystals))
    for name in ("positions", "cell", "n_atoms", "atomic_numbers", "pbc"):
        if not np.array_equal(getattr(loaded, name), getattr(crystals, name)):
            raise WrongResult(f"{name} differs after a pickle")
    return [loaded.positions]


def _method(
    rng: np.random.Generator, crystals: Crystals, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    value = column(rng, len(crystals)) if rng.random() < 0.3 else strange_value(rng)
    structures = shared.crystals[0]
    methods: dict[str, Callable[[], Any]] = {
        "crystals[key]": lambda: len(crystals[value]),
        "split": lambda: [piece.positions for piece in crystals.split(value)],
        "from_structures": lambda: Crystals.from_structures(value).positions,
        "from_structures(ids)": lambda: len(Crystals.from_structures(structures, ids=value)),
        "from_structures(info)": lambda: len(Crystals.from_structures(structures, info=value)),
        "from_structures(index)": lambda: len(Crystals.from_structures(structures, index=value)),
        "concatenate": lambda: Crystals.concatenate(value).positions,
        "concatenate blocks": lambda: Crystals.concatenate([crystals, value]).positions,
        "one of the structures": lambda: Crystals.from_structures([*structures, value]).positions,
    }
    name = pick(rng, list(methods))
    return f"{name}, {value!r:.100}", methods[name]
