"""Fitted estimators as files: weights as safetensors, all else as JSON, nothing executable."""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from gnnpre._prefixes import add_prefix, select_prefix
from gnnpre._registry import registered_classes
from gnnpre._version import __version__
from gnnpre._warnings import StorageWarning, warn_user
from gnnpre.graphs import GraphSettings
from gnnpre.pretrained import is_shipped
from gnnpre.training import (
    ModelSpec,
    TrainingSettings,
    WriteEpoch,
    from_spec,
    restore_net,
    save_checkpoint,
    to_spec,
)

from ._history import history_rows
from ._network import ModelRecord, TrainedNetwork

__all__ = [
    "REMEDY",
    "ModelFile",
    "check_recorded_paths",
    "checked_classes",
    "epoch_writer",
    "model_contents",
    "parse_model",
    "saved_parameters",
]

# Prefix of the arrays that are not weights of the network.
ARRAYS = "arrays"
REMEDY = "It was written by another version of gnnpre, or changed: save it again."
# Parameters that name files of whoever saved the model; nested ones (pretraining__...) too.
PATH_PARAMETERS = ("checkpoint_dir", "pretrained", "replay")


class RecordedPath(str):
    """A path that a model file names: fit refuses it until the user sets it anew."""

    __slots__ = ()


@dataclass(frozen=True)
class ModelFile:
    """Contents of the file of a fitted estimator.

    Parameters
    ----------
    parameters : dict
        Parameters of the estimator.
    network : TrainedNetwork
        The trained network.
    learnt : dict
        Further fitted attributes.
    arrays : dict of str to ndarray
        Arrays of a kernel machine.
    classes : mapping of str to type
        Classes that the file may name.
    """

    parameters: dict[str, Any]
    network: TrainedNetwork
    learnt: dict[str, Any]
    arrays: dict[str, np.ndarray]
    classes: Mapping[str, type]


