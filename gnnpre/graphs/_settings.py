"""Settings of graphs, stored with them and with every model that was trained on them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gnnpre._validation import check_choice, check_number

__all__ = ["GraphSettings"]

# In Å; beyond this every atom has a hundred thousand neighbours, and the unit is another one.
LARGEST_CUTOFF = 60.0


@dataclass(frozen=True)
class GraphSettings:
    """Settings of :class:`StructureToGraph` that decide which edges there are.

    Parameters
    ----------
    cutoff : float
        Largest edge length in Å.
    max_neighbors : int, optional
        Number of nearest neighbours of each atom; all of them by default.
    neighbor_cut : {"shell", "exact"}
        How ``max_neighbors`` treats a shell of equal distances that it falls into.
    shell_tolerance : float
        Distances that differ by less (Å) belong to one shell.

    Examples
    --------
    >>> from gnnpre.graphs import GraphSettings
    >>> GraphSettings(cutoff=5.0).difference(GraphSettings(cutoff=6.0))
    'cutoff is 5.0, not 6.0'
    """

    cutoff: float
    max_neighbors: int | None = None
    neighbor_cut: str = "shell"
    shell_tolerance: float = 0.01

    def check(self) -> None:
        """Check that every setting is of its type and within its range.

        Raises
        ------
        ValueError
            If one is not; the message names it and what is expected.

        Examples
        --------
        >>> from gnnpre.graphs import GraphSettings
        >>> GraphSettings(cutoff=5.0).check()
        """
        check_number("cutoff", self.cutoff, high=LARGEST_CUTOFF)
        if self.max_neighbors is not None:
            check_number("max_neighbors", self.max_neighbors, integer=True)
        check_choice("neighbor_cut", self.neighbor_cut, ("shell", "exact"))
        check_number("shell_tolerance", self.shell_tolerance, low_included=True)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "GraphSettings":
        """Build checked settings from the names and values of :meth:`to_dict`.

        Parameters
        ----------
        values : mapping of str to value
            Such as those in the file of a model or of graphs.

        Returns
        -------
        GraphSettings
            The settings.

        Raises
        ------
        ValueError
            If a name is missing or unknown, or a value is out of range.

        Examples
        --------
        >>> from gnnpre.graphs import GraphSettings
        >>> settings = GraphSettings(cutoff=5.0)
        >>> GraphSettings.from_dict(settings.to_dict()) == settings
        True
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise ValueError(f"graph settings are {values!r}; expected values of {sorted(names)}.")
        settings = cls(**values)
        settings.check()
        return settings

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dict of JSON values.

        Returns
        -------
        dict
            Names and values.

        Examples
        --------
        >>> from gnnpre.graphs import GraphSettings
        >>> GraphSettings(cutoff=5.0).to_dict()["cutoff"]
        5.0
        """
        return asdict(self)

    def difference(self, expected: "GraphSettings") -> str:
        """Describe how these settings differ from those expected; empty when equal.

        Parameters
        ----------
        expected : GraphSettings
            The settings to compare with.

        Returns
        -------
        str
            Such as ``"cutoff is 5.0, not 6.0"``.

        Examples
        --------
        >>> from gnnpre.graphs import GraphSettings
        >>> GraphSettings(cutoff=5.0).difference(GraphSettings(cutoff=5.0))
        ''
        """
        names = list(self.to_dict())
        if self.max_neighbors is None and expected.max_neighbors is None:
            names = ["cutoff"]  # the others matter only to a cut
        return ", ".join(
            f"{name} is {getattr(self, name)!r}, not {getattr(expected, name)!r}"
            for name in names
            if getattr(self, name) != getattr(expected, name)
        )
