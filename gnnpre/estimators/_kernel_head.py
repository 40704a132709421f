"""A kernel machine on the embeddings of a frozen network and on other features of crystals."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.base import clone

from gnnpre._devices import resolve_device
from gnnpre._prefixes import add_prefix, select_prefix
from gnnpre._registry import Registered
from gnnpre.fingerprints import EAD, Composition
from gnnpre.graphs import CrystalGraphs, as_crystals
from gnnpre.pretrained import FORCE_FIELD, shipped_checksum
from gnnpre.training import TrainingSettings, from_spec, to_spec

from ._force_field_features import ForceFieldFeatures
from ._frozen_network import FrozenNetwork
from ._kernel_classifier import KernelClassifier
from ._kernel_regressor import KernelRegressor
from ._target_process import MachineState

__all__ = ["FeatureBlocks", "KernelHead", "KernelPredictions", "make_features"]

#: Properties of crystals and their standard deviations, each ``(n, k)``.
KernelPredictions = tuple[np.ndarray, np.ndarray]

NAMES = ("composition", "fingerprint", "force_field")
CUTOFF = 5.0  # Å, of the fingerprint


def make_features(names: Any) -> dict[str, Any]:
    """Return the transformers that the parameter ``kernel_features`` asks for, by name.

    Parameters
    ----------
    names : sequence of {"composition", "fingerprint", "force_field"} or transformers
        The parameter.

    Returns
    -------
    dict of str to transformer
        New transformers from crystals to tables.

    Raises
    ------
    ValueError, TypeError
        If an entry is neither a name nor a transformer, or a name occurs twice.
    """
    if isinstance(names, str) or not isinstance(names, (list, tuple)):
        raise TypeError(
            f"kernel_features={names!r}; expected a sequence of {', '.join(map(repr, NAMES))} or "
            "transformers of crystals, such as ('composition', FoundationFeatures('chgnet'))."
        )
    transformers: dict[str, Any] = {}
    for entry in names:
        if isinstance(entry, str) and entry not in NAMES:
            raise ValueError(f"kernel_features has {entry!r}; expected {' or '.join(NAMES)}.")
        if isinstance(entry, type):
            raise TypeError(
                f"kernel_features has the class {entry.__name__}; expected an instance, such as "
                f"{entry.__name__}()."
            )
        if not isinstance(entry, str) and not hasattr(entry, "transform"):
            raise TypeError(
                f"kernel_features has an object of type {type(entry).__name__}, which has no "
                "transform method."
            )
        if isinstance(entry, str) and entry in transformers:
            raise ValueError(f"kernel_features has {entry} twice: leave one out.")
        transformers[_new_name(entry, transformers)] = _make(entry)
    return transformers


def _new_name(entry: Any, used: Mapping[str, Any]) -> str:
    """Return the name of a block in files and errors; a second one of a class has a number."""
    if isinstance(entry, str):
        return entry
    name = type(entry).__name__
    names = [name, *(f"{name}_{number}" for number in range(2, len(used) + 2))]
    return next(new for new in names if new not in used)


def _make(entry: Any) -> Any:
    if entry == "composition":
        return Composition()
    if entry == "fingerprint":
        return EAD(cutoff=CUTOFF, pooling="cumulants")
    if entry == "force_field":
        return ForceFieldFeatures(shipped_checksum(FORCE_FIELD))
    return clone(entry)


def _check_table(name: str, table: Any, crystals: Any) -> np.ndarray:
    """Return a table as float64; raise ValueError unless it has one row for each crystal."""
    if isinstance(table, list):
        raise ValueError(
            f"The features {name!r} are a list, one entry for each crystal; expected a table. Set "
            "pooling='cumulants', for example."
        )
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(crystals):
        raise ValueError(
            f"The features {name!r} are of shape {values.shape}; expected ({len(crystals)}, "
            "n_features)."
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(
            f"The features {name!r} of {len(bad)} of {len(values)} crystals are not finite, first "
            f"of crystal {bad[0]}: fill in missing values, such as by SimpleImputer in a pipeline."
        )
    return values


class FeatureBlocks:
    """Blocks of features of crystals: embeddings of a frozen network, and tables of transformers.

    Parameters
    ----------
    transformers : mapping of str to transformer
        Transformers from crystals to tables, by name.
    """

    def __init__(self, transformers: Mapping[str, Any]) -> None:
        self.transformers = dict(transformers)

    def fit(self, graphs: Any, rows: np.ndarray | None = None) -> "FeatureBlocks":
        """Fit the transformers to some rows; those of gnnpre learn nothing from crystals."""
        crystals = as_crystals(graphs)
        for transformer in self.transformers.values():
            if isinstance(transformer, ForceFieldFeatures):
                transformer.check_elements(crystals)  # of all rows, so that it names those of X
        if rows is not None:
            crystals = crystals[rows]
        for transformer in self.transformers.values():
            transformer.fit(crystals)
        return self

    def compute(
        self, network: FrozenNetwork | None, crystals: Any, rows: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Compute the features of crystals, or of some rows of them.

        Parameters
        ----------
        network : FrozenNetwork or None
            The network; None for none, with crystals in any container.
        crystals : CrystalGraphs or Crystals
            The crystals.
        rows : ndarray of int, optional
            Rows to compute; all by default.

        Returns
        -------
        list of ndarray of shape (n, d)
            The blocks.
        """
        # Embeddings first: the order of the blocks is that of the fitted lengths.
        blocks = [] if network is None else network.blocks(crystals, rows)
        # Transformers build their own graphs, of another cutoff than that of the network.
        without_edges = as_crystals(crystals)
        if rows is not None and not np.array_equal(rows, np.arange(len(crystals))):
            without_edges = without_edges[rows]
        device = resolve_device("auto") if network is None else network.device
        for name, transformer in self.transformers.items():
            # A force field follows the network; transformers of others have devices of their own.
            if isinstance(transformer, ForceFieldFeatures):
                transformer.check_elements(without_edges)
                table = transformer.compute(without_edges, device)
            else:
                table = transformer.transform(without_edges)
            blocks.append(_check_table(name, table, without_edges))
        return blocks

    def to_spec(self) -> list[Any]:
        """Return the transformers as JSON."""
        for name, transformer in self.transformers.items():
            if not isinstance(transformer, Registered):
                raise TypeError(
                    f"The features {name!r} cannot be written to a file: only transformers of "
                    "gnnpre can, which learn nothing from crystals. Pickle the estimator instead."
                )
        return [
            [name, to_spec(transformer, name)] for name, transformer in self.transformers.items()
        ]

    @classmethod
    def from_spec(cls, spec: list[Any], classes: Mapping[str, type]) -> "FeatureBlocks":
        """Return the blocks that :meth:`to_spec` described."""
        return cls({str(name): from_spec(item, classes) for name, item in spec})


