"""The base class of all estimators: predictions and embeddings of a trained network."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from gnnpre._nested_parameters import NestedParametersMixin
from gnnpre._validation import check_choice
from gnnpre.graphs import (
    CrystalGraphs,
    GraphSettings,
    IndexedTransformerMixin,
    LazyGraphs,
    stream_graphs,
)
from gnnpre.objectives import ObjectiveModel, Targets
from gnnpre.training import (
    BatchLoader,
    CrystalDataset,
    CrystalNet,
    LossTotals,
    ModelSpec,
    ordinary_mode,
    predict_batches,
)

from ._elements import UnseenElements, check_elements
from ._embedding import EMBEDDING_POOLINGS, check_layer, embed_graphs, embedding_names
from ._history import history_frame, history_rows
from ._inputs import as_graphs
from ._network import ModelRecord, TrainedNetwork
from ._prediction_files import write_in_pieces
from ._saving import SaveMixin

__all__ = ["CrystalEstimator"]

# Structures whose graphs are in memory together in prediction: some 10 MB of edges.
STREAM_SIZE = 1024


class CrystalEstimator(NestedParametersMixin, IndexedTransformerMixin, SaveMixin, BaseEstimator):
    """Base class of the estimators on crystals. They hold a skorch net and do not inherit from it.

    A subclass has the parameters that are annotated here, among others of its own, and calls
    ``_set_network`` at the end of its ``fit``.
    """

    embedding_layer: int
    embedding_pooling: str
    batch_size: int
    max_edges: int | None

    net_: CrystalNet
    spec_: ModelSpec
    graph_settings_: GraphSettings
    elements_: list[int]
    data_: dict[str, int]

    @property
    def history_(self) -> list[dict[str, Any]]:
        """Losses of each epoch, as one dictionary per epoch."""
        check_is_fitted(self, "net_")
        return history_rows(self.net_.history)

    @property
    def history_frame_(self) -> Any:
        """Losses of each epoch as a pandas DataFrame, with the epoch as its index.

        Units of its columns are in ``history_frame_.attrs["units"]``, a dict by column.
        """
        return history_frame(self.history_, self.spec_.objective)

    def _set_network(self, network: TrainedNetwork) -> None:
        """Set the fitted attributes that all estimators share."""
        record = network.record
        self.net_, self.spec_ = network.net, record.spec
        self.graph_settings_ = record.graph_settings
        self.elements_, self.data_ = record.elements, record.data

    def _network(self) -> TrainedNetwork:
        """Return the trained network that the fitted attributes describe."""
        model_record = ModelRecord(self.spec_, self.graph_settings_, self.elements_, self.data_)
        return TrainedNetwork(self.net_, model_record)

    def _model(self) -> ObjectiveModel:
        check_is_fitted(self, "net_")
        model: ObjectiveModel = self.net_.module_
        return model

    def _graphs_to_predict(self, X: Any) -> CrystalGraphs:
        """Return X as graphs that the model was trained for, with a warning on new elements."""
        check_is_fitted(self, "net_")
        graphs = as_graphs(X, self.graph_settings_)
        check_elements(graphs, self.spec_.backbone.max_atomic_number)
        unseen = UnseenElements(self.elements_)
        unseen.add(graphs)
        unseen.warn(self.net_)
        return graphs

    def _stream_to_predict(self, X: Any) -> Iterator[CrystalGraphs]:
        """Yield graphs whole, and those of structures batch by batch, so that memory is bounded."""
        check_is_fitted(self, "net_")
        if isinstance(X, CrystalGraphs):
            yield self._graphs_to_predict(X)
            return
        if isinstance(X, LazyGraphs):  # of a pipeline that begins with StructureToGraph
            # Settings are checked; the graphs themselves are built batch by batch below.
            as_graphs(X, self.graph_settings_)
            X = X.crystals
        unseen = UnseenElements(self.elements_)
        for graphs in stream_graphs(X, self.graph_settings_, STREAM_SIZE):
            check_elements(graphs, self.spec_.backbone.max_atomic_number, unseen.n_crystals)
            unseen.add(graphs)
            yield graphs
        unseen.warn(self.net_)

    def _predict(self, X: Any) -> Any:
        model = self._model()
        predictions, n_atoms = [], []
        for graphs in self._stream_to_predict(X):
            predictions += predict_batches(model, graphs)
            # Objectives that predict for atoms cut the rows into crystals by these.
            n_atoms.append(graphs.atom_counts)
        return self.spec_.objective.collect(predictions, np.concatenate(n_atoms))

    def _loss(self, graphs: CrystalGraphs, targets: Targets) -> dict[str, float]:
        """Return mean losses on a data set, with the same noise each time."""
        model = self._model()
        device = next(model.parameters()).device
        dataset = CrystalDataset(graphs.to(device), targets.to(device), np.arange(len(graphs)))
        # Without a generator the loader perturbs by a fixed seed: scores can be compared.
        loader = BatchLoader(
            dataset,
            model,
            batch_size=self.batch_size,
            max_edges=self.max_edges,
            dtype=next(model.parameters()).dtype,
        )
        # No batch statistics and no dropout in a score.
        model.eval()
        totals = LossTotals()
        with ordinary_mode(device), torch.no_grad():
            for batch, batch_targets in loader:
                totals.add(model.losses(model(batch), batch_targets, batch))
        if totals.is_empty:
            raise ValueError(
                f"y has no label that counts in the loss of {type(self.spec_.objective).__name__}, "
                f"for any of the {len(graphs)} crystals: there is nothing to score. Pass crystals "
                "with labels."
            )
        return totals.means()

    def embed(self, X: Any, *, layer: int = -1, pooling: str | None = "mean") -> Any:
        """Return the features of crystals, or of their atoms, after a layer of the backbone.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the training did.
        layer : int
            0 for the features before the first round of messages, 1 to n_layers for those after
            each round; -1 for the final ones.
        pooling : {"mean", "sum", "max", "cumulants"} or None
            Over the atoms: their mean, sum, largest value, or mean, variance and third central
            moment beside each other. None keeps the atoms.

        Returns
        -------
        ndarray of shape (n, C) or (n, 3 C), or list of n ndarray of shape (n_atoms, C)
            The embeddings.

        Raises
        ------
        ValueError
            If there is no such layer or pooling, or the graphs were built with other settings.
        """
        model = self._model()
        if pooling is not None:
            check_choice("pooling", pooling, EMBEDDING_POOLINGS)
        check_layer(layer, model.backbone)
        tables = [
            embed_graphs(model, graphs, layer, pooling) for graphs in self._stream_to_predict(X)
        ]
        return list(chain.from_iterable(tables)) if pooling is None else np.concatenate(tables)

    def transform(self, X: Any) -> np.ndarray:
        """Embed crystals: the features of ``embedding_layer``, pooled by ``embedding_pooling``.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.

        Returns
        -------
        ndarray of shape (n, C) or (n, 3 C)
            The embeddings; :meth:`embed` also returns those of atoms.

        Raises
        ------
        ValueError
            If there is no such layer or pooling, or the graphs were built with other settings.
        """
        check_choice("embedding_pooling", self.embedding_pooling, EMBEDDING_POOLINGS)
        layer, pooling = self.embedding_layer, self.embedding_pooling
        return np.asarray(self.embed(X, layer=layer, pooling=pooling))

    def predict_to_parquet(self, X: Any, path: str | Path) -> Path:
        """Predict crystals and write the predictions to a Parquet file, piece by piece.

        Parameters
        ----------
        X : CrystalStore of shape (n,), or n structures
            The crystals; memory stays bounded, however many a store has.
        path : str or Path
            The file, which is replaced as a whole.

        Returns
        -------
        Path
            The file. It has the column ``immutable_id`` where the crystals have ids, and those of
            the predictions: ``prediction`` (numbered if there are several), lists for atoms.
            Energies, forces and stresses are written with the crystals, as ``to_parquet`` does,
            for ``read_parquet``.

        Raises
        ------
        ImportError
            If pyarrow, of the extra ``store``, is not installed.
        """
        check_is_fitted(self, "net_")
        return write_in_pieces(path, X, self.predict, "prediction")  # type: ignore[attr-defined]

    def transform_to_parquet(self, X: Any, path: str | Path) -> Path:
        """Embed crystals and write the embeddings to a Parquet file, piece by piece.

        Parameters
        ----------
        X : CrystalStore of shape (n,), or n structures
            The crystals; memory stays bounded, however many a store has.
        path : str or Path
            The file, which is replaced as a whole.

        Returns
        -------
        Path
            The file: a column ``immutable_id`` where the crystals have ids, and those of
            :meth:`get_feature_names_out`.

        Raises
        ------
        ImportError
            If pyarrow, of the extra ``store``, is not installed.
        """
        names = self.get_feature_names_out()

        def embed(crystals: Any) -> dict[str, np.ndarray]:
            return dict(zip(names, self.transform(crystals).T, strict=True))

        return write_in_pieces(path, X, embed, "embedding")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of :meth:`transform`.

        Parameters
        ----------
        input_features : object, optional
            Ignored: crystals have no feature names.

        Returns
        -------
        ndarray of str
            Such as ``"cgcnn0"``, or ``"cumulant2_cgcnn0"``.
        """
        channels = self._model().backbone.out_channels
        prefix = type(self.spec_.backbone).__name__.lower()
        return embedding_names(prefix, channels, self.embedding_pooling)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Crystals are not a table: scikit-learn then checks no columns.
        tags.input_tags.two_d_array = False
        tags.non_deterministic = False
        return tags
