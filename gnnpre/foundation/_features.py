"""The transformer from crystals to features of published potentials."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from numbers import Number
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator

from gnnpre._constraints import Check, HasConstraints, number, one_of
from gnnpre._devices import resolve_device
from gnnpre._feature_store import check_cache, crystal_digests, open_store, read_or_compute
from gnnpre._registry import Registered
from gnnpre.graphs import POOLINGS, Crystals, PoolingTransformer, as_crystals, pool_atoms

from ._adapter import Adapter, package_version
from ._chgnet import CHGNetAdapter
from ._diep import DIEPAdapter

__all__ = ["FoundationFeatures"]

ADAPTERS: dict[str, type[Adapter]] = {"chgnet": CHGNetAdapter, "diep": DIEPAdapter}
# A model records the outputs of its layers: one batch at a time, whatever the number of threads.
LOCK = threading.Lock()


@lru_cache(maxsize=4)
def load_adapter(model: str, device: str) -> Adapter:
    """Load a model with its weights; it is kept for the next call."""
    name, weights = split_name(model)
    return ADAPTERS[name](weights, device)


def split_name(model: str) -> tuple[str, str]:
    """Return the package and the weights of a name such as ``"chgnet"`` or ``"chgnet-r2scan"``."""
    name, _, weights = model.partition("-")
    return name, weights or ADAPTERS[name].weights[0]


def check_model(name: str, model: Any) -> None:
    """Check that a model is the name of a package, or of one of its sets of weights."""
    names = [
        text
        for package, adapter in ADAPTERS.items()
        for text in (package, *(f"{package}-{weights}" for weights in adapter.weights))
    ]
    one_of(*names)(name, model)


class FoundationFeatures(Registered, HasConstraints, PoolingTransformer, BaseEstimator):
    """Describe crystals by the features of atoms in a published interatomic potential.

    The network is not trained; a kernel machine on these features, with those of
    :class:`~gnnpre.fingerprints.Composition`, is a strong model for few labels, and they can be
    the targets of :class:`~gnnpre.objectives.EmbeddingTargets`.

    Parameters
    ----------
    model : str
        ``"chgnet"``, whose weights are those of ``"chgnet-0.3.0"`` (the others are
        ``"chgnet-0.2.0"`` and ``"chgnet-r2scan"``), or ``"diep"``, those of
        ``"diep-diep_fold1"``. Each is an extra: ``pip install "gnnpre[chgnet]"``. The weights are
        in its wheel; nothing is downloaded.
    layer : int or sequence of int
        Layers whose features are joined: 0 is the embedding of the elements, then come the
        message-passing layers (four of CHGNet, three of DIEP); negative numbers count from the
        last.
    pooling : {"mean", "sum", "cumulants"} or None
        Pool the features of atoms to those of crystals: mean, sum, or the first three cumulants
        (mean, variance, third central moment). None returns an array for each crystal, with one
        row for each atom.
    batch_size : int
        Crystals that are computed together.
    cache : bool, str or Path
        Folder of a file in which features are stored by the content of the crystals, the model
        and its version, so that no crystal is computed twice; True for the cache of gnnpre (the
        folder that ``GNNPRE_HOME`` names), False for none.
    device : str
        Device to compute on, such as ``"cpu"`` or ``"cuda"``.

    Notes
    -----
    Features are those of CHGNet 0.4.2 or DIEP 2.0.0, both BSD-3.

    References
    ----------
    B. Deng et al., "CHGNet as a pretrained universal neural network potential for charge-informed
    atomistic modelling", Nat. Mach. Intell. 5, 1031 (2023).

    Examples
    --------
    >>> from gnnpre.foundation import FoundationFeatures
    >>> features = FoundationFeatures("chgnet", layer=(3, 4), pooling="mean")
    >>> features.get_feature_names_out()[[0, -1]]
    array(['mean_chgnet_layer3_0', 'mean_chgnet_layer4_63'], dtype=object)
    """

    _constraints: ClassVar[dict[str, Check]] = {
        "model": check_model,
        "pooling": one_of(*POOLINGS),
        "batch_size": number(integer=True),
        "cache": check_cache,
    }

    def __init__(
        self,
        model: str = "chgnet",
        *,
        layer: int | Sequence[int] = -1,
        pooling: str | None = None,
        batch_size: int = 32,
        cache: bool | str | Path = True,
        device: str = "cpu",
    ) -> None:
        self.model = model
        self.layer = layer
        self.pooling = pooling
        self.batch_size = batch_size
        self.cache = cache
        self.device = device

    def check_parameters(self) -> None:
        """Check that every parameter has an allowed value.

        Raises
        ------
        ValueError, TypeError
            If one has not; the message names it.
        """
        super().check_parameters()
        resolve_device(self.device)
        self._layers()

    def fit(self, X: Any, y: Any = None) -> "FoundationFeatures":
        """Check the parameters and the crystals, and load the model; nothing is learnt.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.
        y : object, optional
            Ignored.

        Returns
        -------
        FoundationFeatures
            This transformer.

        Raises
        ------
        ImportError
            If the package of the model is not installed; the message has the command.
        ValueError, TypeError
            If a parameter has no allowed value, or ``X`` is not a container of crystals.
        """
        self.check_parameters()
        self._check_crystals(as_crystals(X), self._adapter())
        return self

    def transform(self, X: Any) -> Any:
        """Compute the features.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals, periodic in all directions.

        Returns
        -------
        list of ndarray of shape (n_atoms, D), or ndarray of shape (n, D) or (n, 3 D)
            One array for each crystal if ``pooling`` is None, otherwise one row for each.

        Raises
        ------
        ImportError
            If the package of the model is not installed; the message has the command.
        ValueError, TypeError
            If a crystal is not periodic in all directions, or holds an element that the model
            does not know; the message names it.
        """
        self.check_parameters()
        crystals, adapter = as_crystals(X), self._adapter()
        self._check_crystals(crystals, adapter)
        # 1. features of atoms
        atoms = [values for block in self._blocks(crystals, adapter) for values in block]
        if self.pooling is None:
            return atoms
        # 2. pooled in float64: a sum over many atoms loses digits in float32
        n_atoms = torch.as_tensor(crystals.n_atoms)
        owner = torch.repeat_interleave(torch.arange(len(crystals)), n_atoms)
        values = torch.from_numpy(np.concatenate(atoms)).double()
        return pool_atoms(values, owner, n_atoms, self.pooling).numpy()

    def _adapter(self) -> Adapter:
        return load_adapter(self.model, str(resolve_device(self.device)))

    def _layers(self) -> list[int]:
        """Return the layers, counted from 0."""
        last = ADAPTERS[split_name(self.model)[0]].n_layers
        layers: Any = self.layer
        if isinstance(layers, (Number, str)) or not isinstance(layers, Iterable):
            layers = [layers]
        for layer in layers:
            number(integer=True, low=-last - 1, low_included=True, high=last)("layer", layer)
        positions = [int(layer) % (last + 1) for layer in layers]
        if not positions or len(set(positions)) < len(positions):
            raise ValueError(f"layer={self.layer!r}; expected one layer, or distinct ones.")
        return positions

    def _check_crystals(self, crystals: Crystals, adapter: Adapter) -> None:
        """Check that the model is defined for the crystals."""
        # CHGNet and DIEP build graphs of periodic cells only.
        open_rows = np.flatnonzero(~np.asarray(crystals.pbc).all(axis=1))
        if len(open_rows):
            raise ValueError(
                f"Crystal {open_rows[0]} of X is not periodic in all directions, which {self.model}"
                " needs. Put it into a cell with vacuum, or leave it out."
            )
        numbers = np.asarray(crystals.atomic_numbers)
        foreign = np.flatnonzero(~np.isin(numbers, sorted(adapter.elements)))
        if len(foreign):
            from ase.data import chemical_symbols

            row = int(np.searchsorted(np.cumsum(crystals.n_atoms), foreign[0], side="right"))
            raise ValueError(
                f"Crystal {row} of X holds {chemical_symbols[numbers[foreign[0]]]}, which "
                f"{self.model} does not know. Leave that crystal out."
            )

    def _blocks(self, crystals: Crystals, adapter: Adapter) -> Iterator[list[np.ndarray]]:
        """Yield the features of the atoms of each crystal, block by block."""
        store, layers = open_store(self.cache), self._layers()
        prefix = f"{self.model} {package_version(adapter.package)}"
        for block in crystals.split(self.batch_size):

            def compute(rows: np.ndarray, block: Crystals = block) -> list[list[np.ndarray]]:
                structures = block[rows].to_structures()
                with LOCK:
                    computed = adapter.features(structures, layers)
                return [[values[layer] for layer in layers] for values in computed]

            digests = crystal_digests(block)
            keys = [[f"{prefix} {layer} {digest}" for layer in layers] for digest in digests]
            # Layers side by side.
            yield [np.hstack(arrays) for arrays in read_or_compute(store, keys, compute)]

    def atom_feature_names(self) -> list[str]:
        """Return the names of the features of an atom.

        Returns
        -------
        list of str
            Such as ``"chgnet_layer4_0"``.
        """
        size = ADAPTERS[split_name(self.model)[0]].n_features
        return [f"{self.model}_layer{layer}_{k}" for layer in self._layers() for k in range(size)]
