"""Attack: models in files whose config, weights or bytes were changed."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load, save

from gnnpre import Pretrainer, PropertyClassifier, PropertyRegressor

from .shared import Shared
from .values import damage_bytes, damage_json, damage_tensor, pick, to_json

CLASSES = {"classifier": PropertyClassifier, "forces": Pretrainer, "noise": Pretrainer}


def make_case(
    rng: np.random.Generator, folder: Path, shared: Shared
) -> tuple[str, Callable[[], Any]]:
    """Damage the file of a model, load it, and predict."""
    name = pick(rng, ["regressor", "regressor", "transformer", "classifier", "forces", "noise"])
    content = shared.files[f"{name}.gnnpre"]
    change, damaged = pick(rng, [_config, _config, _config, _weights, _weights, _members, _bytes])(
        rng, content
    )
    path = folder / "m.gnnpre"
    path.write_bytes(damaged)
    cls = CLASSES.get(name, PropertyRegressor)

    def use() -> Any:
        model = cls.load(path)
        if name == "noise":
            return model.transform(shared.crystals[0])
        if name == "classifier":
            return model.predict_proba(shared.crystals[0])
        return model.predict(shared.crystals[0])

    return f"{name}: {change}", use


def _open(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _close(files: dict[str, bytes], **settings: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **settings) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _config(rng: np.random.Generator, content: bytes) -> tuple[str, bytes]:
    files = _open(content)
    change, config = damage_json(rng, json.loads(files["config.json"]))
    if rng.random() < 0.3 and isinstance(config, dict):
        more, config = _large_value(rng, config)
        change += more
    return f"config {change}", _close({**files, "config.json": to_json(config)})


def _large_value(rng: np.random.Generator, tree: Any) -> tuple[str, Any]:
    """Set one of the numbers of the config to a large or absurd one."""
    numbers = [
        (node, key)
        for node in _dicts(tree)
        for key, value in node.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    if not numbers:
        return "", tree
    node, key = pick(rng, numbers)
    node[key] = pick(rng, [20_000, 300_000, 10**8, 10**9, 2**63, 1e30, float("nan"), -1, 0, "6"])
    return f", {key}={node[key]!r}", tree


def _dicts(tree: Any) -> list[dict[str, Any]]:
    """Return all dictionaries of a tree, however deep it is."""
    waiting, dicts = [tree], []
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            dicts.append(node)
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return dicts


def _weights(rng: np.random.Generator, content: bytes) -> tuple[str, bytes]:
    files = _open(content)
    tensors = load(files["weights.safetensors"])
    name = pick(rng, sorted(tensors))
    if rng.random() < 0.2:
        tensor = tensors.pop(name)
        change = pick(rng, ["removed", "renamed"])
        if change == "renamed":
            tensors[f"{name}x"] = tensor
    else:
        change, tensors[name] = damage_tensor(rng, tensors[name])
    tensors = {key: value.contiguous() for key, value in tensors.items()}
    return f"weight {name}: {change}", _close({**files, "weights.safetensors": save(tensors)})


def _members(rng: np.random.Generator, content: bytes) -> tuple[str, bytes]:
    files = _open(content)
    name = pick(rng, sorted(files))
    action = pick(rng, ["remove", "rename", "compress", "bomb", "cut", "damage"])
    settings: dict[str, Any] = {}
    if action == "remove":
        del files[name]
    elif action == "rename":
        files[pick(rng, ["../../x", "/etc/x", "a/b", " "])] = files.pop(name)
    elif action == "compress":
        settings["compression"] = pick(
            rng, [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
        )
    elif action == "bomb":
        settings["compression"] = zipfile.ZIP_DEFLATED
        files[name] = bytes(200_000_000)
    elif action == "cut":
        files[name] = files[name][: int(rng.integers(len(files[name])))]
    else:
        files[name] = damage_bytes(rng, files[name])
    return f"member {name}: {action}", _close(files, **settings)


def _bytes(rng: np.random.Generator, content: bytes) -> tuple[str, bytes]:
    return "bytes damaged", damage_bytes(rng, content)
