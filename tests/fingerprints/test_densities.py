"""Densities of free atoms: the table of X-ray form factors, and ``.gpsp`` files."""

import os
import re

import numpy as np
import pytest
from periodictable import elements
from periodictable.cromermann import fxrayatq, getCMformula

from gnnpre import GMP
from gnnpre.fingerprints._densities import read_gpsp, tabulated_densities

NUMBERS = range(1, 99)
NARROW = 0.01  # Å^2: a term of a form factor below this is part of the point charge

HYDROGEN = "H 1 2\n0.5 4.0\n0.25 1.5\n"
SODIUM = "Na 11 1\n0.1 0.7\n"


@pytest.fixture
def write(tmp_path):
    """Write a .gpsp file and return its path."""

    def write(text, name="densities.gpsp", encoding="utf-8"):
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write


# The table


def charge(density):
    return (density.amplitudes * (np.pi / density.exponents) ** 1.5).sum() + density.point


def test_the_table_holds_elements_1_to_98():
    assert list(tabulated_densities()) == list(NUMBERS)


def test_electrons_of_each_element():
    """The fits of Waasmaier and Kirfel miss Z by up to 0.038 electrons (osmium)."""
    for z in NUMBERS:
        formula = getCMformula(elements[z].symbol)
        result = charge(tabulated_densities()[z])
        assert result == pytest.approx(sum(formula.a) + formula.c, abs=1e-10), z
        assert result == pytest.approx(z, abs=0.04)


def test_fourier_transforms_are_the_form_factors():
    q = np.linspace(0.0, 8.0 * np.pi, 60)
    for z in NUMBERS:
        density, formula = tabulated_densities()[z], getCMformula(elements[z].symbol)
        decays = np.exp(-(q[:, None] ** 2) / (4.0 * density.exponents))
        widths = (np.pi / density.exponents) ** 1.5
        result = (density.amplitudes * widths * decays).sum(axis=1) + density.point
        # Narrow terms, which have become points, do not decay.
        lost = np.zeros_like(q)
        for a, b in zip(formula.a, formula.b, strict=True):
            if b < NARROW:
                lost += a * (1.0 - np.exp(-b * (q / (4.0 * np.pi)) ** 2))
        expected = fxrayatq(elements[z].symbol, q) + lost
        np.testing.assert_allclose(result, expected, atol=1e-10, err_msg=f"element {z}")


def test_all_exponents_are_positive():
    """Carbon's table has a term that grows with q: no Gaussian of any width."""
    assert min(getCMformula("C").b) < 0
    for density in tabulated_densities().values():
        assert (density.exponents > 0).all()
        assert len(density.exponents) == len(density.amplitudes) > 0


# Files


def test_a_file_is_read(write):
    path = write(
        f"# made by hand\n! 2 elements\n****\nX 0 1\n0.0 1.0\n****\n{HYDROGEN}\n****\n\n"
        f"# in between\n{SODIUM}****\n"
    )
    result = read_gpsp(path)
    assert list(result) == [1, 11]
    assert result[1].amplitudes.tolist() == [0.5, 0.25]
    assert result[1].exponents.tolist() == [4.0, 1.5]
    assert result[11].amplitudes.tolist() == [0.1]
    assert result[1].point == result[11].point == 0.0


def test_the_last_line_of_asterisks_may_be_missing(write):
    assert list(read_gpsp(write(f"****\n{HYDROGEN}****\n{SODIUM}"))) == [1, 11]


def test_a_published_file(data_dir):
    result = read_gpsp(data_dir / "gmp" / "NC-SR.gpsp")
    # What it calls 84 elements includes the placeholder.
    assert len(result) == 83
    np.testing.assert_allclose(
        result[1].amplitudes, [0.5852767678806401, 0.47789355464477734, 0.23352291964642088]
    )
    # Valence electrons alone, as its fits have them.
    valence = {6: 4, 8: 6, 14: 4, 26: 16, 29: 19, 82: 14}
    for z, electrons in valence.items():
        assert charge(result[z]) == pytest.approx(electrons, abs=0.1)


