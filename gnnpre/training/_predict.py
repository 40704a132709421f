"""Predictions in batches."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gnnpre.graphs import CrystalGraphs, is_on_disk
from gnnpre.objectives import ObjectiveModel

from ._loader import plan_batches

__all__ = ["ordinary_mode", "predict_batches"]

# Crystals and edges in a batch of prediction; derivatives of 64 channels then take about 0.5 GB.
PREDICTION_BATCH, PREDICTION_EDGES = 512, 100_000
# Crystals on disk whose graphs are built together.
PIECE_ROWS = 1024


@contextmanager
def ordinary_mode(device: torch.device) -> Iterator[None]:
    """Leave the caller's inference mode and autocast.

    Tensors of inference mode, weights too, can never be differentiated.
    """
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
        yield


def predict_batches(
    model: ObjectiveModel,
    graphs: CrystalGraphs,
    function: Callable[[Any], dict[str, Tensor]] | None = None,
    rows: np.ndarray | None = None,
) -> list[dict[str, np.ndarray]]:
    """Predict crystals in batches, in order.

    Parameters
    ----------
    model : ObjectiveModel
        The model; it is left in evaluation mode.
    graphs : CrystalGraphs
        The crystals.
    function : callable, optional
        Called with each batch; by default ``model.predict``.
    rows : ndarray of int, optional
        The crystals to predict, all by default; they are not copied out of ``graphs``.

    Returns
    -------
    list of dict of str to ndarray
        The results for each batch.
    """
    if is_on_disk(graphs):
        every = np.arange(len(graphs)) if rows is None else rows
        pieces = graphs.pieces(every, PIECE_ROWS)
        return [item for piece in pieces for item in predict_batches(model, piece, function)]
    function = model.predict if function is None else function
    # Weights decide on which device and in which precision batches are made.
    parameter = next(model.parameters())
    model.eval()
    with ordinary_mode(parameter.device):
        if rows is not None and graphs.device != parameter.device:
            graphs, rows = graphs[rows], None  # fewer to move to the GPU
        graphs = graphs.to(parameter.device)
        order = np.arange(len(graphs)) if rows is None else rows
        plan = plan_batches(order, graphs.edge_counts, PREDICTION_BATCH, PREDICTION_EDGES)
        return [
            {
                name: value.cpu().numpy()
                for name, value in function(graphs.batch(indices, parameter.dtype)).items()
            }
            for indices in plan
        ]
