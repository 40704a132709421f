"""Statistics of the elements in a crystal, as features of its composition."""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator

from gnnpre._constraints import Check, HasConstraints, boolean
from gnnpre._registry import Registered
from gnnpre.graphs import (
    Crystals,
    IndexedTransformerMixin,
    StatelessTransformerMixin,
    as_crystals,
)

__all__ = ["Composition"]

N_ELEMENTS = 118
STATISTICS = ("mean", "std", "min", "max", "range")
BLOCKS = "spdf"


def _valence(block: str) -> Callable[[Any], Any]:
    """Return a function from an element to its electrons of one block outside the noble core."""

    def count(element: Any) -> int:
        shells = element.electronic_structure.split(".")
        electrons = [shell.split("<")[0] for shell in shells if not shell.startswith("[")]
        return sum(int(shell[2:]) for shell in electrons if shell[1] == block)

    return count


#: Properties of an element, from the data that pymatgen maintains.
PROPERTIES: dict[str, Callable[[Any], Any]] = {
    "atomic_number": lambda element: element.Z,
    "period": lambda element: element.row,
    "group": lambda element: element.group,
    "electronegativity": lambda element: element.X,
    "atomic_mass": lambda element: element.atomic_mass,
    "atomic_radius": lambda element: element.atomic_radius,
    "mendeleev_number": lambda element: element.mendeleev_no,
    "ionization_energy": lambda element: element.ionization_energy,
    "electron_affinity": lambda element: element.electron_affinity,
    "molar_volume": lambda element: element.molar_volume,
    "melting_point": lambda element: element.melting_point,
    **{f"{block}_valence": _valence(block) for block in BLOCKS},
}


@cache
def element_properties() -> np.ndarray:
    """Return the properties of all elements, ``(118, P)``; a missing one is the median."""
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pymatgen warns of every missing value
        elements = [Element.from_Z(number) for number in range(1, N_ELEMENTS + 1)]
        rows = [[_value(get, element) for get in PROPERTIES.values()] for element in elements]
    table = np.array(rows)
    return np.where(np.isnan(table), np.nanmedian(table, axis=0), table)


def _value(get: Callable[[Any], Any], element: Any) -> float:
    try:
        value = get(element)
    except (AttributeError, IndexError, KeyError, ValueError):  # not tabulated for this element
        return np.nan
    return np.nan if value is None else float(value)


def check_properties(name: str, properties: Any) -> None:
    """Check that properties are None or distinct names of tabulated ones."""
    if properties is None:
        return
    names = list(PROPERTIES)
    valid = isinstance(properties, (list, tuple)) and all(name in names for name in properties)
    if not valid or not len(properties) or len(set(properties)) < len(properties):
        raise ValueError(
            f"{name}={properties!r}; expected None or distinct names among {list(PROPERTIES)}."
        )


