"""CIF texts that pymatgen reads as other crystals than they describe."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from gnnpre.graphs import parse_cifs

SITES = """loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
"""


def block(
    sites: str, *, lengths=(4, 4, 4), angles=(90, 90, 90), tags: str = "", name: str = "x"
) -> str:
    cell = zip(("a", "b", "c", "alpha", "beta", "gamma"), (*lengths, *angles), strict=True)
    names = ("length", "length", "length", "angle", "angle", "angle")
    lines = [
        f"_cell_{quantity}_{tag} {value}"
        for quantity, (tag, value) in zip(names, cell, strict=True)
    ]
    return "\n".join([f"data_{name}", *lines, tags, SITES + sites, ""])


def test_blocks_of_one_name_are_all_read():
    text = block("Na1 Na 0 0 0") + block("K1 K 0 0 0\nCl1 Cl .5 .5 .5", lengths=(6, 6, 6))
    structures, remarks = parse_cifs(text)
    assert [structure.formula for structure in structures] == ["Na1", "K1 Cl1"]
    assert not any("Missing elements" in remark for remark in remarks)


def test_a_block_of_a_publication_is_passed_over():
    text = "data_global\n_journal_name_full 'Acta'\n\n" + block("Na1 Na 0 0 0")
    (structure,), _ = parse_cifs(text)
    assert structure.formula == "Na1"


@pytest.mark.parametrize(
    "tags",
    [
        "_symmetry_space_group_name_H-M 'P 21/c'",
        "_space_group_name_Hall '-P 2ac 2n'",
        "_space_group_name_H-M_alt 'P nowhere'\n_space_group_IT_number ?",
        "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,-y,q'",
    ],
)
def test_symmetry_that_is_not_understood_is_an_error(tags):
    # pymatgen would read the atoms of the asymmetric unit alone.
    with pytest.raises(ValueError, match=r"cannot be read, and most atoms would be missing"):
        parse_cifs(block("Na1 Na .1 .2 .3", tags=tags))


@pytest.mark.parametrize(
    "tags",
    [
        "",
        "_symmetry_space_group_name_H-M 'P 1'\n_symmetry_Int_Tables_number 1",
        "_symmetry_equiv_pos_as_xyz x,y,z",
        "_space_group_name_H-M_alt ?",
    ],
)
def test_one_operation_is_right_in_p1(tags):
    (structure,), _ = parse_cifs(block("Na1 Na .1 .2 .3", tags=tags))
    assert len(structure) == 1


def test_operations_of_another_setting_are_an_error():
    # Arsenic: hexagonal operations would make 36 atoms of the two in its rhombohedral cell.
    cell = {"lengths": (4.13,) * 3, "angles": (54.1,) * 3}
    tags = "_symmetry_space_group_name_H-M 'R -3 m'"
    with pytest.raises(ValueError, match="operations do not fit its cell"):
        parse_cifs(block("As1 As .227 .227 .227", tags=tags, **cell))
    hexagonal = {"lengths": (3.76, 3.76, 10.55), "angles": (90, 90, 120)}
    (structure,), _ = parse_cifs(block("As1 As 0 0 .227", tags=tags, **hexagonal))
    assert len(structure) == 6


def test_cells_fit_their_symmetry_roughly():
    tags = "_symmetry_space_group_name_H-M 'P m -3 m'"
    (structure,), _ = parse_cifs(block("Po1 Po 0 0 0", lengths=(3.3, 3.32, 3.35), tags=tags))
    assert len(structure) == 1


@pytest.mark.parametrize(("third", "two_thirds"), [("0.333", "0.667"), ("0.33", "0.67")])
def test_special_positions_of_few_digits(third, two_thirds):
    sites = f"Mo1 Mo {third} {two_thirds} .5\nS1 S {two_thirds} {third} .4"
    cell = {"lengths": (3.19, 3.19, 15), "angles": (90, 90, 120)}
    tags = "_symmetry_space_group_name_H-M 'P -6 m 2'"
    (structure,), remarks = parse_cifs(block(sites, tags=tags, **cell))
    assert structure.formula == "Mo1 S2"
    assert any("too few digits" in remark for remark in remarks)
    # Four digits are enough for pymatgen.
    exact = sites.replace(third, "0.3333").replace(two_thirds, "0.6667")
    (expected,), remarks = parse_cifs(block(exact, tags=tags, **cell))
    assert expected.formula == "Mo1 S2"
    assert not any("too few digits" in remark for remark in remarks)


def test_split_sites_stay_disordered():
    text = block("Na1 Na 0 0 0 .5\nNa2 Na .02 0 0 .5").replace(
        "fract_z", "fract_z\n_atom_site_occupancy"
    )
    (structure,), _ = parse_cifs(text)
    assert not structure.is_ordered


@pytest.mark.parametrize(
    ("sites", "tag", "message"),
    [
        ("Na1 Na 0 0 0 d\nC1 C .2 .2 .2 dum", "_atom_site_calc_flag", "site 1 is a dummy"),
        ("Na1 Na 0 0 0 d\nH1 H ? ? ? d", "_atom_site_calc_flag", "site 1 has no coordinates"),
    ],
)
def test_sites_that_are_no_atoms(sites, tag, message):
    text = block(sites).replace("_atom_site_fract_z", f"_atom_site_fract_z\n{tag}")
    with pytest.raises(ValueError, match=message):
        parse_cifs(text)


def test_cartesian_coordinates_are_not_read():
    text = block("Na1 Na 0 0 0").replace("fract", "Cartn")
    with pytest.raises(ValueError, match="no column _atom_site_fract_x"):
        parse_cifs(text)


def test_written_by_pymatgen_with_symmetry():
    structure = Structure.from_spacegroup(
        "R-3m",
        Lattice.hexagonal(4.4, 30.5),
        ["Bi", "Te", "Te"],
        [[0, 0, z] for z in (0.4, 0, 0.21)],
    )
    (read,), _ = parse_cifs(structure.to(fmt="cif", symprec=0.01))
    assert len(read) == len(structure) == 15
    np.testing.assert_allclose(read.lattice.abc, structure.lattice.abc)
