"""The base class of all estimators: predictions, embeddings and files of a trained network."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gnnpre._storage import reading
from gnnpre._validation import check_choice
from gnnpre.graphs import (
    CrystalGraphs,
    GraphSettings,
    IndexedTransformerMixin,
    LazyGraphs,
    stream_graphs,
)
from gnnpre.objectives import ObjectiveModel, Targets
from gnnpre.pretrained import resolve_model
from gnnpre.training import (
    BatchLoader,
    CrystalDataset,
    CrystalNet,
    LossTotals,
    ModelSpec,
    load_checkpoint,
    predict_batches,
    save_checkpoint,
)

from ._embedding import EMBEDDING_POOLINGS, check_layer, embed_graphs, embedding_names
from ._files import (
    REMEDY,
    ModelFile,
    checked_classes,
    model_contents,
    parse_model,
    saved_parameters,
)
from ._history import history_frame, history_rows
from ._hub_card import hub_readme
from ._inputs import UnseenElements, as_graphs, check_elements
from ._network import ModelRecord, TrainedNetwork
from ._prediction_files import write_in_pieces

__all__ = ["CrystalEstimator"]

# Structures whose graphs are in memory together in prediction: some 10 MB of edges.
STREAM_SIZE = 1024


class CrystalEstimator(IndexedTransformerMixin, BaseEstimator):
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

    #: Classes, besides the configs, that may occur among the parameters in a file.
    _loadable: ClassVar[tuple[type, ...]] = ()

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
        self.net_, self.spec_, self.graph_settings_ = (
            network.net,
            record.spec,
            record.graph_settings,
        )
        self.elements_, self.data_ = record.elements, record.data

    def _network(self) -> TrainedNetwork:
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
        with torch.no_grad():
            for batch, batch_targets in loader:
                totals.add(model.losses(model(batch), batch_targets, batch))
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

    def save(self, path: str | Path) -> None:
        """Write the fitted model to disk: safetensors and JSON, nothing executable.

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
        self._write(path)

    def save_hub_folder(
        self, folder: str | Path, *, card: Any = None, license: str | None = None
    ) -> None:
        """Write the fitted model as a folder for a model hub, such as Hugging Face's.

        It holds ``config.json``, ``model.safetensors`` and ``README.md``, whose front matter names
        the library, tags and the licence. :meth:`load` reads it, like any other folder.

        Parameters
        ----------
        folder : str or Path
            The folder, which is replaced as a whole if it holds such a model.
        card : ModelCard or str, optional
            Card of the model, or Markdown, for ``README.md``; a description of the network by
            default.
        license : str, optional
            Identifier of the licence, such as ``"cc-by-4.0"``; that of the card by default.

        Raises
        ------
        FileExistsError
            If the folder holds other files.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self, "net_")
        self._write(folder, hub_readme(self, card, license))

    def _write(self, path: str | Path, readme: str | None = None) -> None:
        check_is_fitted(self, "net_")
        weights, config = self._contents()
        save_checkpoint(path, weights, config, readme)

    def _contents(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors and the config of a file."""
        return model_contents(
            class_name=type(self).__name__,
            parameters=saved_parameters(self.get_params(deep=False)),
            network=self._network(),
            learnt=self._learnt_state(),
            arrays=self._learnt_arrays(),
        )

    @classmethod
    def load(cls, path: str | Path, *, classes: Iterable[type] = ()) -> Any:
        """Read a fitted model that :meth:`save` wrote.

        A path among its parameters (``checkpoint_dir``, ``pretrained``, ``replay``) is one of
        whoever saved the model: ``fit`` refuses it until it is set anew.

        Parameters
        ----------
        path : str or Path
            File or folder, or the name of a model in the package (:func:`gnnpre.list_pretrained`).
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
            If the file is truncated, of another format, or holds another estimator.
        FileNotFoundError
            If there is no such file or model; the message lists the names.
        """
        # A name of a shipped model counts as a path, too.
        path = resolve_model(path, "path")
        classes = checked_classes(classes)
        weights, config = load_checkpoint(path, cls.__name__)
        with reading(path, REMEDY):
            return cls._from_contents(weights, config, classes)

    @classmethod
    def _from_contents(
        cls, weights: dict[str, Tensor], config: Mapping[str, Any], classes: Iterable[type]
    ) -> Any:
        """Return the estimator that :meth:`_contents` described."""
        model = parse_model(weights, config, cls, classes, cls._loadable)
        # No fit: parameters first, then what was learnt.
        estimator = cls(**model.parameters)
        estimator._set_network(model.network)
        estimator._set_learnt_state(model.learnt)
        estimator._set_learnt_arrays(model)
        return estimator

    def _learnt_state(self) -> dict[str, Any]:
        """Return the fitted attributes of the subclass that a file keeps, JSON-serializable."""
        return {}

    def _set_learnt_state(self, state: dict[str, Any]) -> None:
        """Set the fitted attributes that :meth:`_learnt_state` returned."""

    def _learnt_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays that a file keeps beside the weights of the network."""
        return {}

    def _set_learnt_arrays(self, model: ModelFile) -> None:
        """Set the fitted attributes that :meth:`_learnt_arrays` returned."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Crystals are no table: scikit-learn then checks no columns.
        tags.input_tags.two_d_array = False
        tags.non_deterministic = False
        return tags
