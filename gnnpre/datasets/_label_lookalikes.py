"""Names that may be those of labels: they are not read, but reported where the label is missing."""

import re
from functools import lru_cache

__all__ = ["components", "fold", "looks_like"]

_LOOKALIKES = {
    "energy": re.compile(
        r"energ|(^|_)(toten|etot|etotal|ene|e_?tot|e_?total|e_?pot)(_|$)|^(e|u|u_?0|en)$"
        r"|^e_?(0|dft|ref|ks|scf|coh|total)$|^(dft|ref)_e$"
    ),
    "forces": re.compile(r"force|(^|_)(grad|gradients?|f|frc)(_|$)"),
    "stress": re.compile(r"stress|virial|pressure_tensor|(^|_)(sigma|cauchy)(_|$)"),
}
_NO_LABEL = re.compile(
    r"weight|cutoff|conv|tol|std|var|err|loss|rms|max|mean|pred|hull|fermi|kin(_|etic)|unit"
)
# Names of single components, such as "fx", "force_x", "stress_xx" and "Sxx".
_COMPONENTS = {
    "forces": re.compile(r"(f|frc|forces?)_?(?P<axis>[xyz])"),
    "stress": re.compile(r"(s|sig|sigma|stress|p|pressure|v|virial)_?(?P<axis>xx|yy|zz)"),
}


def fold(name: str) -> str:
    """Return a name in lower case with underscores."""
    return name.lower().replace("-", "_")


@lru_cache(maxsize=4096)
def looks_like(label: str, name: str) -> bool:
    """Return whether a name may be that of a label.

    Parameters
    ----------
    label : {"energy", "forces", "stress"}
        The label.
    name : str
        A name in any spelling, such as ``"TotalEnergy"``, ``"energy (Ha)"`` or ``"E_dft"``.

    Returns
    -------
    bool
        Whether it may be.
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    words = re.sub(r"[\W_]+", "_", words).strip("_").lower()
    return bool(_LOOKALIKES[label].search(words)) and not _NO_LABEL.search(words)


@lru_cache(maxsize=4096)
def components(label: str, names: tuple[str, ...]) -> list[str]:
    """Return the names of the single numbers that a label seems to be split into.

    Parameters
    ----------
    label : {"energy", "forces", "stress"}
        The label.
    names : tuple of str
        Entries and columns of a frame.

    Returns
    -------
    list of str
        Three names, such as ``["fx", "fy", "fz"]``; empty if they are not all there.
    """
    if label not in _COMPONENTS:
        return []
    matches = {name: _COMPONENTS[label].fullmatch(name.lower()) for name in names}
    axes = {match["axis"]: name for name, match in matches.items() if match}
    return list(axes.values()) if len(axes) == 3 else []
