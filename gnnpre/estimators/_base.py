"""What all estimators share: from X to a trained net, predictions, files."""

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gnnpre._registry import registered_classes
from gnnpre._version import __version__
from gnnpre._warnings import StorageWarning, warn_user
from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalGraphs, GraphSettings, stream_graphs
from gnnpre.objectives import Objective, ObjectiveModel, Targets
from gnnpre.training import (
    BatchLoader,
    CrystalDataset,
    LossTotals,
    ModelSpec,
    TrainingSettings,
    WriteEpoch,
    draw_seed,
    from_spec,
    load_checkpoint,
    predict_batches,
    restore_net,
    save_checkpoint,
    split_train_valid,
    to_spec,
    train,
)

from ._inputs import as_graphs, check_elements, elements_of, warn_unseen_elements

__all__ = ["CrystalEstimator"]

# Structures whose graphs are in memory together in prediction: some 10 MB of edges.
PART = 1024


class _Facts(NamedTuple):
    """What the data decided."""

    spec: ModelSpec
    graph_settings: GraphSettings
    elements: list[int]
    data: dict[str, int]


class CrystalEstimator(BaseEstimator):
    """Base class of the estimators on crystals; they hold a skorch net and are none."""

    #: Classes, beside the configs, that may occur among the parameters in a file.
    _loadable: ClassVar[tuple[type, ...]] = ()

    def _training_settings(self) -> TrainingSettings:
        names = [field.name for field in fields(TrainingSettings) if hasattr(self, field.name)]
        settings = TrainingSettings(**{name: getattr(self, name) for name in names})
        settings.validate()
        return settings

    def _draw_seed(self) -> int:
        if self.resume and not isinstance(self.random_state, Integral):
            raise ValueError(
                f"resume=True needs random_state, an int; with {self.random_state} each fit draws "
                "another seed, and no training would be found to go on with."
            )
        return draw_seed(self.random_state)

    def _fit_model(
        self,
        graphs: CrystalGraphs,
        targets: Targets,
        backbone: Backbone,
        objective: Objective,
        *,
        groups: Any,
        seed: int,
        prepare: Callable[[ObjectiveModel], None] | None = None,
        run: Mapping[str, Any] | None = None,
        split: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Train a model and keep it, with all that predictions need; give the inner split."""
        settings = self._training_settings()
        if split is None:
            split = split_train_valid(len(graphs), self.validation_fraction, groups, seed)
        indices, valid = split
        check_elements(graphs, backbone.max_atomic_number)
        spec = ModelSpec(
            backbone=backbone,
            objective=objective,
            cutoff=graphs.cutoff,
            mean_neighbors=_mean_neighbors(graphs, indices),
            layout=objective.layout(targets),
            dtype=self.dtype,
        )
        parts = {"n_crystals": len(graphs), "n_train": len(indices), "n_valid": len(valid)}
        facts = _Facts(spec, graphs.settings, elements_of(graphs), parts)
        write_epoch = None if settings.checkpoint_epochs is None else self._epoch_writer(facts)
        dataset = CrystalDataset(graphs, targets, np.arange(len(graphs)))
        self.net_ = train(
            spec,
            dataset,
            indices,
            valid,
            settings,
            seed,
            prepare=prepare,
            callbacks=self.callbacks,
            run=run,
            write_epoch=write_epoch,
        )
        self.spec_, self.graph_settings_, self.elements_, self.data_ = facts
        return indices, valid

    @property
    def history_(self) -> list[dict[str, Any]]:
        """Losses of each epoch, a dict an epoch."""
        check_is_fitted(self, "net_")
        return _without_batches(self.net_.history)

    def _model(self) -> ObjectiveModel:
        check_is_fitted(self, "net_")
        model: ObjectiveModel = self.net_.module_
        return model

    def _graphs_to_predict(self, X: Any) -> CrystalGraphs:
        check_is_fitted(self, "net_")
        graphs = as_graphs(X, self.graph_settings_)
        check_elements(graphs, self.spec_.backbone.max_atomic_number)
        warn_unseen_elements(elements_of(graphs), self.elements_)
        return graphs

    def _parts_to_predict(self, X: Any) -> Iterator[CrystalGraphs]:
        """Give graphs as they are, and those of structures part by part: memory stays bounded."""
        check_is_fitted(self, "net_")
        if isinstance(X, CrystalGraphs):
            yield self._graphs_to_predict(X)
            return
        first, elements = 0, set[int]()
        for graphs in stream_graphs(X, self.graph_settings_, PART):
            check_elements(graphs, self.spec_.backbone.max_atomic_number, first)
            first += len(graphs)
            elements |= set(elements_of(graphs))
            yield graphs
        warn_unseen_elements(elements, self.elements_)

    def _predict(self, X: Any) -> Any:
        model = self._model()
        predictions, n_atoms = [], []
        for graphs in self._parts_to_predict(X):
            predictions += predict_batches(model, graphs)
            n_atoms.append(graphs.atom_counts)
        return self.spec_.objective.collect(predictions, np.concatenate(n_atoms))

    def _loss(self, graphs: CrystalGraphs, targets: Targets) -> dict[str, float]:
        """Mean losses on a data set, with the same noise each time."""
        model = self._model()
        device = next(model.parameters()).device
        dataset = CrystalDataset(graphs.to(device), targets.to(device), np.arange(len(graphs)))
        loader = BatchLoader(
            dataset,
            model,
            batch_size=self.batch_size,
            max_edges=self.max_edges,
            dtype=next(model.parameters()).dtype,
        )
        model.eval()
        totals = LossTotals()
        with torch.no_grad():
            for batch, batch_targets in loader:
                totals.add(model.losses(model(batch), batch_targets, batch))
        return totals.means()

    def save(self, path: str | Path) -> None:
        """Write the fitted model to disk: safetensors and JSON, nothing that is executed.

        Parameters
        ----------
        path : str or Path
            One zip file where it has a suffix (``model.gnnpre``), else a folder.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If a parameter cannot be written as JSON.
        """
        model = self._model()
        facts = _Facts(self.spec_, self.graph_settings_, self.elements_, self.data_)
        config = self._describe(facts, self._saved_parameters())
        learnt = {"extra": self._extra_state(), "history": self.history_}
        save_checkpoint(path, model.state_dict(), {**config, **learnt})

    def _describe(self, facts: "_Facts", parameters: dict[str, Any]) -> dict[str, Any]:
        """Give all that a file says, but for what training changes."""
        return {
            "kind": type(self).__name__,
            "parameters": parameters,
            "spec": facts.spec.to_dict(),
            "graphs": facts.graph_settings.to_dict(),
            "elements": facts.elements,
            "data": facts.data,
            "versions": _versions(),
        }

    def _epoch_writer(self, facts: "_Facts") -> WriteEpoch:
        """Give the function that writes the model of an epoch."""
        # Now, not after some hours of training, comes the word about what cannot be written.
        config = self._describe(facts, self._saved_parameters())

        def write(
            paths: dict[int, str], weights: dict[str, Tensor], history: list[dict[str, Any]]
        ) -> None:
            learnt = {"extra": {"checkpoints_": paths}, "history": _without_batches(history)}
            save_checkpoint(list(paths.values())[-1], weights, {**config, **learnt})

        return write

    @classmethod
    def load(cls, path: str | Path, *, classes: Iterable[type] = ()) -> Any:
        """Read a fitted model that :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
            File or folder.
        classes : iterable of type
            Classes that the file may name besides those of gnnpre and your own backbones,
            objectives and fingerprints, which it may name once their module is imported.

        Returns
        -------
        estimator
            The fitted estimator.

        Raises
        ------
        ValueError
            If the file is truncated, of another format, or holds another kind of model.
        FileNotFoundError
            If there is no such file.
        """
        weights, config = load_checkpoint(path, cls.__name__)
        try:
            return cls._restore(weights, config, classes)
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{str(path)!r} does not hold what this version of gnnpre expects "
                f"({type(error).__name__}: {error}). It was written by another one, or changed."
            ) from error

    @classmethod
    def _restore(
        cls, weights: dict[str, Tensor], config: dict[str, Any], classes: Iterable[type]
    ) -> Any:
        extra = {extra.__name__: extra for extra in (*cls._loadable, *classes)}
        by_name = {**registered_classes(), **extra}
        items = config["parameters"].items()
        estimator = cls(**{key: from_spec(item, by_name) for key, item in items})
        spec = ModelSpec.from_dict(config["spec"], by_name)
        estimator.net_ = restore_net(spec, weights, estimator._training_settings())
        estimator.net_.history.extend(config["history"])
        estimator.spec_ = spec
        estimator.graph_settings_ = GraphSettings(**config["graphs"])
        estimator.elements_ = config["elements"]
        estimator.data_ = config["data"]
        estimator._set_extra_state(config["extra"])
        return estimator

    def _saved_parameters(self) -> dict[str, Any]:
        """Parameters as JSON; those that only a new fit would use may stay behind."""
        saved, left = {}, []
        for name, value in self.get_params(deep=False).items():
            try:
                saved[name] = to_spec(value, name)
            except TypeError:
                left.append(name)
        if left:
            warn_user(
                f"{', '.join(left)} cannot be written as JSON and will have default values in "
                "the loaded estimator: its predictions are the same, a new fit would differ.",
                StorageWarning,
            )
        return saved

    def _extra_state(self) -> dict[str, Any]:
        return {}

    def _set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`_extra_state` gave."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.non_deterministic = False
        return tags


def _without_batches(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "batches"} for row in history]


def _mean_neighbors(graphs: CrystalGraphs, indices: np.ndarray) -> float:
    """Mean number of neighbours of an atom; 1 where none has any."""
    mean = graphs.edge_counts[indices].sum() / graphs.atom_counts[indices].sum()
    return float(mean) if mean > 0 else 1.0


def _versions() -> dict[str, str]:
    others = {name: version(name) for name in ("torch", "skorch", "scikit-learn", "numpy")}
    return {"gnnpre": __version__, "python": platform.python_version(), **others}
