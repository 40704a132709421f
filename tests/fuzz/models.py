"""Attack: arguments and labels of ensembles, kernel machines, features and calculators."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from gnnpre import CGCNN, FoundationFeatures, PropertyEnsemble, PropertyRegressor
from gnnpre.calculators import ForceFieldCalculator, relax_structures
from gnnpre.estimators import KernelClassifier, KernelRegressor

from .labels import column
from .shared import QUICK, Shared
from .values import NUMBERS, pick, strange_value


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Choose a model, and make one of its arguments strange."""
    attack = pick(
        rng, [_ensemble, _ensemble, _kernel, _kernel, _kernel, _features, _calculator, _relaxation]
    )
    return attack(rng, folder, shared)


def _value(rng: np.random.Generator, n: int) -> Any:
    return column(rng, n) if rng.random() < 0.4 else strange_value(rng)


def _ensemble(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    X, y = shared.graphs, shared.crystals[1]
    member = ("a", PropertyRegressor(CGCNN(4, 1), **QUICK))
    settings: dict[str, Any] = {"members": [member], "cv": 2, "random_state": 0}
    settings |= {"pretrained": None, "max_time": None, "verbose": 0, "device": "cpu"}
    calls: dict[str, Any] = {"X": X, "y": y, "groups": None, "sample_weight": None}
    calls |= {"predict": X, "confidence": 0.9}
    name = pick(rng, [*settings, *calls])
    value = _value(rng, len(y))
    if name == "members" and rng.random() < 0.7:
        value = [(pick(rng, ["b", "blend", "", 1, None]), value), member][: pick(rng, [1, 2])]
    (settings if name in settings else calls)[name] = value

    def use() -> Any:
        model = PropertyEnsemble(**settings)
        model.fit(calls["X"], calls["y"], calls["groups"], calls["sample_weight"])
        bounds = model.predict_interval(calls["predict"], calls["confidence"])
        return [*model.predict(calls["predict"], return_std=True), *bounds]

    return f"PropertyEnsemble, {name}={value!r:.120}", use


def _kernel(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    is_regressor = rng.random() < 0.6
    table = rng.normal(size=(12, 3))
    change, changed = _table(rng, table)
    arguments: dict[str, Any] = {"X": table, "y": table[:, 0], "sample_weight": np.ones(12)}
    if not is_regressor:
        arguments["y"] = np.array(list("aabbab" * 2))
    settings: dict[str, Any] = {"random_state": 0}
    action = pick(rng, ["X", "y", "y", "sample_weight", "setting", "predict"])
    if action == "X":
        arguments["X"] = changed
    elif action in ("y", "sample_weight"):
        arguments[action] = column(rng, 12)
        change = f"{arguments[action]!r:.120}"
    elif action == "setting":
        names = {"transforms", "blocks", "max_tuning", "max_exact", "random_state"}
        cls = KernelRegressor if is_regressor else KernelClassifier
        name = pick(rng, sorted(names & set(cls().get_params())))
        settings[name] = strange_value(rng)
        change = f"{name}={settings[name]!r:.120}"
    new = changed if action == "predict" else table

    def use() -> Any:
        if is_regressor:
            model: Any = KernelRegressor(**settings).fit(**arguments)
            return list(model.predict(new, return_std=True))
        model = KernelClassifier(**settings).fit(**arguments)
        return model.predict_proba(new)

    return f"{'regressor' if is_regressor else 'classifier'}, {action}: {change}", use


def _table(rng: np.random.Generator, table: np.ndarray) -> tuple[str, Any]:
    """Return a table with strange values, columns or shape."""
    changed = table.copy()
    action = pick(rng, ["value", "constant", "huge", "tiny", "shape", "rows", "object"])
    if action == "value":
        value = pick(rng, [np.nan, np.inf, 1e300, -1e38, 1e-320, 0.0])
        changed[2, 1] = value
        return f"value {value}", changed
    if action == "constant":
        return action, np.zeros_like(table)
    if action in ("huge", "tiny"):
        return action, changed * (1e300 if action == "huge" else 1e-300)
    if action == "shape":
        return action, pick(rng, [changed[:, 0], changed[:, :2], changed[None], changed[:, :0]])
    if action == "rows":
        return action, changed[: int(rng.integers(2))]
    value = strange_value(rng)
    return f"{value!r:.80}", value


def _features(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    name = pick(rng, ["model", "layer", "pooling", "batch_size", "cache", "device"])
    value = strange_value(rng)
    settings = {"model": pick(rng, ["chgnet", "diep"]), "cache": str(folder), name: value}

    def use() -> Any:
        features = FoundationFeatures(**settings)
        features.check_parameters()
        return len(features.get_feature_names_out()) if features.pooling is not None else 0

    return f"FoundationFeatures({name}={value!r:.100})", use


def _calculator(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    atoms = _strange_atoms(rng)
    settings: dict[str, Any] = {"model": shared.models["forces"], "device": "cpu"}
    change = ""
    if rng.random() < 0.6:
        name = pick(rng, ["model", "skin", "dtype", "device"])
        settings[name] = strange_value(rng)
        change = f"{name}={settings[name]!r:.100}"
        atoms = bulk("Cu")

    def use() -> Any:
        atoms.calc = ForceFieldCalculator(**settings)
        results = [atoms.get_potential_energy(), atoms.get_forces()]
        return [*results, atoms.get_stress()] if atoms.pbc.all() else results

    return f"ForceFieldCalculator({change}), {_describe(atoms)}", use


def _describe(atoms: Atoms) -> str:
    # repr fails for some of them.
    return f"{atoms.numbers} {atoms.positions.tolist()} {atoms.cell.array.tolist()} {atoms.pbc}"


def _strange_atoms(rng: np.random.Generator) -> Atoms:
    """Return atoms with strange positions, cell, pbc or number."""
    atoms = bulk("Cu", cubic=True)
    action = pick(rng, ["position", "cell", "scale", "pbc", "empty", "number", "together"])
    if action == "position":
        atoms.positions[1] = pick(rng, [1e3, 1e8, 1e10, 1e300, np.nan, np.inf, -1e9])
    elif action == "cell":
        atoms.cell[pick(rng, [0, 1, 2])] = pick(rng, [0.0, 1e-9, 1e9, np.nan, np.inf])
    elif action == "scale":
        atoms.set_cell(atoms.cell * pick(rng, [0.0, 1e-3, 0.1, 1e3, -1.0]), scale_atoms=True)
    elif action == "pbc":
        atoms.pbc = pick(rng, [[True, True, False], [False] * 3])
        atoms.cell[2] *= pick(rng, [0.0, 1.0])
    elif action == "empty":
        del atoms[:]
    elif action == "number":
        atoms.numbers[0] = pick(rng, [0, 200, -1, 1])
    else:
        atoms.positions[1] = atoms.positions[0] + pick(rng, [0.0, 1e-12, 1e-3])
    return atoms


def _relaxation(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    arguments: dict[str, Any] = {
        "structures": shared.frames[0][:2],
        "model": shared.models["forces"],
        "relax_cell": True,
        "fmax": 0.02,
        "smax": 0.001,
        "max_steps": 3,
        "max_atoms": 2000,
        "skin": 0.5,
        "dtype": "float32",
        "device": "cpu",
    }
    name = pick(rng, [*arguments, "structures", "structures"])
    value, shown = strange_value(rng), ""
    if name == "structures" and rng.random() < 0.8:
        value = [_strange_atoms(rng), bulk("Cu")]
        shown = _describe(value[0])
    elif name != "structures" and rng.random() < 0.3:
        value = pick(rng, NUMBERS)
    arguments[name] = value

    def use() -> Any:
        relaxed = relax_structures(**arguments)
        return [relaxed.energy, relaxed.crystals.positions, relaxed.largest_force]

    return f"relax_structures({name}={shown or repr(value)[:120]})", use
