"""Elements in X: those that the backbone cannot embed, and those that training has not seen."""

from collections.abc import Iterator
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from gnnpre._warnings import UnseenElementWarning, warn_user
from gnnpre.graphs import CrystalGraphs, Crystals, is_on_disk

__all__ = [
    "UnseenElements",
    "check_elements",
    "elements_of",
    "warn_of_missing_references",
    "warn_of_unseen_elements",
]

LARGEST_ATOMIC_NUMBER = 118
# Rows that a warning names for each element.
ROWS_SHOWN = 3
# Elements that users of a fitted net or transformer have been warned of: each is named once.
WARNED: "WeakKeyDictionary[Any, set[int]]" = WeakKeyDictionary()


def elements_of(graphs: CrystalGraphs, rows: np.ndarray | None = None) -> list[int]:
    """Return the atomic numbers in graphs, or in some rows of them, ascending."""
    if is_on_disk(graphs):
        return graphs.elements(rows)
    if rows is None or len(rows) == len(graphs):
        return [int(z) for z in torch.unique(graphs.atomic_numbers).tolist()]
    chosen = np.zeros(len(graphs), dtype=bool)
    chosen[rows] = True
    numbers = graphs.atomic_numbers.cpu().numpy()[np.repeat(chosen, graphs.atom_counts)]
    return [int(z) for z in np.unique(numbers)]


def check_elements(graphs: CrystalGraphs, largest: int, first: int = 0) -> None:
    """Raise ValueError for elements out of the range of the backbone's embedding.

    Parameters
    ----------
    graphs : CrystalGraphs
        The crystals.
    largest : int
        Largest atomic number that the backbone embeds.
    first : int
        Row of X that the first of the graphs is.

    Raises
    ------
    ValueError
        If a crystal holds another element; the message names its row.
    """
    if is_on_disk(graphs):
        outside = graphs.rows_with(largest + 1, LARGEST_ATOMIC_NUMBER)
        if not len(outside):
            return
        first, graphs = int(outside[0]), graphs[outside[:1]]
    numbers = graphs.atomic_numbers.cpu().numpy()
    rows = np.flatnonzero((numbers < 1) | (numbers > largest))
    if len(rows):
        crystal = int(np.searchsorted(np.cumsum(graphs.atom_counts), rows[0], side="right"))
        raise ValueError(
            f"Crystal {first + crystal} of X holds an element of atomic number "
            f"{numbers[rows[0]]}; the backbone knows 1 to {largest}. Leave that crystal out."
        )


class UnseenElements:
    """Elements in X that the model was not trained on, with the rows that contain them.

    Parameters
    ----------
    trained_on : list of int
        Atomic numbers of the training.
    """

    def __init__(self, trained_on: list[int]) -> None:
        self.trained_on = trained_on
        self.n_crystals = 0
        self._rows: dict[int, list[int]] = {}

    def add(self, graphs: CrystalGraphs) -> None:
        """Look through the next crystals of X."""
        new = [z for z in elements_of(graphs) if z not in self.trained_on]
        if is_on_disk(graphs):
            for z in new:
                rows = graphs.rows_with(z, z) + self.n_crystals
                self._rows.setdefault(z, []).extend(rows.tolist())
        elif new:
            self._add_rows(new, graphs.atomic_numbers.cpu().numpy(), graphs.atom_counts)
        self.n_crystals += len(graphs)

    def add_crystals(self, crystals: Crystals) -> None:
        """Look through crystals whose graphs are not built."""
        new = sorted(set(np.unique(crystals.atomic_numbers).tolist()) - set(self.trained_on))
        self._add_rows(new, crystals.atomic_numbers, crystals.n_atoms)
        self.n_crystals += len(crystals)

    def _add_rows(self, new: list[int], numbers: np.ndarray, atom_counts: np.ndarray) -> None:
        """Note the rows of each new element."""
        crystals = np.repeat(np.arange(len(atom_counts)), atom_counts)
        for z in new:
            rows = np.unique(crystals[numbers == z]) + self.n_crystals
            self._rows.setdefault(z, []).extend(rows.tolist())

    def warn(self, net: Any) -> None:
        """Warn once for each fitted net and element."""
        warned = WARNED.setdefault(net, set())
        if not set(self._rows) - warned:
            return
        warned.update(self._rows)
        rows = sorted(set().union(*self._rows.values()))
        warn_user(
            "X holds elements that the model was not trained on: "
            f"{'; '.join(self._descriptions())}. Predictions for {len(rows)} of "
            f"{self.n_crystals} crystals rest on untrained weights.",
            UnseenElementWarning,
        )

    def warn_before_training(self) -> None:
        """Warn of elements whose pre-trained weights are random, before they are fine-tuned."""
        if not self._rows:
            return
        rows = set().union(*self._rows.values())
        warn_user(
            "X holds elements that the pre-trained model has never seen: "
            f"{'; '.join(self._descriptions())}. For these {len(rows)} of {self.n_crystals} "
            "crystals fine-tuning begins with random weights of these elements, so that "
            "pre-training may not help there.",
            UnseenElementWarning,
        )

    def warn_of_features(self, transformer: Any, model: str) -> None:
        """Warn once for each transformer and element that its features are random."""
        warned = WARNED.setdefault(transformer, set())
        if not set(self._rows) - warned:
            return
        warned.update(self._rows)
        rows = set().union(*self._rows.values())
        warn_user(
            f"X holds elements that {model} has never seen: {'; '.join(self._descriptions())}. Its "
            f"features of these {len(rows)} of {self.n_crystals} crystals come from random "
            "weights. If they are many, leave 'force_field' out of kernel_features.",
            UnseenElementWarning,
        )

    def _descriptions(self) -> Iterator[str]:
        from ase.data import chemical_symbols

        for z, rows in sorted(self._rows.items()):
            shown = ", ".join(str(row) for row in islice(rows, ROWS_SHOWN))
            more = ", ..." if len(rows) > ROWS_SHOWN else ""
            yield f"{chemical_symbols[z]} (row{'s' if len(rows) > 1 else ''} {shown}{more})"


def warn_of_unseen_elements(graphs: CrystalGraphs, trained_on: list[int]) -> None:
    """Warn of elements that a pre-trained model has never seen, before it is fine-tuned.

    Parameters
    ----------
    graphs : CrystalGraphs
        The crystals to fine-tune on.
    trained_on : list of int
        Atomic numbers of the pre-training.
    """
    unseen = UnseenElements(trained_on)
    unseen.add(graphs)
    unseen.warn_before_training()


def warn_of_missing_references(graphs: CrystalGraphs, train: np.ndarray, valid: np.ndarray) -> None:
    """Warn of elements of validation frames whose energies no training frame determines.

    Parameters
    ----------
    graphs : CrystalGraphs
        All frames.
    train, valid : ndarray of int
        Rows to train on, and to validate on.
    """
    missing = sorted({*elements_of(graphs, valid)} - {*elements_of(graphs, train)})
    if not missing:
        return
    from ase.data import chemical_symbols

    warn_user(
        "Validation frames hold elements that no training frame has: "
        f"{', '.join(chemical_symbols[z] for z in missing)}. The zero of their energies is "
        "unknown, and may be hundreds of eV away, so that valid_loss says little, though "
        "restore_best chooses weights by it. Hold out other frames (groups, validation_fraction), "
        "or set validation_fraction=0.",
        UnseenElementWarning,
    )
