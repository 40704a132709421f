"""Saving and loading of fitted estimators: one mixin for all that hold a trained network."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from gnnpre._storage import reading
from gnnpre.pretrained import resolve_model
from gnnpre.training import load_checkpoint, save_checkpoint

from ._files import (
    REMEDY,
    ModelFile,
    checked_classes,
    model_contents,
    parse_model,
    saved_parameters,
)
from ._hub_card import hub_readme
from ._network import TrainedNetwork

__all__ = ["SaveMixin"]


class SaveMixin:
    """Mixin of the estimators whose fitted state is a trained network, and little besides.

    A subclass with fitted attributes of its own overrides ``_learnt_state`` and
    ``_set_learnt_state``; with arrays, ``_learnt_arrays`` and ``_set_learnt_arrays`` as well.
    """

    #: Classes, besides the configs, that may occur among the parameters in a file.
    _loadable: ClassVar[tuple[type, ...]] = ()

    get_params: Callable[..., dict[str, Any]]  # of BaseEstimator

    def _network(self) -> TrainedNetwork:
        """Return the trained network, which :meth:`save` writes."""
        raise NotImplementedError

    def _set_network(self, network: TrainedNetwork) -> None:
        """Set the fitted attributes that describe a trained network."""
        raise NotImplementedError

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
