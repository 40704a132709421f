"""How graphs were built: kept with them, and with every model that was trained on them."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["GraphSettings"]


@dataclass(frozen=True)
class GraphSettings:
    """Settings of :class:`StructureToGraph` that decide which edges there are.

    Parameters
    ----------
    cutoff : float
        Largest edge length in Å.
    max_neighbors : int, optional
        Neighbours kept around each atom; all of them by default.
    neighbor_cut : {"shell", "exact"}
        What ``max_neighbors`` does to a shell of equal distances that it cuts.
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

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as a JSON-able dict.

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
        """Say in words how these settings differ from those expected; empty when equal.

        Parameters
        ----------
        expected : GraphSettings
            What they are compared with.

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
        mine, theirs = self.to_dict(), expected.to_dict()
        if self.max_neighbors is None and expected.max_neighbors is None:
            mine, theirs = {"cutoff": self.cutoff}, {"cutoff": expected.cutoff}
        return ", ".join(
            f"{name} is {value!r}, not {theirs[name]!r}"
            for name, value in mine.items()
            if value != theirs[name]
        )