def model_contents(
    *,
    class_name: str,
    parameters: Mapping[str, Any],
    network: TrainedNetwork,
    learnt: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the config that the file of a fitted estimator holds.

    Parameters
    ----------
    class_name : str
        Name of the estimator's class.
    parameters : mapping
        Its parameters, as :func:`saved_parameters` returned them.
    network : TrainedNetwork
        The trained network.
    learnt : mapping
        Further fitted attributes, JSON-serializable.
    arrays : mapping of str to ndarray
        Arrays of a kernel machine, beside the weights of the network.

    Returns
    -------
    tensors : dict of str to Tensor
        Weights and arrays.
    config : dict
        All else, JSON-serializable.
    """
    config = _config(class_name, parameters, network.record)
    config |= {"extra": dict(learnt), "history": history_rows(network.net.history)}
    tensors = {
        name: torch.from_numpy(np.asarray(array, order="C")) for name, array in arrays.items()
    }
    weights = network.net.module_.state_dict()
    return {**weights, **add_prefix(ARRAYS, tensors)}, config


def epoch_writer(class_name: str, parameters: Mapping[str, Any], record: ModelRecord) -> WriteEpoch:
    """Return the function that writes the model of one of the ``checkpoint_epochs``."""
    config = _config(class_name, parameters, record)

    def write(
        paths: dict[int, str], weights: dict[str, Tensor], history: list[dict[str, Any]]
    ) -> None:
        learnt = {"extra": {"checkpoints_": paths}, "history": history_rows(history)}
        save_checkpoint(list(paths.values())[-1], weights, {**config, **learnt})

    return write


def _config(class_name: str, parameters: Mapping[str, Any], record: ModelRecord) -> dict[str, Any]:
    """Return the entries of a file that training does not change."""
    return {
        "kind": class_name,
        "parameters": dict(parameters),
        "spec": record.spec.to_dict(),
        "graphs": record.graph_settings.to_dict(),
        "elements": record.elements,
        "data": record.data,
        "versions": _versions(),
    }


def parse_model(
    weights: dict[str, Tensor],
    config: Mapping[str, Any],
    cls: type,
    classes: Iterable[type],
    loadable: Iterable[type],
) -> ModelFile:
    """Build the contents of a file from its tensors and its config.

    Parameters
    ----------
    weights : dict of str to Tensor
        Its tensors.
    config : mapping
        Its config.
    cls : type
        Class of the estimator, which the file must hold.
    classes : iterable of type
        The user's own backbones and objectives.
    loadable : iterable of type
        Further classes that may occur among the parameters.

    Returns
    -------
    ModelFile
        The contents.

    Raises
    ------
    ValueError, TypeError, KeyError
        If an entry is missing or not as expected.
    """
    # Only registered and passed classes are made: no code comes from the file.
    extra = {item.__name__: item for item in (*loadable, *classes)}
    allowed = {**registered_classes(), **extra}
    parameters = {key: from_spec(item, allowed) for key, item in config["parameters"].items()}
    spec = ModelSpec.from_dict(config["spec"], allowed)
    settings = TrainingSettings.from_parameters(cls(**parameters).get_params(deep=False))
    graph_settings = GraphSettings.from_dict(config["graphs"])
    # A damaged or altered config would build graphs that the weights never saw.
    if spec.cutoff != graph_settings.cutoff:
        raise ValueError(
            f"the cutoff of its model is {spec.cutoff}, that of its graphs {graph_settings.cutoff}"
        )
    arrays = {name: value.numpy() for name, value in select_prefix(ARRAYS, weights).items()}
    weights = {name: w for name, w in weights.items() if not name.startswith(f"{ARRAYS}.")}
    net = restore_net(spec, weights, settings)
    net.history.extend(config["history"])
    _check_record(config)
    record = ModelRecord(spec, graph_settings, config["elements"], config["data"])
    network = TrainedNetwork(net, record)
    return ModelFile(mark_paths(parameters), network, config["extra"], arrays, allowed)


def checked_classes(classes: Any) -> list[type]:
    items = list(classes) if isinstance(classes, Iterable) else [classes]
    for item in items:
        if not isinstance(item, type) or item is classes:
            raise TypeError(
                f"classes={classes!r}; expected a list of classes, such as classes=[MyBackbone]."
            )
    return items


def _check_record(config: Mapping[str, Any]) -> None:
    """Check the record of the training data and of the training in a file."""
    elements = config["elements"]
    if not isinstance(elements, list) or not all(type(z) is int and 0 < z < 119 for z in elements):
        raise ValueError(f"elements={elements!r}; expected atomic numbers")
    for name in ("data", "extra"):
        if not isinstance(config[name], dict):
            raise ValueError(f"{name}={config[name]!r}; expected an object")
    history = config["history"]
    if not isinstance(history, list) or not all(isinstance(row, dict) for row in history):
        raise ValueError("history is not a list of objects")


def mark_paths(parameters: dict[str, Any]) -> dict[str, Any]:
    """Mark the paths among the parameters of a file, nested ones too."""
    for value in parameters.values():
        if isinstance(value, BaseEstimator):
            nested = mark_paths(value.get_params(deep=False))
            value.set_params(**{key: item for key, item in nested.items() if _is_marked(item)})
    return {
        name: RecordedPath(value) if name in PATH_PARAMETERS and _is_path(value) else value
        for name, value in parameters.items()
    }


def _is_path(value: Any) -> bool:
    # The name of a model in the package means the same file everywhere.
    return isinstance(value, str) and not is_shipped(value)


def _is_marked(value: Any) -> bool:
    return isinstance(value, RecordedPath)


def check_recorded_paths(parameters: Mapping[str, Any]) -> None:
    """Raise ValueError if a path came with a model file and nobody has confirmed it.

    Parameters
    ----------
    parameters : mapping
        Parameters of the estimator to fit, nested ones too.

    Raises
    ------
    ValueError
        If a parameter is a path of whoever saved the model.
    """
    for name, value in parameters.items():
        if _is_marked(value):
            raise ValueError(
                f"{name}={str(value)!r} came with the file that this estimator was loaded from, "
                "and fit would use that path. Confirm it, or choose another one, with "
                f"set_params({name}=...) before you fit again."
            )


def saved_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON, with a warning for those that only a new fit would use.

    Parameters
    ----------
    parameters : mapping
        Parameters of the estimator.

    Returns
    -------
    dict
        Those that can be written.
    """
    saved, unsaved = {}, []
    for name, value in parameters.items():
        try:
            saved[name] = to_spec(value, name)
        except TypeError:
            unsaved.append(name)
    if unsaved:
        warn_user(
            f"{', '.join(unsaved)} cannot be written as JSON and will have default values in "
            "the loaded estimator: its predictions are the same, a new fit would differ.",
            StorageWarning,
        )
    return saved


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "skorch", "scikit-learn", "numpy")}
    return {"gnnpre": __version__, "python": platform.python_version(), **packages}
