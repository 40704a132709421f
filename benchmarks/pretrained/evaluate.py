"""Errors of a model on the crystals that its training held out for validation."""

from typing import Any

import numpy as np

from gnnpre import CrystalGraphs, FrameLabels, Pretrainer
from gnnpre._labels import label_codes
from gnnpre.estimators._network import split_rows
from gnnpre.estimators._settings import draw_seed

from .recipes import Recipe
from .structures import LABELS

__all__ = ["held_out_errors", "validation_rows"]

UNITS = {
    "formation_energy_eV_per_atom": "eV/atom",
    "band_gap_eV": "eV",
    "log10_K_VRH_GPa": "log10 GPa",
    "log10_G_VRH_GPa": "log10 GPa",
    "log_refractive_index": "1",
}


def validation_rows(recipe: Recipe, labels: FrameLabels) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that were trained and validated on: the split that ``fit`` makes."""
    codes = label_codes("groups", labels.groups(recipe.groups), n_rows=len(labels))
    fraction = recipe.settings["validation_fraction"]
    seed = draw_seed(recipe.settings["random_state"], resume=True)
    return split_rows(np.arange(len(labels)), fraction, codes, seed)


def held_out_errors(
    recipe: Recipe, pretrainer: Pretrainer, graphs: CrystalGraphs, labels: FrameLabels
) -> list[dict[str, Any]]:
    """Return one entry per label: mean absolute error, that of a constant, number of labels."""
    train, valid = validation_rows(recipe, labels)
    counts = {"n_train": len(train), "n_valid": len(valid)}
    if counts != {name: pretrainer.data_[name] for name in counts}:
        raise ValueError(f"the model was trained on {pretrainer.data_}; the split is {counts}")
    predictions = pretrainer.predict(graphs[valid])
    if recipe.data == "structures":
        return [
            _error(name, UNITS[name], labels.info[name][valid], np.ravel(predictions[name]),
                   np.nanmedian(labels.info[name][train]))
            for name in LABELS
        ]  # fmt: skip
    constant = float(np.nanmedian((labels.energy / labels.n_atoms)[train]))
    return _frame_errors(labels[valid], predictions, constant)


def _frame_errors(
    labels: FrameLabels, predictions: FrameLabels, constant: float
) -> list[dict[str, Any]]:
    """Return errors of all held-out frames, and of each file."""
    entries = []
    frame = np.repeat(np.arange(len(labels)), labels.n_atoms)
    true, predicted = labels.energy / labels.n_atoms, predictions.energy / labels.n_atoms
    for name in ("all", *dict.fromkeys(labels.info["file"].tolist())):
        rows = np.ones(len(labels), bool) if name == "all" else labels.info["file"] == name
        atoms = rows[frame]
        entries += [
            _error(f"energy, {name}", "eV/atom", true[rows], predicted[rows], constant),
            _error(f"forces, {name}", "eV/Å", labels.forces[atoms], predictions.forces[atoms], 0.0),
            _error(f"stress, {name}", "eV/Å^3", labels.stress[rows], predictions.stress[rows], 0.0),
        ]
    return [entry for entry in entries if entry["n"]]


def _error(
    label: str, unit: str, true: np.ndarray, predicted: np.ndarray, constant: Any
) -> dict[str, Any]:
    labelled = np.isfinite(true)
    n = int(labelled.reshape(len(true), -1).any(axis=1).sum()) if len(true) else 0
    constant = np.broadcast_to(constant, true.shape)
    return {
        "label": label,
        "unit": unit,
        "mae": float(np.abs(predicted - true)[labelled].mean()) if n else np.nan,
        "baseline": float(np.abs(constant - true)[labelled].mean()) if n else np.nan,
        "n": n,
    }
