"""Diagnosis of fine-tuning: errors before it, without it and after it, on validation crystals."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import AtomTargets, Objective, ObjectiveModel
from gnnpre.training import predict_batches

from ._embedding import embed_graphs
from ._fit_data import FitData
from ._label_errors import PROBE_ROWS, ProbedErrors, errors_of
from ._network import TrainedNetwork

__all__ = ["LEAST_VALID", "diagnose", "predict_rows", "warn_of_failure"]

# With fewer crystals to validate on, a difference means nothing.
LEAST_VALID = 10
# Crystals that the training error is taken from.
TRAINING_ROWS = 1000


def diagnose(
    network: TrainedNetwork,
    initial: dict[str, Tensor],
    data: FitData,
    blend_errors: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Compare a fine-tuned network with the pre-trained one.

    Parameters
    ----------
    network : TrainedNetwork
        The fine-tuned network.
    initial : dict of str to Tensor
        Its weights before the first step.
    data : FitData
        The crystals.
    blend_errors : dict of str to float, optional
        Validation errors of a kernel machine that shares the predictions (``"kernel"``,
        ``"blend"``). They take the place of ``frozen_probe``: a second machine on nearly the same
        features would say the same.

    Returns
    -------
    dict
        Validation errors ``zero_epochs`` (before the first step), ``frozen_probe`` (a kernel
        machine on the embeddings before it; of properties and classes of crystals alone) and
        ``final``, the ``training`` error, and ``unmoved``, names of weights that training did not
        move. Errors weigh crystals as the loss does; they are missing where too few validate.
    """
    model, objective = network.net.module_, network.record.spec.objective
    train, valid = data.weighted(data.rows.train), data.weighted(data.rows.valid)
    diagnosis: dict[str, Any] = {"unmoved": unmoved_weights(model, initial)}
    if len(valid) < LEAST_VALID:
        return diagnosis
    errors = errors_of(model, objective, data)
    some = train[:: max(1, len(train) // TRAINING_ROWS)]
    diagnosis |= blend_errors or {}

    def error(rows: np.ndarray) -> float:
        return errors.error(predict_rows(model, objective, data.graphs, rows), rows)

    with with_weights(model, initial):
        before = error(valid)
        if blend_errors is None and isinstance(errors, ProbedErrors):
            diagnosis["frozen_probe"] = _probe(model, errors, data)
    return {"zero_epochs": before, "final": error(valid), "training": error(some), **diagnosis}


def _probe(model: ObjectiveModel, errors: ProbedErrors, data: FitData) -> float:
    """Return the validation error of a kernel machine on the embeddings by a model."""
    train, valid = data.weighted(data.rows.train), data.weighted(data.rows.valid)
    # A sample: embeddings of all crystals would take an epoch's time.
    sample = np.sort(np.random.default_rng(0).permutation(train)[:PROBE_ROWS])
    features, new_features = (
        embed_graphs(model, data.graphs, rows=rows).astype(np.float64) for rows in (sample, valid)
    )
    return errors.error(errors.probe(features, sample, new_features, valid), valid)


def predict_rows(
    model: ObjectiveModel, objective: Objective, graphs: CrystalGraphs, rows: np.ndarray
) -> np.ndarray:
    """Return predictions for some rows of graphs, in float64.

    Parameters
    ----------
    model : ObjectiveModel
        The model.
    objective : Objective
        Config of its objective.
    graphs : CrystalGraphs
        The crystals.
    rows : ndarray of int
        Rows to predict.

    Returns
    -------
    ndarray of shape (len(rows), k)
        Properties in their own units, or probabilities; tensors ``(len(rows), ...)``, or values of
        all atoms, one crystal after another.
    """
    batches = predict_batches(model, graphs, rows=rows)
    predicted = objective.collect(batches, graphs.atom_counts[rows])
    if isinstance(objective, AtomTargets):
        predicted = np.concatenate(list(predicted))
    return np.asarray(predicted, dtype=np.float64)


@contextmanager
def with_weights(model: ObjectiveModel, weights: dict[str, Tensor]) -> Iterator[None]:
    """Load weights into a model inside the block, and put its own back afterwards."""
    trained = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(trained)


def unmoved_weights(model: ObjectiveModel, initial: dict[str, Tensor]) -> list[str]:
    """Return names of weights that had a gradient in the last step and did not change.

    Parameters
    ----------
    model : ObjectiveModel
        The trained model.
    initial : dict of str to Tensor
        Its weights before the first step.

    Returns
    -------
    list of str
        The names.
    """
    return [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and parameter.grad is not None
        and bool((parameter.detach().cpu() == initial[name].cpu()).all())
    ]


def warn_of_failure(diagnosis: dict[str, Any], n_epochs: int) -> None:
    """Warn if fine-tuning made the model worse, was too short, or left weights untouched.

    Parameters
    ----------
    diagnosis : dict
        Result of :func:`diagnose`.
    n_epochs : int
        Number of epochs of the training.
    """
    for message in _failures(diagnosis, n_epochs):
        warn_user(message, TrainingWarning)


def _failures(diagnosis: dict[str, Any], n_epochs: int) -> Iterator[str]:
    final, training = diagnosis.get("final", 0.0), diagnosis.get("training", 0.0)
    probe, before = diagnosis.get("frozen_probe", np.inf), diagnosis.get("zero_epochs", np.inf)
    without = min(probe, before, diagnosis.get("kernel", np.inf))
    epochs = f"{n_epochs} epoch{'s' if n_epochs > 1 else ''}"
    if final > without and training >= without:
        # It has not even learnt the crystals that it was trained on.
        yield (
            f"After {epochs} the error on the training crystals is still {training:.4g} (on the "
            f"validation crystals {final:.4g}), no better than the {without:.4g} "
            "without fine-tuning: the training was too short, or its learning rate does not suit. "
            "Raise max_epochs first."
        )
    else:
        # Where a kernel machine shares the predictions, its smaller error is put to use.
        yield from _worse_than_before(final, probe, before)
    if unmoved := diagnosis.get("unmoved"):
        yield (
            f"{len(unmoved)} weights have not moved from where they started ({unmoved[0]}, ...): "
            "their learning rate is too small for the precision. Raise learning_rate or "
            "backbone_lr_scale, or freeze them with strategy='kernel'."
        )


def _worse_than_before(final: float, probe: float, before: float) -> Iterator[str]:
    if final > probe:
        yield (
            f"Fine-tuning ended with a validation error of {final:.4g}; a kernel machine on the "
            f"frozen embeddings has {probe:.4g}: the labels are too few for the weights that were "
            "trained. Try strategy='kernel' or 'frozen_then_full', or a lower learning_rate."
        )
    if final > before:
        yield (
            f"Fine-tuning ended with a validation error of {final:.4g}, worse than the "
            f"{before:.4g} before its first step: it lost what the model had learnt. Check units "
            "and signs of y, and try a lower learning_rate."
        )
