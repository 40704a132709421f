"""Fitted ensembles as files: each tensor once, whichever models share it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnpre._registry import registered_classes
from gnnpre._storage import reading
from gnnpre.objectives import Bounds
from gnnpre.training import from_spec, load_checkpoint, save_checkpoint, to_spec

from ._crystal_kernel import CrystalKernel
from ._files import REMEDY, checked_classes, mark_paths, saved_parameters
from ._pretrainer import Pretrainer
from ._property_regressor import PropertyRegressor

__all__ = ["pack_models", "read_ensemble", "unpack_models", "write_ensemble"]

# Estimators that the parameters in a file may hold.
LOADABLE = (PropertyRegressor, Pretrainer, CrystalKernel)


def write_ensemble(ensemble: Any, path: str | Path) -> None:
    """Write a fitted ensemble.

    Parameters
    ----------
    ensemble : PropertyEnsemble
        The ensemble.
    path : str or Path
        The file, or a folder where the name has no suffix.
    """
    tensors, configs = pack_models(ensemble.members_)
    # JSON has no infinite numbers.
    bounds = [b if np.isfinite(b) else None for b in ensemble.uncertainty_["bounds"]]
    config = {
        "kind": type(ensemble).__name__,
        "parameters": saved_parameters(ensemble.get_params(deep=False)),
        "weights": ensemble.weights_,
        "errors": ensemble.errors_,
        "uncertainty": {**ensemble.uncertainty_, "bounds": bounds},
        "members": configs,
    }
    save_checkpoint(path, tensors, config)


def read_ensemble(
    path: str | Path, class_name: str, classes: Iterable[type]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file that :func:`write_ensemble` wrote.

    Parameters
    ----------
    path : str or Path
        File or folder.
    class_name : str
        Name of the class that it must hold.
    classes : iterable of type
        Classes of the user's that it may name.

    Returns
    -------
    parameters : dict
        Parameters of the ensemble.
    fitted : dict
        Its fitted attributes.
    """
    classes = checked_classes(classes)
    tensors, config = load_checkpoint(path, class_name)
    with reading(path, REMEDY):
        extra = {item.__name__: item for item in (*LOADABLE, *classes)}
        allowed = {**registered_classes(), **extra}
        parameters = {name: from_spec(v, allowed) for name, v in config["parameters"].items()}
        uncertainty = config["uncertainty"]
        members = unpack_models(tensors, config["members"], classes)
        shares = {name: float(share) for name, share in config["weights"].items()}
        if list(shares) != list(members):
            raise ValueError("its weights are not those of its members")
        fitted = {
            "members_": members,
            "weights_": shares,
            "errors_": {name: float(error) for name, error in config["errors"].items()},
            "uncertainty_": {
                "floor": float(uncertainty["floor"]),
                "scores": [float(score) for score in uncertainty["scores"]],
                "bounds": list(astuple(Bounds.of(uncertainty["bounds"]))),
            },
        }
    return mark_paths(parameters), fitted


def pack_models(
    members: Mapping[str, list[Any]],
) -> tuple[dict[str, Tensor], dict[str, list[dict[str, Any]]]]:
    """Return the tensors of all fitted models by their digest, and the configs of the models.

    Parameters
    ----------
    members : mapping of str to list
        The fitted models of each member.

    Returns
    -------
    tensors : dict of str to Tensor
        The frozen backbone that several models share is one tensor each.
    configs : dict of str to list of dict
        JSON-serializable, with the digest of each tensor.

    Raises
    ------
    TypeError
        If a member cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    configs: dict[str, list[dict[str, Any]]] = {}
    for name, models in members.items():
        configs[name] = []
        for model in models:
            contents, config = _contents(name, model)
            digests = {key: _digest(value) for key, value in contents.items()}
            tensors |= {digests[key]: value for key, value in contents.items()}
            configs[name].append({"config": config, "tensors": digests})
    return tensors, configs


def _contents(name: str, model: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if isinstance(model, PropertyRegressor):
        return model._contents()
    if isinstance(model, CrystalKernel):
        values, arrays = model.to_state()
        parameters = to_spec(list(model.features), name)
        config = {"kind": "CrystalKernel", "features": parameters, "state": values}
        tensors = {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
        return tensors, config
    raise TypeError(
        f"The member {name!r} is a {type(model).__name__}, which cannot be written to a file: only "
        "PropertyRegressor and the default members can. Pickle the ensemble instead."
    )


def _digest(tensor: Tensor) -> str:
    """Return a name for a tensor, by its content."""
    array = tensor.detach().cpu().contiguous().numpy()
    header = f"{array.dtype} {array.shape}".encode()
    return hashlib.sha256(header + array.tobytes()).hexdigest()[:24]


def unpack_models(
    tensors: Mapping[str, Tensor],
    configs: Mapping[str, list[Mapping[str, Any]]],
    classes: Iterable[type],
) -> dict[str, list[Any]]:
    """Return the fitted models that :func:`pack_models` described.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Tensors by their digest.
    configs : mapping of str to list of mapping
        The configs.
    classes : iterable of type
        Classes of the user's that configs may name.

    Returns
    -------
    dict of str to list
        The models of each member.
    """
    return {
        str(name): [_model(tensors, entry, list(classes)) for entry in entries]
        for name, entries in configs.items()
    }


def _model(tensors: Mapping[str, Tensor], entry: Mapping[str, Any], classes: list[type]) -> Any:
    config = entry["config"]
    contents = {name: tensors[digest] for name, digest in entry["tensors"].items()}
    if config["kind"] == "PropertyRegressor":
        return PropertyRegressor._from_contents(contents, config, classes)
    if config["kind"] != "CrystalKernel":
        raise ValueError(f"a member is a {config['kind']!r}")
    allowed = {**registered_classes(), **{item.__name__: item for item in classes}}
    model = CrystalKernel(from_spec(config["features"], allowed))
    arrays = {name: value.numpy() for name, value in contents.items()}
    model.set_state(config["state"], arrays, allowed)
    return model
