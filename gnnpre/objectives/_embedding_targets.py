"""Features that another model computes as targets: distillation of a teacher."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from pickle import PicklingError
from typing import Any, ClassVar

import joblib
import numpy as np
import torch
from sklearn.exceptions import NotFittedError

from gnnpre._constraints import Check
from gnnpre._feature_store import check_cache, crystal_digests, open_store, read_or_compute
from gnnpre._registry import Registered
from gnnpre._version import __version__
from gnnpre.foundation import FoundationFeatures
from gnnpre.graphs import CrystalGraphs, Crystals, LazyGraphs, as_crystals, is_on_disk

from ._feature_objective import FEATURE_CONSTRAINTS, FeatureObjective
from ._lazy_targets import AtomFile, LazyTargets
from ._targets import Targets

__all__ = ["EmbeddingTargets"]

# Crystals that the teacher gets at a time.
BLOCK = 1024


def check_teacher(name: str, teacher: Any) -> None:
    """Check that a teacher, if there is one, is a transformer."""
    if teacher is None or (hasattr(teacher, "transform") and not isinstance(teacher, type)):
        return
    raise TypeError(
        f"{name}={teacher!r}; expected a transformer such as FoundationFeatures('chgnet'), or a "
        "fitted one in sklearn.frozen.FrozenEstimator."
    )


class EmbeddingTargets(FeatureObjective):
    """Learn the features that a teacher computes, of atoms or of crystals; needs no labels.

    The features are computed once, before training, and stored on disk by the content of the
    crystals and of the teacher. A perceptron predicts them: from the features of each atom where
    the teacher describes atoms, from their mean where it describes crystals. Of a ``CrystalStore``,
    features of atoms go to a temporary file, and features of crystals (4 or 8 bytes times D for
    each) stay in memory.

    Parameters
    ----------
    teacher : transformer
        Its ``transform`` returns an array ``(n_atoms, D)`` for each crystal, such as
        ``FoundationFeatures("chgnet")``, or an array ``(n, D)``, such as a fitted ``Pretrainer`` in
        ``sklearn.frozen.FrozenEstimator`` (without which ``clone`` would take its weights away).
    loss : {"l1", "huber", "mse"}
        Loss of each feature.
    huber_delta : float
        Error at which the Huber loss turns from quadratic to linear, in units of a (standardised)
        feature.
    standardize : bool
        Subtract the mean of each feature over the training set and divide by its standard
        deviation, in float64.
    cache : bool, str or Path
        Folder that features are stored in; True for the cache of gnnpre, False for none. A
        ``FoundationFeatures`` has a cache of its own.
    head_channels : int, optional
        Width of the hidden layers of the perceptron; that of the backbone by default.
    head_layers : int
        Hidden layers of the perceptron.

    Notes
    -----
    A saved model predicts the embeddings, but holds no teacher that is not a config of gnnpre.

    Examples
    --------
    >>> from gnnpre import CGCNN, EAD, EmbeddingTargets, Pretrainer
    >>> from gnnpre.datasets import make_emt_frames
    >>> structures, _ = make_emt_frames(12, random_state=0)
    >>> objective = EmbeddingTargets(EAD(L=0, pooling="mean"), cache=False)
    >>> pretrainer = Pretrainer(CGCNN(8, 1), objective, max_epochs=1, random_state=0)
    >>> pretrainer.fit(structures).predict(structures[:2]).shape
    (2, 8)
    """

    atom_features: ClassVar[str] = "embeddings"
    crystal_features: ClassVar[str] = "crystal_embeddings"
    _constraints: ClassVar[dict[str, Check]] = {
        "teacher": check_teacher,
        **FEATURE_CONSTRAINTS,
        "cache": check_cache,
    }

    def __init__(
        self,
        teacher: Any = None,
        loss: str = "l1",
        *,
        huber_delta: float = 0.1,
        standardize: bool = True,
        cache: bool | str | Path = True,
        head_channels: int | None = None,
        head_layers: int = 1,
    ) -> None:
        self.teacher = teacher
        self.loss = loss
        self.huber_delta = huber_delta
        self.standardize = standardize
        self.cache = cache
        self.head_channels = head_channels
        self.head_layers = head_layers

    def make_targets(self, graphs: CrystalGraphs, y: Any) -> Targets:
        self.check_parameters()
        if self.teacher is None:
            raise ValueError(
                "teacher=None; expected a transformer such as FoundationFeatures('chgnet')."
            )
        if is_on_disk(graphs):
            return self._stream_targets(graphs)
        rows = [row for block in self._blocks(as_crystals(graphs).split(BLOCK)) for row in block]
        if rows[0].ndim == 1:
            return Targets(graphs.atom_counts, {self.crystal_features: self._tensor(rows)})
        return Targets(graphs.atom_counts, {}, {self.atom_features: self._tensor(rows)})

    def _stream_targets(self, graphs: LazyGraphs) -> Targets:
        """Return the targets of crystals on disk: those of atoms go to a temporary file."""
        blocks = self._blocks(graphs.crystals.pieces(BLOCK))
        first = next(blocks)
        tensors = (self._tensor(rows) for rows in chain([first], blocks))
        if first[0].ndim == 1:
            return Targets(graphs.atom_counts, {self.crystal_features: torch.cat(list(tensors))})
        chunks = (tensor.numpy() for tensor in tensors)
        source = AtomFile(self.atom_features, graphs.atom_counts, chunks)
        return LazyTargets(graphs.atom_counts, {"": source})

    def _tensor(self, rows: list[np.ndarray]) -> torch.Tensor:
        """Return the features of some crystals, or of all their atoms, as one tensor."""
        values = torch.from_numpy(np.stack(rows) if rows[0].ndim == 1 else np.concatenate(rows))
        if not torch.isfinite(values).all():
            raise ValueError(f"teacher={self.teacher!r} returned features that are not finite.")
        return values

    def _blocks(self, pieces: Iterable[Crystals]) -> Iterator[list[np.ndarray]]:
        """Yield the features of each crystal, ``(n_atoms, D)`` or ``(D,)``, piece by piece."""
        # FoundationFeatures stores its features itself.
        store = None if isinstance(self.teacher, FoundationFeatures) else open_store(self.cache)
        prefix = "" if store is None else f"{__version__} {self._teacher_digest()}"
        for block in pieces:

            def compute(rows: np.ndarray, block: Crystals = block) -> list[list[np.ndarray]]:
                return [[values] for values in self._compute(block[rows])]

            keys = [[f"{prefix} {digest}"] for digest in crystal_digests(block)]
            yield [values for (values,) in read_or_compute(store, keys, compute)]

    def _teacher_digest(self) -> str:
        try:
            return str(joblib.hash(self.teacher))
        except (PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"teacher={self.teacher!r} cannot be pickled ({error}), so that its features "
                "cannot be found again on disk: use a function that is defined in a module in "
                "place of a lambda, or set cache=False."
            ) from error

    def _compute(self, crystals: Crystals) -> list[np.ndarray]:
        """Return the teacher's features of each crystal, in float32 or float64."""
        # An array (n, D) and a list of n arrays both iterate over crystals.
        try:
            output = self.teacher.transform(crystals)
        except NotFittedError as error:
            raise NotFittedError(
                f"teacher is a {type(self.teacher).__name__} that is not fitted. Estimators copy "
                "their parameters without what they have learnt: pass "
                "sklearn.frozen.FrozenEstimator(teacher) with the fitted one."
            ) from error
        if hasattr(output, "to_numpy"):  # a DataFrame, under sklearn.set_config or set_output
            output = output.to_numpy()
        rows = [np.asarray(values) for values in output]
        sizes = np.asarray(crystals.n_atoms)
        # A table (n, D) has rows of one dimension, a list of atoms rows of two.
        per_crystal = len(rows) == len(crystals) and all(row.ndim == 1 for row in rows)
        per_atom = len(rows) == len(crystals) and all(
            row.ndim == 2 and len(row) == size for row, size in zip(rows, sizes, strict=True)
        )
        if not (per_crystal or per_atom) or any(row.dtype.kind != "f" for row in rows):
            raise ValueError(
                f"teacher={self.teacher!r} returned {type(output).__name__} for "
                f"{len(crystals)} crystals; expected one array (n_atoms, D) of floats for each, or "
                "one array (n, D)."
            )
        return [row if row.dtype == np.float32 else row.astype(np.float64) for row in rows]

    def saved_config(self) -> "EmbeddingTargets":
        # Without a teacher that is not a config of gnnpre: a file cannot store it.
        if isinstance(self.teacher, Registered):
            return self
        # Not clone: it would copy the weights of the teacher first.
        parameters = self.get_params(deep=False)
        return EmbeddingTargets(**{**parameters, "teacher": None})