class Composition(
    Registered, HasConstraints, StatelessTransformerMixin, IndexedTransformerMixin, BaseEstimator
):
    """Describe crystals by their composition alone: statistics of elements, and fractions.

    For each property of the elements it returns the mean, standard deviation, minimum, maximum
    and range over the atoms of a crystal, as in Magpie's features, and the fraction of atoms of
    each element. Beside the embedding of a network these features help with few labels.

    Parameters
    ----------
    properties : sequence of str, optional
        Properties of the elements; all of them by default: ``"atomic_number"``, ``"period"``,
        ``"group"``, ``"electronegativity"`` (Pauling), ``"atomic_mass"`` (u),
        ``"atomic_radius"`` (Å), ``"mendeleev_number"``, ``"ionization_energy"`` (eV),
        ``"electron_affinity"`` (eV), ``"molar_volume"`` (cm^3), ``"melting_point"`` (K) and the
        valence electrons ``"s_valence"`` to ``"f_valence"``.
    fractions : bool
        Whether to add the fraction of each of 118 elements.

    See Also
    --------
    EAD : Describes the structure.

    Notes
    -----
    The data are pymatgen's. A property that an element lacks, such as the electronegativity of
    helium, takes the median over the elements.

    References
    ----------
    L. Ward, A. Agrawal, A. Choudhary and C. Wolverton, "A general-purpose machine learning
    framework for predicting properties of inorganic materials", npj Comput. Mater. 2, 16028 (2016).

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from gnnpre.fingerprints import Composition
    >>> salt = Structure(Lattice.cubic(3.5), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    >>> composition = Composition(["atomic_number"], fractions=False)
    >>> composition.fit_transform([salt])
    array([[14.,  3., 11., 17.,  6.]])
    >>> composition.get_feature_names_out()[:2]
    array(['mean_atomic_number', 'std_atomic_number'], dtype=object)
    """

    _constraints: ClassVar[dict[str, Check]] = {
        "properties": check_properties,
        "fractions": boolean,
    }

    def __init__(self, properties: Sequence[str] | None = None, *, fractions: bool = True) -> None:
        self.properties = properties
        self.fractions = fractions

    def fit(self, X: Any, y: Any = None) -> "Composition":
        """Check the parameters and the container of crystals; nothing is learnt.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.
        y : object, optional
            Ignored.

        Returns
        -------
        Composition
            This transformer.

        Raises
        ------
        ValueError
            If a parameter has no allowed value or there are no crystals.
        TypeError
            If ``X`` is not a container of crystals.
        """
        self.check_parameters()
        as_crystals(X)
        return self

    def transform(self, X: Any) -> Any:
        """Compute the features of compositions.

        Parameters
        ----------
        X : container of n structures, Crystals or CrystalGraphs
            The crystals.

        Returns
        -------
        ndarray of shape (n, n_features)
            Property after property, five statistics each; then the fractions.

        Raises
        ------
        ValueError, TypeError
            If a structure cannot be used; the message names it.
        """
        self.check_parameters()
        crystals = as_crystals(X)
        columns = [self._statistics(crystals)]
        if self.fractions:
            columns.append(_fractions(crystals))
        return np.hstack(columns)

    def _names(self) -> list[str]:
        return list(PROPERTIES if self.properties is None else self.properties)

    def _statistics(self, crystals: Crystals) -> np.ndarray:
        """Return the statistics of each property over the atoms: ``(n, 5 P)``."""
        selected = [list(PROPERTIES).index(name) for name in self._names()]
        values = element_properties()[np.asarray(crystals.atomic_numbers) - 1][:, selected]
        n_atoms = np.asarray(crystals.n_atoms)
        starts, sizes = np.cumsum(n_atoms) - n_atoms, n_atoms[:, None]
        mean = np.add.reduceat(values, starts) / sizes  # (n, P)
        centred = values - np.repeat(mean, n_atoms, axis=0)
        std = np.sqrt(np.add.reduceat(centred**2, starts) / sizes)
        low, high = np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)
        statistics = np.stack([mean, std, low, high, high - low], axis=2)  # (n, P, 5)
        return statistics.reshape(len(n_atoms), -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features.

        Parameters
        ----------
        input_features : object, optional
            Ignored: crystals have no columns.

        Returns
        -------
        ndarray of str
            Such as ``"mean_electronegativity"`` and ``"fraction_Fe"``.
        """
        names = [f"{statistic}_{name}" for name in self._names() for statistic in STATISTICS]
        if self.fractions:
            from ase.data import chemical_symbols

            names += [f"fraction_{symbol}" for symbol in chemical_symbols[1 : N_ELEMENTS + 1]]
        return np.array(names, dtype=object)


def _fractions(crystals: Crystals) -> np.ndarray:
    """Return the fraction of atoms of each element: ``(n, 118)``."""
    n_atoms = np.asarray(crystals.n_atoms)
    crystal = np.repeat(np.arange(len(n_atoms)), n_atoms)
    flat = crystal * N_ELEMENTS + np.asarray(crystals.atomic_numbers) - 1
    counts = np.bincount(flat, minlength=len(n_atoms) * N_ELEMENTS).reshape(-1, N_ELEMENTS)
    return counts / n_atoms[:, None]
