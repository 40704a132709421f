"""Electron densities of free atoms as sums of Gaussians, for Gaussian multipoles."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["AtomDensity", "read_gpsp", "tabulated_densities"]

# Å^2: below this width a Gaussian is a point beside any probe.
POINT_WIDTH = 0.01
LARGEST_TABULATED = 98


@dataclass(frozen=True)
class AtomDensity:
    """``sum_g B_g exp(-beta_g r^2)`` electrons/Å^3, and a point charge at the nucleus."""

    amplitudes: np.ndarray  # (G,) 1/Å^3
    exponents: np.ndarray  # (G,) 1/Å^2
    point: float = 0.0  # electrons


@cache
def tabulated_densities() -> dict[int, AtomDensity]:
    """Densities of the elements 1 to 98 from X-ray form factors (Waasmaier and Kirfel, 1995).

    A term ``a exp(-b s^2)`` of a form factor, with s = q / 4 pi, is a Gaussian in real space; the
    constant, and terms too narrow to be told from it, make one point charge.
    """
    # The table ships with a library.
    from periodictable import elements
    from periodictable.cromermann import getCMformula

    densities = {}
    for number in range(1, LARGEST_TABULATED + 1):
        formula = getCMformula(elements[number].symbol)
        a, b = np.asarray(formula.a, dtype=float), np.asarray(formula.b, dtype=float)
        # Fourier transform of a exp(-b (q / 4 pi)^2); narrow terms are points, like the constant.
        wide = b >= POINT_WIDTH
        densities[number] = AtomDensity(
            amplitudes=a[wide] * (4.0 * math.pi / b[wide]) ** 1.5,
            exponents=4.0 * math.pi**2 / b[wide],
            point=float(formula.c + a[~wide].sum()),
        )
    return densities


def read_gpsp(path: str | Path) -> dict[int, AtomDensity]:
    """Read densities from a ``.gpsp`` file.

    Blocks between lines of asterisks: element, atomic number and number of Gaussians, then
    amplitude (1/Å^3) and exponent (1/Å^2) of each. Lines that start with ``#`` or ``!`` are
    comments; the element ``X`` is a placeholder.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"densities={str(path)!r} is not a text file: {error}.") from error
    densities: dict[int, AtomDensity] = {}
    block: list[tuple[int, list[str]]] = []
    for number, line in enumerate([*lines, "****"], start=1):  # the last block ends here too
        words = line.split()
        if line.startswith("****"):
            if block:
                _add_block(densities, block, path)
            block = []
        elif words and not words[0].startswith(("#", "!")):
            block.append((number, words))
    if not densities:
        raise ValueError(f"densities={str(path)!r} holds no element; expected a .gpsp file.")
    return densities


def _add_block(
    densities: dict[int, AtomDensity], block: list[tuple[int, list[str]]], path: Path
) -> None:
    line, header = block[0]
    try:
        symbol, number, count = header[0], int(header[1]), int(header[2])
    except (IndexError, ValueError):
        raise _broken(path, line, header, "element, atomic number, number of Gaussians") from None
    if symbol == "X":  # a placeholder
        return
    from ase.data import chemical_symbols

    if count < 1:
        raise _broken(path, line, header, "at least one Gaussian")
    if not 1 <= number <= 118 or number in densities:
        raise _broken(path, line, header, "an atomic number from 1 to 118 that is new")
    if chemical_symbols[number] != symbol:
        raise _broken(path, line, header, f"the symbol {chemical_symbols[number]} of {number}")
    if len(block) - 1 != count:
        raise _broken(path, line, header, f"as many lines below it as it says; {len(block) - 1}")
    rows = [_read_gaussian(path, *entry) for entry in block[1:]]
    amplitudes, exponents = np.array(rows).T
    densities[number] = AtomDensity(amplitudes, exponents)


def _read_gaussian(path: Path, line: int, words: list[str]) -> tuple[float, float]:
    try:
        amplitude, exponent = (float(token) for token in words)
    except ValueError:
        raise _broken(path, line, words, "two numbers, amplitude and exponent") from None
    if not (math.isfinite(amplitude) and math.isfinite(exponent) and exponent > 0):
        raise _broken(path, line, words, "a finite amplitude and an exponent above 0")
    return amplitude, exponent


def _broken(path: Path, line: int, words: list[str], expected: str) -> ValueError:
    return ValueError(
        f"densities={str(path)!r}, line {line}: found {' '.join(words)!r}; expected {expected}."
    )
