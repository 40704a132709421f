"""Exact resume: everything that the rest of a training depends on, after each epoch, in a file.

The file is replaced as a whole, so that a kill at any moment leaves the last complete epoch.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import joblib
import torch
from skorch.callbacks import Callback
from skorch.history import History
from torch import Tensor

from gnnpre._atomic import remove_stale
from gnnpre._storage import load_tensors, save_tensors

from ._loader import CrystalDataset
from ._net import TrainingData

__all__ = ["ResumeState", "run_fingerprint"]

KIND = "training state"


def run_fingerprint(description: dict[str, Any], data: TrainingData) -> str:
    """Name a run by all that decides how it goes: models, settings, seed, crystals and targets."""
    text = json.dumps(description, sort_keys=True, default=str)
    parts = [text, _data_hash(data.train), "" if data.valid is None else _data_hash(data.valid)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


def _data_hash(dataset: CrystalDataset) -> str:
    graphs, targets = dataset.graphs, dataset.targets
    tensors = [graphs.atomic_numbers, graphs.positions, graphs.cell, graphs.pbc, graphs.n_atoms]
    tensors += [*targets.crystal.values(), *targets.atom.values()]
    arrays = [tensor.cpu().numpy() for tensor in tensors]
    return str(joblib.hash([*arrays, dataset.indices, graphs.settings.to_dict()]))


class ResumeState(Callback):
    """Write the state of a training after each epoch, and take it up at the start.

    Callbacks with methods ``state()`` (JSON-able) and ``load_state(state)`` are resumed too; those
    of others start anew.
    """

    def __init__(self, folder: str | Path, fingerprint: str, resume: bool) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.resume = resume

    @property
    def path(self) -> Path:
        """The file of this run."""
        return Path(self.folder) / f"{self.fingerprint}.safetensors"

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Take up the state of this run where there is one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(self.path.parent)
        if self.resume and self.path.exists():
            tensors, state = load_tensors(self.path, kind=KIND)
            # Without a cosine a longer training has the same name; its weights are not these.
            if len(state["history"]) <= net.max_epochs:
                _load_state(net, tensors, state)
                if kept := dict(net.callbacks_).get("epoch_checkpoints"):
                    kept.take_up(net)

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        """Write the state."""
        optimizer = net.optimizer_.state_dict()
        tensors = {f"model.{name}": value for name, value in net.module_.state_dict().items()}
        for index, slots in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        tensors |= _randomness(net)
        if net.average is not None:
            tensors |= {f"average.{key}": value for key, value in net.average.state_dict().items()}
        callbacks = dict(net.callbacks_)
        best = getattr(callbacks.get("best"), "weights_", None) or {}
        tensors |= {f"best.{name}": value for name, value in best.items()}
        state = {
            "optimizer": optimizer["param_groups"],
            "callbacks": {k: c.state() for k, c in callbacks.items() if hasattr(c, "state")},
            "stopped": net.stopped,
            "average_updates": 0 if net.average is None else net.average.n_updates,
            "history": [_without_batches(row) for row in net.history],
        }
        copies = {name: value.detach().clone() for name, value in tensors.items()}
        save_tensors(self.path, copies, kind=KIND, metadata=_to_json(state))


def _prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {
        key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)
    }


def _load_state(net: Any, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    _load_weights(net, tensors)
    _load_optimizer(net, tensors, state["optimizer"])
    _load_randomness(net, tensors)
    _load_callbacks(net, tensors, state)
    net.history = History(_from_json(state["history"]))
    net.stopped = state["stopped"]


def _load_weights(net: Any, tensors: dict[str, Tensor]) -> None:
    net.module_.load_state_dict(_prefixed(tensors, "model"))


def _load_optimizer(net: Any, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in _prefixed(tensors, "optimizer").items():
        index, name = key.split(".", 1)
        slots.setdefault(int(index), {})[name] = value.clone()
    net.optimizer_.load_state_dict({"state": slots, "param_groups": groups})


def _randomness(net: Any) -> dict[str, Tensor]:
    states = {"random.loader": net.generator.get_state(), "random.torch": torch.get_rng_state()}
    if torch.device(net.device).type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(net.device)
    return states


def _load_randomness(net: Any, tensors: dict[str, Tensor]) -> None:
    net.generator.set_state(tensors["random.loader"].clone())
    torch.set_rng_state(tensors["random.torch"].clone())
    if "random.cuda" in tensors and torch.device(net.device).type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"].clone(), net.device)


def _load_callbacks(net: Any, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    if net.average is not None:
        net.average.load_state_dict(_prefixed(tensors, "average"), state["average_updates"])
    callbacks = dict(net.callbacks_)
    for name, saved in state["callbacks"].items():
        if not hasattr(callbacks.get(name), "load_state"):
            raise ValueError(
                f"The state to resume from holds that of a callback {name!r}, which this training "
                "does not have. Give the same callbacks, or another checkpoint_dir."
            )
        callbacks[name].load_state(_from_json(saved))
    if best := _prefixed(tensors, "best"):
        callbacks["best"].weights_ = {
            name: value.clone().to(net.device) for name, value in best.items()
        }


def _without_batches(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "batches"} | {"batches": []}


def _to_json(value: Any) -> Any:
    """Replace infinities, which JSON has no word for."""
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"float"}:
            return float(value["float"])
        return {key: _from_json(item) for key, item in value.items()}
    return [_from_json(item) for item in value] if isinstance(value, list) else value
