"""Files of LAMMPS, whose atoms have types that are no elements."""

import numpy as np
import pytest

from gnnpre.datasets import read_frames, read_structures

DUMP = """ITEM: TIMESTEP
0
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
0 5
0 5
0 5
ITEM: ATOMS id {column} x y z fx fy fz
2 {second} 2.5 2.5 2.5 -.1 -.2 -.3
1 {first} 0 0 0 .1 .2 .3
"""
DATA = """LAMMPS data

2 atoms
2 atom types

0 5 xlo xhi
0 5 ylo yhi
0 5 zlo zhi
{masses}
Atoms # atomic

1 1 0 0 0
2 2 2.5 2.5 2.5
"""


@pytest.mark.parametrize("column", ["type", "mol", "mass"])
def test_types_of_a_dump_are_no_elements(tmp_path, column):
    path = tmp_path / "run.lammpstrj"
    path.write_text(DUMP.format(column=column, first=1, second=2))
    for read in (read_frames, read_structures):
        with pytest.raises(ValueError, match=r"no atomic numbers.*dump_modify 1 element"):
            read(path)


def test_dump_with_elements(tmp_path):
    path = tmp_path / "run.lammpstrj"
    path.write_text(DUMP.format(column="element", first="Si", second="O"))
    structures, labels = read_frames(path)
    assert structures.atomic_numbers.tolist() == [14, 8]
    np.testing.assert_allclose(labels.forces, [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
    # A dump has no energy, for which ASE writes 0.
    assert np.isnan(labels.energy).all()


def test_data_file_needs_masses(tmp_path):
    path = tmp_path / "system.data"
    path.write_text(DATA.format(masses=""))
    with pytest.raises(ValueError, match=r"no section Masses.*no atomic numbers"):
        read_frames(path, format="lammps-data")
    path.write_text(DATA.format(masses="\nMasses\n\n1 28.0855\n2 15.999\n"))
    structures, _ = read_frames(path, format="lammps-data")
    assert structures.atomic_numbers.tolist() == [14, 8]


def test_binary_dump_is_refused(tmp_path):
    path = tmp_path / "run.bin"
    path.write_bytes(b"\x00" * 80)
    with pytest.raises(ValueError, match="binary dump names no elements"):
        read_frames(path, format="lammps-dump-binary")