class KernelHead:
    """A fitted kernel machine in the place of a network's readout.

    Parameters
    ----------
    network : FrozenNetwork
        The pre-trained network.
    features : FeatureBlocks
        Features of the machine beside those of the network.
    machine : KernelRegressor or KernelClassifier
        The machine, which predicts values per atom if ``extensive``, else of a crystal.
    extensive : bool
        Whether predictions are multiplied by the number of atoms.
    """

    def __init__(
        self,
        network: FrozenNetwork,
        features: FeatureBlocks,
        machine: Any,
        extensive: bool = False,
    ) -> None:
        self.network = network
        self.features = features
        self.machine = machine
        self.extensive = extensive

    def sizes(self, graphs: CrystalGraphs) -> np.ndarray:
        """Return the factors of predictions per atom, ``(n, 1)``; ones for intensive properties."""
        counts = np.asarray(graphs.atom_counts, dtype=np.float64)
        return (counts if self.extensive else np.ones(len(counts)))[:, None]

    def predict(self, graphs: CrystalGraphs, rows: np.ndarray | None = None) -> KernelPredictions:
        """Predict properties and their standard deviations, of all crystals or of some rows."""
        table = np.hstack(self.features.compute(self.network, graphs, rows))
        # The machine predicts per atom; deviations grow with the crystal as values do.
        sizes = self.sizes(graphs) if rows is None else self.sizes(graphs)[rows]
        mean, std = self.machine.predict(table, return_std=True)
        return mean.reshape(len(sizes), -1) * sizes, std.reshape(len(sizes), -1) * sizes

    def predict_proba(self, graphs: CrystalGraphs, n_classes: int) -> np.ndarray:
        """Predict the probabilities of classes, ``(n, n_classes)``; 0 for those never seen."""
        table = np.hstack(self.features.compute(self.network, graphs))
        # The training part may lack a class that the validation part has.
        probabilities = np.zeros((len(table), n_classes))
        probabilities[:, self.machine.classes_] = self.machine.predict_proba(table)
        return probabilities

    def to_state(self) -> MachineState:
        """Return everything as JSON and arrays."""
        state, arrays = self.machine.to_state()
        network, weights = self.network.to_state()
        values: dict[str, Any] = {
            "network": network,
            "features": self.features.to_spec(),
            "machine": state,
            "extensive": self.extensive,
        }
        if isinstance(self.machine, KernelClassifier):
            values["classes"] = self.machine.classes_.tolist()
        return values, {**add_prefix("kernel", arrays), **add_prefix("frozen", weights)}

    @classmethod
    def from_state(
        cls,
        values: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        classes: Mapping[str, type],
        settings: TrainingSettings,
    ) -> "KernelHead":
        """Return the head that :meth:`to_state` described, with a network on some device."""
        weights = select_prefix("frozen", arrays)
        network = FrozenNetwork.from_state(values["network"], weights, classes, settings)
        arrays = select_prefix("kernel", arrays)
        features = FeatureBlocks.from_spec(values["features"], classes)
        machine: Any
        # Only a classifier has classes, which tells the two machines apart.
        if "classes" in values:
            machine = KernelClassifier()
            machine.set_state(values["machine"], arrays, np.array(values["classes"]))
        else:
            machine = KernelRegressor()
            machine.set_state(values["machine"], arrays)
        return cls(network, features, machine, bool(values["extensive"]))
