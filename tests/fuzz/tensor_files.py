"""Attack: saved graphs, labels and states of trainings, with damage."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.torch import save

from gnnpre import CrystalGraphs, FrameLabels
from gnnpre._storage import file_metadata

from .shared import Shared
from .values import damage_bytes, damage_json, damage_tensor, pick


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Damage a file, load it and use what was loaded."""
    content_type = pick(rng, ["graphs", "graphs", "labels", "state"])
    name = next(n for n in shared.files if _kind(n) == content_type)
    change, content = _damage(rng, shared.folder / name)
    path = folder / name
    path.write_bytes(content)
    use = {"graphs": _use_graphs, "labels": _use_labels, "state": _use_state}[content_type]
    return f"{content_type}: {change}", lambda: use(path, shared)


def _kind(name: str) -> str:
    if name in ("graphs.safetensors", "labels.safetensors"):
        return name.partition(".")[0]
    return "state" if name.endswith(".safetensors") else "model"


def _use_graphs(path: Path, shared: Shared) -> Any:
    graphs = CrystalGraphs.load(path)
    reverse = graphs[::-1]
    model = shared.models["regressor"]
    return [model.predict(graphs), model.predict(reverse), graphs.to_data_list()[0].pos]


def _use_labels(path: Path, shared: Shared) -> Any:
    labels = FrameLabels.load(path)
    model = shared.resumable(path.parent / "states").set_params(resume=False, checkpoint_dir=None)
    energy = np.nan_to_num(labels[::-1].energy, posinf=np.inf, neginf=-np.inf)
    return [
        energy,
        model.fit(shared.frame_graphs[: len(labels)], labels.energy).predict(shared.graphs),
    ]


def _use_state(path: Path, shared: Shared) -> Any:
    model = shared.resumable(path.parent).set_params(max_epochs=1)
    return model.fit(shared.graphs, shared.crystals[1]).predict(shared.graphs)


def _damage(rng: np.random.Generator, path: Path) -> tuple[str, bytes]:
    if rng.random() < 0.2:
        return "bytes damaged", damage_bytes(rng, path.read_bytes())
    with safe_open(str(path), framework="pt") as file:
        metadata = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if rng.random() < 0.35:
        change, header = damage_json(rng, json.loads(metadata["gnnpre"]))
        metadata["gnnpre"] = json.dumps(header) if rng.random() < 0.95 else "{"
    else:
        change = _damage_tensors(rng, tensors)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if rng.random() < 0.7:  # else the checksum finds all damage
        metadata = file_metadata(metadata["gnnpre"], tensors)
    return change, save(tensors, metadata=metadata)


def _damage_tensors(rng: np.random.Generator, tensors: dict[str, Any]) -> str:
    name = pick(rng, sorted(tensors))
    action = pick(rng, ["damage", "damage", "damage", "remove", "add", "shift"])
    if action == "remove":
        del tensors[name]
    elif action == "add":
        tensors[pick(rng, ["x", "cutoff", f"{name}.x"])] = tensors[name].clone()
    elif action == "shift" and tensors[name].numel() > 1 and tensors[name].ndim == 1:
        # Sums stay right: the hardest damage to see.
        amount = pick(rng, [1, -1, 2000, -2000, 2**30])
        first, second = rng.choice(tensors[name].numel(), size=2, replace=False)
        changed = tensors[name].clone()
        changed[first], changed[second] = changed[first] - amount, changed[second] + amount
        tensors[name] = changed
    else:
        change, tensors[name] = damage_tensor(rng, tensors[name])
        return f"{name}: {change}"
    return f"{name}: {action}"
