"""The skorch net: batches of packed crystals through a model, under an objective's losses."""

import math
from contextlib import contextmanager
from typing import Any

import torch
from skorch import NeuralNet
from skorch.callbacks import EpochTimer
from skorch.dataset import unpack_data
from torch import Tensor, nn

from gnnpre.graphs import CrystalBatch
from gnnpre.objectives import ObjectiveModel

from ._average import LossTotals, WeightAverage, combine
from ._loader import BatchLoader, CrystalDataset

__all__ = ["CrystalNet", "StopTraining", "TrainingData"]


class StopTraining(Exception):
    """Raised by a callback to end the training, with what was learnt so far."""


class TrainingData:
    """What :class:`CrystalNet` fits: crystals with targets, split in two."""

    def __init__(self, train: CrystalDataset, valid: CrystalDataset | None) -> None:
        self.train = train
        self.valid = valid

    def __len__(self) -> int:
        return len(self.train)


class _NoCriterion(nn.Module):
    """Losses come from the objective; skorch asks for a criterion all the same."""


class CrystalNet(NeuralNet):
    """skorch net whose batches are crystals and whose loss is an objective's.

    Estimators make it, hold it as ``net_``, and do not subclass it. Its ``module`` is a
    :class:`~gnnpre.training.ModelSpec`, so that a clone starts with fresh weights.

    Parameters
    ----------
    module : ModelSpec
        What builds the model.
    max_edges : int, optional
        Most edges in a batch.
    ema_decay : float, optional
        Decay of the average of the weights that validation and the end result use.
    freeze : bool
        Whether the backbone stays as it is.
    **kwargs : dict
        Parameters of ``skorch.NeuralNet``.

    """

    def __init__(
        self,
        module: Any,
        *,
        max_edges: int | None = None,
        ema_decay: float | None = None,
        freeze: bool = False,
        **kwargs: Any,
    ) -> None:
        # A clone passes the criterion that get_params gave.
        super().__init__(module, **{"criterion": _NoCriterion, **kwargs})
        self.max_edges = max_edges
        self.ema_decay = ema_decay
        self.freeze = freeze

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return [("epoch_timer", EpochTimer())]

    def train(self, data: TrainingData, generator: torch.Generator) -> "CrystalNet":
        """Train the initialized model; ``generator`` orders and perturbs the batches."""
        self.generator = generator
        self.stopped = False
        self.checkpoints_: dict[int, str] = {}
        self.average = None
        if self.ema_decay is not None:
            self.average = WeightAverage(self.module_, self.ema_decay)
        try:
            # skorch's fit swallows Ctrl-C, and a cross-validation would go on with the next fold.
            self.notify("on_train_begin", X=data, y=None)
            self._run_epochs(data)
            if self.average is not None:
                self.average.swap(self.module_)
            self.notify("on_train_end", X=data, y=None)
        finally:
            self._release()
        return self

    def _run_epochs(self, data: TrainingData) -> None:
        remaining = self.max_epochs - len(self.history)
        try:
            self.fit_loop(data, None, epochs=remaining)
        except StopTraining:
            # The epoch that was about to begin left an empty row.
            if self.history and "train_loss" not in self.history[-1]:
                self.history.pop()

    def _release(self) -> None:
        """Let go of the data, of what cannot be pickled, and of the losses of single batches."""
        for name in ("generator", "average", "train_loader", "totals"):
            self.__dict__.pop(name, None)
        for row in self.history:
            row["batches"] = []

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        """Do not go on with a training that a callback had ended before it was interrupted."""
        super().on_epoch_begin(net, **kwargs)
        if self.stopped:
            raise StopTraining

    def notify(self, method_name: str, **kwargs: Any) -> None:
        """Tell all callbacks; those of skorch stop a training by raising KeyboardInterrupt."""
        try:
            super().notify(method_name, **kwargs)
        except KeyboardInterrupt as interrupt:
            if method_name != "on_epoch_end":
                raise
            self.stopped = True
            if state := dict(self.callbacks_).get("resume"):
                state.on_epoch_end(self, **kwargs)
            raise StopTraining from interrupt

    def get_split_datasets(
        self, X: TrainingData, y: Any = None, **fit_params: Any
    ) -> tuple[CrystalDataset, CrystalDataset | None]:
        """Give the two parts, which were split before."""
        return X.train, X.valid

    def get_iterator(self, dataset: CrystalDataset, training: bool = False) -> BatchLoader:
        """Make the loader of a part."""
        loader = BatchLoader(
            dataset,
            self.module_,
            batch_size=self.batch_size,
            max_edges=self.max_edges,
            dtype=next(self.module_.parameters()).dtype,
            generator=self.generator if training else None,
        )
        if training:
            self.train_loader = loader
        return loader

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, *args: Any, **kw: Any
    ) -> None:
        """Run an epoch; its losses are means over entries, not over batches."""
        self.totals = LossTotals()
        with self._averaged_weights(not training):
            super().run_single_epoch(iterator, training, prefix, *args, **kw)
        for name, value in self.totals.means().items():
            self.history.record(f"{prefix}_{name}", value)
        if self.totals.terms:
            # What skorch's own Checkpoint looks for.
            losses = [row.get(f"{prefix}_loss", math.inf) for row in self.history]
            self.history.record(f"{prefix}_loss_best", losses[-1] <= min(losses))

    @contextmanager
    def _averaged_weights(self, wanted: bool) -> Any:
        average = self.average if wanted else None
        if average is not None:
            average.swap(self.module_)
        try:
            yield
        finally:
            if average is not None:
                average.swap(self.module_)

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **kw: Any) -> None:
        """Update the average of the weights."""
        if training and self.average is not None:
            self.average.update(self.module_)

    def _set_training(self, training: bool = True) -> None:
        super()._set_training(training)
        if self.freeze:
            self.module_.backbone.eval()

    def infer(self, x: CrystalBatch, **fit_params: Any) -> dict[str, Tensor]:
        """Run the model on a batch."""
        model: ObjectiveModel = self.module_
        predictions: dict[str, Tensor] = model(x)
        return predictions

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Any]:
        """Compute the gradient of a batch, with respect to weights and nothing else."""
        self._set_training(True)
        inputs, targets = unpack_data(batch)
        predictions = self.infer(inputs, **fit_params)
        loss = self.get_loss(predictions, targets, X=inputs, training=True)
        # Edge vectors that forces are derivatives by need no gradient of the loss.
        loss.backward(inputs=[p for p in self.module_.parameters() if p.requires_grad])
        return {"loss": loss, "y_pred": predictions}

    def get_loss(
        self,
        y_pred: dict[str, Tensor],
        y_true: dict[str, Tensor],
        X: CrystalBatch | None = None,
        training: bool = False,
    ) -> Tensor:
        """Add the terms of the objective up, for this step and for the epoch."""
        terms = self.module_.losses(y_pred, y_true, X)
        self.totals.add(terms)
        return combine(terms, step=training)
