"""CIF and POSCAR texts as structures: their elements, labels and flags."""

import io
import re
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import read

from gnnpre.graphs import StructureToGraph, parse_poscar

CUTOFF = 4.0


@pytest.fixture
def transformer() -> StructureToGraph:
    return StructureToGraph(CUTOFF)


CIF_HEAD = """data_{}
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
"""
CIF_COORDINATES = "_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"


def cif_text(symbol, label=None):
    """Return a CIF of two sites, the first of a symbol, or with a label alone."""
    if label is not None:
        return CIF_HEAD.format("x") + CIF_COORDINATES + f"{label} 0 0 0\nO1 .5 .5 .5\n"
    rows = f"A1 {symbol} 0 0 0\nO1 O .5 .5 .5\n"
    return CIF_HEAD.format("x") + "_atom_site_type_symbol\n" + CIF_COORDINATES + rows


@pytest.mark.parametrize("symbol", ["Vac", "2H", "Uue", "OH", "Wat", "X", "?"])
def test_cif_sites_of_no_element_are_refused(transformer, symbol):
    # pymatgen takes "Vac" for V and "Uue" for U, and leaves out "2H" and "OH".
    with pytest.raises(
        ValueError,
        match=re.escape(
            f"X[0]: the CIF text cannot be read: site 0 has the type symbol '{symbol}'"
        ),
    ):
        transformer.transform([cif_text(symbol)])


@pytest.mark.parametrize("label", ["Vac1", "Va1", "VA", "Void", "X1", "2H", "OH1", "?"])
def test_cif_labels_of_no_element_are_refused(transformer, label):
    with pytest.raises(ValueError, match=re.escape(f"site 0 has the label '{label}'")):
        transformer.transform([cif_text("", label)])


@pytest.mark.parametrize(
    ("symbol", "number"),
    [("Fe3+", 26), ("Fe+3", 26), ("FE", 26), ("D", 1), ("D1+", 1), ("V", 23), ("Fe0.5", 26)],
)
def test_cif_symbols_with_charges_and_isotopes(transformer, symbol, number):
    assert transformer.transform([cif_text(symbol)]).atomic_numbers.tolist() == [number, 8]


def test_a_disordered_cif_read_by_ase_is_refused(transformer):
    # ASE's reader keeps one of the elements that share a site, and all of them in info.
    atoms = Atoms("CuO", positions=[[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    atoms.info["occupancy"] = {"0": {"Cu": 1.0}, "1": {"O": 1.0, "N": 0.0}}
    transformer.transform([atoms])
    for shares in ({"Cu": 0.5, "Au": 0.5}, {"Cu": 0.8}):
        atoms.info["occupancy"]["0"] = shares
        with pytest.raises(ValueError, match=r"Structure 1 is disordered: site 0 holds .*order it"):
            transformer.transform([bulk("Cu"), atoms])


@pytest.mark.parametrize(
    ("label", "number"), [("V1", 23), ("V1a", 23), ("Xe1", 54), ("OW1", 8), ("Fe(1)", 26)]
)
def test_cif_labels_that_begin_with_an_element(transformer, label, number):
    assert transformer.transform([cif_text("", label)]).atomic_numbers.tolist() == [number, 8]


def test_a_text_of_two_structures_is_refused(transformer):
    text = cif_text("Fe") + cif_text("Cu").replace("data_x", "data_y")
    with pytest.raises(ValueError, match=r"X\[0\] is a CIF text with 2 structures"):
        transformer.transform([text])


def test_a_poscar_without_symbols_is_refused(salt, transformer):
    # pymatgen takes H, He, Li, ... where the elements are not named.
    text = "comment\n1\n4 0 0\n0 4 0\n0 0 4\n1 1\nDirect\n0 0 0{}\n.5 .5 .5{}\n"
    with pytest.raises(ValueError, match=r"X\[0\]: the POSCAR text has no symbols of elements"):
        transformer.transform([text.format("", "")])
    graphs = transformer.transform([text.format(" Na", " Cl")])
    assert graphs.atomic_numbers.tolist() == [11, 17]


@pytest.mark.parametrize(("element", "flags"), [("O", "T T T"), ("F", "F F F F"), ("O", "t f T")])
def test_a_poscar_with_selective_dynamics(transformer, element, flags):
    # pymatgen warns of flags that fix nothing, and of those beside fluorine.
    text = f"x\n1\n4 0 0\n0 4 0\n0 0 4\nFe {element}\n1 1\nSelective dynamics\nDirect\n"
    text += f"0 0 0 {flags}\n.5 .5 .5 {flags}\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        graphs = transformer.transform([text])
    assert graphs.atomic_numbers.tolist() == [26, {"O": 8, "F": 9}[element]]


@pytest.mark.parametrize("mode", ["Direct", "Cartesian"])
def test_poscar_with_a_scale_for_each_axis(mode):
    text = f"Si\n2 3 4\n1 0 0\n0 1 0\n.5 0 1\nSi\n1\n{mode}\n.5 .5 .5\n"
    expected = read(io.StringIO(text), format="vasp")
    structure = parse_poscar(text)
    np.testing.assert_allclose(structure.lattice.matrix, expected.cell.array)
    np.testing.assert_allclose(structure.cart_coords, expected.positions)


def test_poscar_with_scales_that_are_none():
    with pytest.raises(ValueError, match=r"three scales .* above 0"):
        parse_poscar("Si\n2 -3 4\n1 0 0\n0 1 0\n0 0 1\nSi\n1\nDirect\n0 0 0\n")
