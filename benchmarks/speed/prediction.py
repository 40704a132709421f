"""Prediction of a property from structures on: an estimator of ours, and the plain reference."""

import copy
import pickle
from typing import Any

import numpy as np
import torch
from common import stopwatch
from plain import copy_weights, data_from_structure, make_plain
from sklearn.pipeline import Pipeline, make_pipeline
from torch_geometric.data import Batch

from gnnpre import PropertyRegressor

from .crystals import Crystals
from .works import OURS, PLAIN, TORCH, Prediction


class Predictor:
    """Gets structures that were unpickled a moment ago, which is not timed."""

    def __init__(self, structures: list) -> None:
        self.pickled = pickle.dumps(structures)
        self.predictions: np.ndarray | None = None

    def predict(self, structures: list) -> np.ndarray:
        raise NotImplementedError

    def __call__(self) -> tuple[list[float], dict[str, int]]:
        structures = pickle.loads(self.pickled)
        seconds, self.predictions = stopwatch(lambda: self.predict(structures))
        return seconds, {"crystals": len(self.predictions)}


class OurPredictor(Predictor):
    """A fitted pipeline."""

    def __init__(self, pipeline: Pipeline, structures: list) -> None:
        super().__init__(structures)
        self.pipeline = pipeline

    def predict(self, structures: list) -> np.ndarray:
        return self.pipeline.predict(structures)


class PlainPredictor(Predictor):
    """Graphs one by one, then batches of them."""

    def __init__(self, model: Any, work: Prediction, structures: list) -> None:
        super().__init__(structures)
        self.model = model.eval()
        self.work = work

    def predict(self, structures: list) -> np.ndarray:
        graphs, size = self.work.graphs, self.work.batch_size
        arguments = (graphs.cutoff, graphs.max_neighbors, torch.float32)
        blocks = []
        with torch.no_grad():
            for start in range(0, len(structures), size):
                chosen = structures[start : start + size]
                data = [data_from_structure(one, *arguments) for one in chosen]
                blocks.append(self.model(Batch.from_data_list(data))["properties"][:, 0])
        return torch.cat(blocks).numpy()


def make_predictors(work: Prediction, crystals: Crystals) -> dict[str, Predictor]:
    """Ours, fitted for one epoch, and the plain one with the weights that this gave."""
    regressor = PropertyRegressor(
        work.backbone,
        loss=work.objective.loss,
        standardize=work.objective.standardize,
        readout=work.objective.readout,
        pooling=work.objective.pooling,
        head_layers=work.objective.head_layers,
        head_channels=work.objective.head_channels,
        max_epochs=1,
        validation_fraction=0,
        random_state=0,
    )
    pipeline = make_pipeline(work.graphs, regressor)
    chosen = of_all_elements(crystals.structures)
    pipeline.fit([crystals.structures[i] for i in chosen], crystals.values[chosen])
    model = regressor.net_.module_
    mean_neighbors = float(model.backbone.mean_neighbors)
    plain = make_plain(work.backbone, work.objective, work.graphs.cutoff, mean_neighbors)
    copy_weights(model, plain)
    structures = crystals.structures[: work.count]
    without_kernels = copy.deepcopy(pipeline)
    without_kernels[-1].net_.module_.backbone.compiled = False
    return {
        OURS: OurPredictor(pipeline, structures),
        TORCH: OurPredictor(without_kernels, structures),
        PLAIN: PlainPredictor(plain, work, structures),
    }


def of_all_elements(structures: list) -> list[int]:
    """Pick the first crystals with each element: an estimator warns of those it never saw."""
    first: dict[int, int] = {}
    for index, structure in enumerate(structures):
        for site in structure:
            first.setdefault(site.specie.Z, index)
    return sorted(set(first.values()))


def difference_words(predictors: dict[str, Predictor]) -> str:
    """Compare the predictions of the last round, relative to the largest of them."""
    predicted, plain = (predictors[name].predictions for name in (OURS, PLAIN))
    differences = np.abs(predicted - plain) / np.abs(plain).max()
    return (
        f"Difference of predictions, of the largest: {np.quantile(differences, 0.99):.1e} or less "
        f"for 99 % of the crystals, {differences.max():.1e} at most (neighbours at one distance "
        "may be cut in another order)."
    )
