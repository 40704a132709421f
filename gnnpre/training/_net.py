"""The skorch net: a trained model, its history, and the interface that users' callbacks see."""

from collections.abc import Callable
from typing import Any

import torch
from skorch import NeuralNet
from torch import Tensor, nn

from gnnpre._devices import device_or_cpu
from gnnpre.graphs import CrystalBatch, CrystalGraphs, share_memory
from gnnpre.objectives import ObjectiveModel

from ._average import WeightAverage, combine
from ._loader import BatchLoader, CrystalDataset
from ._predict import ordinary_mode, predict_batches
from ._randomness import SkipRandomFills, default_float32

__all__ = ["CrystalNet"]

#: Parameters that a pickle keeps, beside those of the optimizer.
_PICKLED = ("module", "lr", "max_epochs", "batch_size", "max_edges", "device", "verbose")


class _NoCriterion(nn.Module):
    """Placeholder: skorch requires a criterion, but the objective computes the loss."""


class CrystalNet(NeuralNet):
    """skorch net that holds the model of an estimator, as ``net_``.

    gnnpre's own loop (``gnnpre.training._loop``) trains it. The net has the attributes that skorch
    documents for callbacks: ``module_``, ``optimizer_``, ``history``, ``max_epochs``, ``notify``,
    ``predict``, ``save_params`` and ``load_params``. Its ``module`` is a
    :class:`~gnnpre.training.ModelSpec`, so that a clone starts with fresh weights.

    Parameters
    ----------
    module : ModelSpec
        Builds the model.
    max_edges : int, optional
        Largest number of edges in a batch.
    **kwargs : dict
        Parameters of ``skorch.NeuralNet``.

    """

    def __init__(self, module: Any, *, max_edges: int | None = None, **kwargs: Any) -> None:
        # A clone passes the parameters that get_params returned.
        # The loop takes no iterators, split or criterion from skorch.
        defaults = {
            "criterion": _NoCriterion,
            "optimizer": torch.optim.AdamW,
            "train_split": None,
            # skorch caches predictions as arrays for scoring callbacks; crystals are not arrays.
            "use_caching": False,
        }
        super().__init__(module, **{**defaults, **kwargs})
        self.max_edges = max_edges
        self.checkpoints_: dict[int, str] = {}
        self.average_: WeightAverage | None = None
        self.build_model_: Callable[[], ObjectiveModel] = module
        self.with_optimizer_ = True

    @property
    def _default_callbacks(self) -> list[tuple[str, Any]]:
        return []

    def hold(self, model: ObjectiveModel, *, optimizer: bool = False) -> "CrystalNet":
        """Hold a model that has been built; an optimizer is needed for training alone."""
        self.build_model_, self.with_optimizer_ = lambda: model, optimizer
        self.initialize()
        self.build_model_ = self.module
        return self

    def initialize_module(self) -> "CrystalNet":
        """Take the model of :meth:`hold`, or build one with fresh weights."""
        self.module_ = self.build_model_()
        return self

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> "CrystalNet":
        """Make the optimizer, unless the net only predicts."""
        if self.with_optimizer_:
            super().initialize_optimizer(*args, **kwargs)
        elif "optimizer" not in self.prefixes_:
            # skorch refuses parameters of components that it has not made.
            self.prefixes_ = [*self.prefixes_, "optimizer"]
        return self

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> "CrystalNet":
        """Refer to the estimator, which prepares targets and trains the net."""
        raise NotImplementedError(
            "The net of an estimator is not fitted by itself: call fit of the estimator "
            "(Pretrainer, PropertyRegressor, PropertyClassifier), which makes a new net."
        )

    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, **fit_params: Any
    ) -> "CrystalNet":
        """Refer to the estimator, as :meth:`fit` does."""
        return self.fit(X, y)

    def predict(self, X: CrystalGraphs) -> Any:
        """Predict crystals in the form and the units of the labels.

        During a training that averages weights, the average predicts, as it does in validation.
        """
        self.check_is_fitted()
        if not isinstance(X, CrystalGraphs):
            raise TypeError(
                f"X is of type {type(X).__name__}; the net predicts CrystalGraphs. Transform "
                "structures with StructureToGraph, or call predict of the estimator."
            )
        if self.average_ is None:
            batches = predict_batches(self.module_, X)
        else:
            with self.average_.applied():
                batches = predict_batches(self.module_, X)
        return self.module.objective.collect(batches, X.atom_counts)

    def get_dataset(self, X: Any, y: Any = None) -> CrystalDataset:
        """Return crystals without targets as a data set; a data set is returned as it is."""
        return X if isinstance(X, CrystalDataset) else CrystalDataset.unlabelled(X)

    def get_iterator(self, dataset: CrystalDataset, training: bool = False) -> BatchLoader:
        """Return batches of a data set, in order."""
        return BatchLoader(
            dataset,
            self.module_,
            batch_size=self.batch_size,
            max_edges=self.max_edges,
            dtype=next(self.module_.parameters()).dtype,
        )

    def infer(self, x: CrystalBatch, **fit_params: Any) -> dict[str, Tensor]:
        """Run the model on a batch."""
        predictions: dict[str, Tensor] = self.module_(x)
        return predictions

    def get_loss(
        self,
        y_pred: dict[str, Tensor],
        y_true: dict[str, Tensor],
        X: CrystalBatch | None = None,
        training: bool = False,
    ) -> Tensor:
        """Return the loss of the objective for a batch, which X must be."""
        if X is None:
            raise ValueError("X is None; the loss of an objective needs the batch of crystals.")
        return combine(self.module_.losses(y_pred, y_true, X), step=training)

    def __getstate__(self) -> dict[str, Any]:
        """Return the content of a saved model: parameters, weights, history; no optimizer."""
        parameters = {
            name: value
            for name, value in self.get_params(deep=False).items()
            if name in _PICKLED or name.startswith("optimizer__")
        }
        state: dict[str, Any] = {"parameters": parameters}
        if self.initialized_:
            state["weights"] = {
                name: value.detach().cpu().numpy()
                for name, value in self.module_.state_dict().items()
            }
            state["compiled"] = bool(self.module_.backbone.compiled)
            # Losses of single batches would make the file grow with the data.
            state["history"] = [{**row, "batches": []} for row in self.history]
            state["checkpoints"] = self.checkpoints_
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the model and load its weights; a GPU that is not there becomes the CPU."""
        parameters = dict(state["parameters"])
        parameters["device"] = str(device_or_cpu(parameters["device"]))
        self.__init__(**parameters)  # type: ignore[misc] # unpickling calls no constructor
        if "weights" not in state:
            return
        # Drawing weights that are overwritten would take time and random numbers.
        device = torch.device(parameters["device"])
        with ordinary_mode(device):
            with SkipRandomFills(), default_float32():
                model = self.module().to(device)
            model.load_state_dict(
                # Of a memory map, if joblib has loaded or sent it; the model gets copies.
                {name: share_memory(value) for name, value in state["weights"].items()}
            )
        model.backbone.compiled = state["compiled"]
        self.hold(model)
        self.history.extend(state["history"])
        self.checkpoints_ = state["checkpoints"]
