"""The result of a leak audit."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ._matching import NO_MATCH

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LEVELS", "NO_OVERLAP", "LeakAudit"]

#: From the surest sign that two entries are one material to the weakest.
LEVELS = ("id", "structure", "prototype", "composition")
NO_OVERLAP = "none"


@dataclass(frozen=True, repr=False, eq=False)
class LeakAudit:
    """The overlap of each evaluation crystal with the pre-training set; see :func:`leak_audit`.

    Parameters
    ----------
    formulas : ndarray of str of shape (n,)
        Reduced formulas of the evaluation crystals.
    n_pretraining : int
        Number of pre-training crystals.
    matches : mapping of str to ndarray of int of shape (n,)
        For each level that was compared (``"id"``, ``"structure"``, ``"prototype"``,
        ``"composition"``) the index of the first pre-training crystal that is the same, -1 where
        none is.
    seen_labels : mapping of str to ndarray of bool of shape (n,)
        Of an audit of a model: for each label, whether the model was trained with it on a crystal
        of the same structure or id. Empty if two sets of structures were compared, or neither
        structures nor ids.

    See Also
    --------
    drop_leaks : Which pre-training crystals to keep.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.model_selection import leak_audit
    >>> cubic = [Structure(Lattice.cubic(3.0), [x], [[0, 0, 0]]) for x in ("Po", "Mn", "Te")]
    >>> audit = leak_audit(cubic[:2], cubic[1:])
    >>> audit.level.tolist(), audit.match.tolist()
    (['structure', 'none'], [1, -1])
    """

    formulas: np.ndarray
    n_pretraining: int
    matches: Mapping[str, np.ndarray]
    seen_labels: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.formulas)

    @property
    def level(self) -> np.ndarray:
        """The surest level at which each crystal occurs in the pre-training set, or "none"."""
        levels = np.full(len(self), NO_OVERLAP, dtype=object)
        for name in self._weakest_first():
            levels[self.matches[name] != NO_MATCH] = name
        return levels.astype(str)

    @property
    def match(self) -> np.ndarray:
        """Index of the first pre-training crystal that overlaps at :attr:`level`; -1 for none."""
        match = np.full(len(self), NO_MATCH, dtype=np.int64)
        for name in self._weakest_first():
            indices = self.matches[name]
            match = np.where(indices == NO_MATCH, match, indices)
        return match

    def _weakest_first(self) -> list[str]:
        return [name for name in reversed(LEVELS) if name in self.matches]

    def counts(self) -> dict[str, int]:
        """Count the evaluation crystals that occur in the pre-training set, level by level.

        Returns
        -------
        dict of str to int
            Crystals with the same id, structure, prototype, composition (those looked at), and
            with none of them. A crystal counts at each level that it shares.

        Examples
        --------
        >>> import numpy as np
        >>> from gnnpre.model_selection import LeakAudit
        >>> matches = {"composition": np.array([4, -1, 2])}
        >>> LeakAudit(np.array(["Si", "C", "Ge"]), 10, matches).counts()
        {'composition': 2, 'none': 1}
        """
        shared = {
            name: int((self.matches[name] != NO_MATCH).sum())
            for name in LEVELS
            if name in self.matches
        }
        return {**shared, NO_OVERLAP: int((self.level == NO_OVERLAP).sum())}

    def summary(self) -> str:
        """Write the counts as a table of text.

        Returns
        -------
        str
            One row for each level: how many evaluation crystals share it, their share of all, and
            for how many it is the surest sign. Of a model, one more row for each label.

        Examples
        --------
        >>> import numpy as np
        >>> from gnnpre.model_selection import LeakAudit
        >>> matches = {"composition": np.array([4, -1, 2])}
        >>> print(LeakAudit(np.array(["Si", "C", "Ge"]), 10, matches).summary())
        3 evaluation crystals against 10 pre-training crystals
        same              crystals   part  surest sign
        composition              2  66.7%            2
        none                     1  33.3%            1
        """
        highest = self.level
        lines = [
            f"{len(self)} evaluation crystals against {self.n_pretraining} pre-training crystals",
            f"{'same':<16}{'crystals':>10}{'part':>7}{'surest sign':>13}",
        ]
        for name, count in self.counts().items():
            surest = int((highest == name).sum())
            lines.append(f"{name:<16}{count:>10}{count / len(self):>7.1%}{surest:>13}")
        for name, seen in self.seen_labels.items():
            lines.append(f"trained on {name}: {int(seen.sum())} crystals")
        return "\n".join(lines)

    def to_frame(self) -> "pd.DataFrame":
        """Return the result as a table of pandas, one row for each evaluation crystal.

        Returns
        -------
        DataFrame of n rows
            Columns ``formula``, ``level``, ``match``, and for each level that was looked at the
            index of the first match (``same_structure`` and so on), -1 for none. Of a model, one
            more column for each label (``trained_on_band_gap_eV``).

        Examples
        --------
        >>> import numpy as np
        >>> from gnnpre.model_selection import LeakAudit
        >>> audit = LeakAudit(np.array(["Si"]), 10, {"composition": np.array([4])})
        >>> audit.to_frame().to_dict("records")
        [{'formula': 'Si', 'level': 'composition', 'match': 4, 'same_composition': 4}]
        """
        import pandas as pd

        indices = {f"same_{name}": self.matches[name] for name in LEVELS if name in self.matches}
        columns = {"formula": self.formulas, "level": self.level, "match": self.match}
        labels = {f"trained_on_{name}": seen for name, seen in self.seen_labels.items()}
        return pd.DataFrame({**columns, **indices, **labels})

    def __repr__(self) -> str:
        counts = ", ".join(f"{name}={count}" for name, count in self.counts().items())
        return f"LeakAudit(n={len(self)}, {counts})"

    def __str__(self) -> str:
        return self.summary()
