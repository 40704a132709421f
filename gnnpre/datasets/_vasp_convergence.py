"""Which ionic steps of VASP ended without electronic convergence, which ASE does not tell."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

__all__ = ["CONVERGED", "electronic_convergence"]

#: Column of ``info`` that says whether the electrons of a frame converged.
CONVERGED = "electronic_converged"

# Of the NELM and EDIFF in a file the first count: others are of response functions.
_XML = re.compile(
    r'<(?P<step>calculation)>|<(?P<start>scstep)>|<(?P<end>/scstep)>|name="NELM">\s*(?P<nelm>\d+)'
    r'|name="EDIFF">\s*(?P<ediff>[^<\s]+)|name="e_fr_energy">\s*(?P<energy>[^<\s]+)'
)
_OUTCAR = re.compile(
    r"Iteration\s+(?P<step>\d+)\(\s*(?P<number>\d+)\)|^\s*NELM\s*=\s*(?P<nelm>\d+)"
    r"|^\s*EDIFF\s*=\s*(?P<ediff>\S+)|total energy-change \(2\. order\)\s*:\s*(?P<change>\S+)"
)


def electronic_convergence(path: Path, file_format: str) -> list[bool]:
    """Return for each ionic step whether its electrons converged.

    They did not if VASP took all of its NELM electronic steps and the last one still changed the
    energy by more than EDIFF.

    Parameters
    ----------
    path : Path
        The file, uncompressed.
    file_format : {"vasp-xml", "vasp-out"}
        Its format.

    Returns
    -------
    list of bool
        Empty if the file does not state NELM.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        if file_format == "vasp-xml":
            limits, steps = _read_xml(_matches(_XML, file))
        else:
            limits, steps = _read_outcar(_matches(_OUTCAR, file))
    if "nelm" not in limits:
        return []
    # Steps of VASP's default accuracy where the file states none.
    most, accuracy = int(limits["nelm"]), limits.get("ediff", 1e-4)
    return [len(changes) < most or changes[-1] <= accuracy for changes in steps]


def _matches(pattern: re.Pattern[str], lines: Iterable[str]) -> Iterator[dict[str, str]]:
    for line in lines:
        for match in pattern.finditer(line):
            yield {name: value for name, value in match.groupdict().items() if value is not None}


def _note_limits(match: dict[str, str], limits: dict[str, float]) -> None:
    for name in ("nelm", "ediff"):
        if name in match:
            with suppress(ValueError):
                limits.setdefault(name, abs(_number(match[name])))


def _read_xml(matches: Iterable[dict[str, str]]) -> tuple[dict[str, float], list[list[float]]]:
    """Return limits, and the size of the change of the energy by each electronic step."""
    limits: dict[str, float] = {}
    energies: list[list[float]] = []
    inside = False
    for match in matches:
        _note_limits(match, limits)
        if "step" in match:
            energies.append([])
        elif "start" in match or "end" in match:
            inside = "start" in match
        elif "energy" in match and inside and energies:
            energies[-1].append(_number(match["energy"]))
    # The first step changes the energy from nothing.
    return limits, [
        [abs(new - old) for old, new in pairwise([0.0, *values])] for values in energies
    ]


def _read_outcar(matches: Iterable[dict[str, str]]) -> tuple[dict[str, float], list[list[float]]]:
    """Return limits, and the size of the change of the energy by each electronic step."""
    limits: dict[str, float] = {}
    changes: list[list[float]] = []
    for match in matches:
        _note_limits(match, limits)
        if "step" in match:
            if match["number"] == "1" or not changes:
                changes.append([])
            changes[-1].append(0.0)
        elif "change" in match and changes and changes[-1]:
            changes[-1][-1] = abs(_number(match["change"]))
    return limits, changes


def _number(text: str) -> float:
    """Return a number; infinity for one that VASP could not write (``****``)."""
    try:
        return float(text.replace("D", "E"))
    except ValueError:
        return float("inf")