BROKEN = {
    "no count": ("****\nH 1\n0.5 4.0\n", 2, "H 1"),
    "no number": ("****\nH one 1\n0.5 4.0\n", 2, "H one 1"),
    "fractional count": ("****\nH 1 1.5\n0.5 4.0\n", 2, "H 1 1.5"),
    "no Gaussians": (f"****\n{SODIUM}****\nH 1 0\n****\n", 5, "H 1 0"),
    "too few Gaussians": ("****\nH 1 3\n0.5 4.0\n0.25 1.5\n", 2, "H 1 3"),
    "too many Gaussians": ("****\nH 1 1\n0.5 4.0\n0.25 1.5\n", 2, "H 1 1"),
    "no asterisks between elements": (f"****\n{HYDROGEN}{SODIUM}****\n", 2, "H 1 2"),
    "element twice": (f"****\n{HYDROGEN}****\n{SODIUM}****\n{HYDROGEN}", 9, "H 1 2"),
    "element 0": ("****\nH 0 1\n0.5 4.0\n", 2, "H 0 1"),
    "element 119": ("****\nUue 119 1\n0.5 4.0\n", 2, "Uue 119 1"),
    "symbol of another number": ("****\nHe 1 1\n0.5 4.0\n", 2, "He 1 1"),
    "a word": ("# made\n****\nH 1 2\n0.5 4.0\n0.25 wide\n", 5, "0.25 wide"),
    "one number": ("****\nH 1 1\n0.5\n", 3, "0.5"),
    "three numbers": ("****\nH 1 1\n0.5 4.0 1.0\n", 3, "0.5 4.0 1.0"),
    "exponent 0": ("****\nH 1 1\n0.5 0.0\n", 3, "0.5 0.0"),
    "negative exponent": ("****\nH 1 1\n0.5 -4.0\n", 3, "0.5 -4.0"),
    "infinite exponent": ("****\nH 1 1\n0.5 inf\n", 3, "0.5 inf"),
    "nan exponent": ("****\nH 1 1\n0.5 nan\n", 3, "0.5 nan"),
    "nan amplitude": ("****\nH 1 1\nnan 4.0\n", 3, "nan 4.0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_and_its_line_named(name, write, hydrogen):
    text, line, result = BROKEN[name]
    path = write(text)
    pattern = rf"densities='{re.escape(str(path))}', line {line}: found '{re.escape(result)}'"
    with pytest.raises(ValueError, match=pattern):
        GMP(densities=path).transform([hydrogen])


@pytest.mark.parametrize("text", ["", "# nothing\n", "****\nX 0 1\n0.0 1.0\n****\n"])
def test_a_file_without_elements_is_refused(text, write, hydrogen):
    with pytest.raises(ValueError, match=r"densities='.*' holds no element"):
        GMP(densities=write(text)).transform([hydrogen])


def test_a_file_that_is_no_text_is_refused(write, hydrogen):
    path = write("Å", encoding="latin-1")
    with pytest.raises(ValueError, match=r"densities='.*' is not a text file"):
        GMP(densities=path).transform([hydrogen])


def test_a_missing_file_is_named(tmp_path, hydrogen):
    with pytest.raises(FileNotFoundError, match=r"densities='.*nowhere\.gpsp'"):
        GMP(densities=tmp_path / "nowhere.gpsp").fit([hydrogen])
    with pytest.raises(FileNotFoundError, match=r"densities="):
        GMP(densities=tmp_path).transform([hydrogen])


def test_a_file_that_changes_is_read_anew(write, hydrogen):
    path = write(f"****\n{HYDROGEN}")
    fingerprint = GMP((0.5,), (0,), densities=str(path))
    before = fingerprint.transform([hydrogen])[0]
    os.utime(write("****\nH 1 2\n1.0 4.0\n0.5 1.5\n"), ns=(0, 1))
    np.testing.assert_allclose(fingerprint.transform([hydrogen])[0], 2.0 * before, rtol=1e-12)
