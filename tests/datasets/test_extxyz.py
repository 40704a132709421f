"""The parser of extended XYZ: spellings, hostile counts, and agreement with ASE's."""

import bz2
import gzip
import lzma
import resource
import subprocess
import sys
import time

import numpy as np
import pytest
from ase.io.extxyz import key_val_str_to_dict, read_xyz

from cases import FRAME_CELL, extxyz
from gnnpre.datasets import make_emt_frames, read_frames
from gnnpre.datasets._extxyz_comment import parse_comment

PROPERTIES = "Properties=species:S:1:pos:R:3"


@pytest.mark.parametrize("name", ["Lattice", "lattice", "LATTICE"])
def test_the_cell_in_any_case(write_frames, name):
    text = extxyz('energy=1 pbc="T T F"').replace("Lattice", name).replace("pbc", "PBC")
    text = text.replace("Properties", "properties")
    structures, labels = read_frames(write_frames(text))
    np.testing.assert_array_equal(structures.cell, [4 * np.eye(3)])
    np.testing.assert_array_equal(structures.pbc, [[True, True, False]])
    np.testing.assert_array_equal(labels.forces, [[0.1, 0.2, 0.3]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"T T F"', [True, True, False]),
        ('"1 0 1"', [True, False, True]),
        ('"true False T"', [True, False, True]),
        ("TFT", [True, False, True]),
        ("F", [False] * 3),
        ("[T, T, F]", [True, True, False]),
    ],
)
def test_periodic_directions(write_frames, text, expected):
    structures, _ = read_frames(write_frames(extxyz(f"pbc={text}")))
    np.testing.assert_array_equal(structures.pbc, [expected])


@pytest.mark.parametrize("symbol", ["D", "T", "H", "h", "1"])
def test_isotopes_of_hydrogen(write_frames, symbol):
    structures, labels = read_frames(write_frames(extxyz("", symbol=symbol)))
    assert structures.atomic_numbers.tolist() == [1]
    assert labels.groups("formula").tolist() == ["H2"]


@pytest.mark.parametrize("columns", ["Z:I:1:pos:R:3", "numbers:I:1:positions:R:3"])
def test_atomic_numbers_as_column(write_frames, columns):
    path = write_frames(f"1\n{FRAME_CELL} Properties={columns}\n29 1 2 3\n")
    structures, _ = read_frames(path)
    assert structures.atomic_numbers.tolist() == [29]
    np.testing.assert_array_equal(structures.positions, [[1, 2, 3]])


def test_columns_of_all_types(write_frames):
    columns = "id:I:1:species:S:1:fixed:L:3:pos:R:3:q:R:1:forces:R:3:virials:R:9:name:S:1"
    row = "7 Fe T F true 1 2 3 0.5 4 5 6 1 2 3 4 5 6 7 8 9 a_rather_long_name"
    structures, labels = read_frames(write_frames(f"1\n{FRAME_CELL} Properties={columns}\n{row}\n"))
    assert structures.atomic_numbers.tolist() == [26]
    np.testing.assert_array_equal(structures.positions, [[1, 2, 3]])
    np.testing.assert_array_equal(labels.forces, [[4, 5, 6]])


def test_fortran_exponents(write_frames):
    _, labels = read_frames(write_frames(extxyz("energy=-1.5D+01", force="1.0D-1 2d0 -3.5E0")))
    assert labels.energy == [-15.0]
    np.testing.assert_array_equal(labels.forces, [[0.1, 2.0, -3.5]])


def test_columns_that_no_properties_name_are_reported(write_frames):
    path = write_frames(f"2\n{FRAME_CELL} energy=1\nCu 0 0 0 1 1 1\nCu 2 2 2 1 1 1\n")
    with pytest.warns(UserWarning, match=r"1 frames of .* columns .* Properties=species:S:1:pos"):
        structures, labels = read_frames(path)
    np.testing.assert_array_equal(structures.positions, [[0, 0, 0], [2, 2, 2]])
    assert np.isnan(labels.forces).all()


def test_frames_of_different_columns_in_one_file(write_frames):
    bare = f"1\n{FRAME_CELL} energy=2\nAu 0 0 0\n"
    path = write_frames(extxyz("energy=1") + bare + extxyz("energy=3"))
    structures, labels = read_frames(path)
    assert labels.energy.tolist() == [1, 2, 3]
    assert structures.atomic_numbers.tolist() == [29, 79, 29]
    assert np.isnan(labels.forces[:, 0]).tolist() == [False, True, False]


def test_blocks_join_in_order(write_frames):
    n = 3000  # more atoms than one block holds
    rows = "Cu 0.5 0.5 4.5 0.1 0.2 0.3\n" * 10
    text = "".join(f"10\n{FRAME_CELL} {PROPERTIES}:forces:R:3 energy={i}\n{rows}" for i in range(n))
    _, labels = read_frames(write_frames(text))
    assert labels.energy.tolist() == list(range(n))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed(tmp_path, compress):
    path = tmp_path / "frames"
    path.write_bytes(compress(extxyz("energy=1").encode()))
    assert read_frames(path)[1].energy == [1.0]


@pytest.mark.parametrize(
    "line",
    [
        'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 energy=-1.0 pbc="T T F" flag',
        "a=5 b=-3 c=1.5e3 d=nan e=mp-149 f=T g=false h=Tb i=None j=1e5 k=3d_structure l=.5",
        'a="1 2 3" b=[1,2,3] c={1 2 3} d="T F" e="two words" f=\'other quotes\' g="x=y" h=a=b',
        'k = 5 m= 6 n =7 "quoted key"=8 x="a\\"b" y="_JSON [[1, 2], [3.5, 4]]" w="1,2, 3"',
        'z="_JSON {\\"a\\": [1, 2]}" stresses="1 2 3 4 5 6"',
        "",
    ],
)
def test_comments_agree_with_ase(line):
    parsed, reference = parse_comment(line), key_val_str_to_dict(line) if line else {}
    assert list(parsed) == list(reference)
    for name, value in reference.items():
        expected = np.ravel(value, order="F") if name == "Lattice" else value
        np.testing.assert_array_equal(parsed[name], expected, err_msg=name)


def test_text_that_python_would_take_for_a_number():
    assert parse_comment("a=1_000 b=² c=٣ d=0x10") == {
        "a": "1_000",
        "b": "²",
        "c": "٣",
        "d": "0x10",
    }
    assert parse_comment("a=" + "9" * 5000) == {"a": "9" * 5000}


def test_nested_brackets():
    entries = parse_comment('a=[[1, 2], [3, 4]] b={"x": [1]} c=1')
    np.testing.assert_array_equal(entries["a"], [[1, 2], [3, 4]])
    assert entries["b"] == {"x": [1]}
    assert entries["c"] == 1


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ('note="open', "cannot be read from"),
        ("list=[1, 2", r"has '\[' without '\]'"),
        ('x="_JSON ' + "[" * 100_000 + '"', "nested too deeply"),
        ("x=" + "[" * 2000 + "]" * 2000, "nested too deeply"),
        ('x="_JSON [1,"', "is invalid"),
        ("pbc=maybe", "pbc='maybe' should be three of T and F"),
        ("lattice=4", "one entry twice, of"),
    ],
)
def test_bad_comments(write_frames, comment, message):
    with pytest.raises(ValueError, match=rf"Frame 1 of .*frames.extxyz is not valid .*{message}"):
        read_frames(write_frames(extxyz("", comment)))


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ("species:S:1:pos:R:3000000000", "Properties has pos:R:3000000000"),
        ("species:S:1:pos:R:9000000", "states 9000001 columns"),
        ("species:S:1:pos:R:3:x:R:100000", "states 100004 columns"),
        ("species:S:1:pos:R:²", "Properties has pos:R:²"),
        ("species:S:1:pos:R:-3", "Properties has pos:R:-3"),
        ("species:S:1:pos:R", "name:type:width"),
        ("species:S:1:pos:R:3:pos:R:3", "one name twice"),
        ("species:S:1:pos:Q:3", "Properties has pos:Q:3"),
        ("pos:R:3", "should have species:S:1"),
        ("species:S:1:forces:R:3", "should have species:S:1"),
    ],
)
def test_bad_columns(write_frames, properties, message):
    with pytest.raises(ValueError, match=rf"Frame 0 of .*{message}"):
        read_frames(write_frames(f"1\n{FRAME_CELL} Properties={properties}\nCu 0 0 0\n"))


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ('cell="4 0 0 0 4 0 0 0 4"', "its cell seems to stand in 'cell'; rename it to Lattice"),
        ('Lattice_vectors="4 0 0 0 4 0 0 0 4"', "'Lattice_vectors'; rename it to Lattice"),
        ('lat="4 0 0 0 4 0 0 0 4"', "its cell seems to stand in 'lat'"),
        ('a="4 0 0" b="0 4 0" c="0 0 4"', "its cell seems to stand in 'a'"),
        ('Tv_1="4 0 0" Tv_2="0 4 0" Tv_3="0 0 4"', "its cell seems to stand in 'Tv_1'"),
        ('cell_abc="4 4 4" cell_angles="90 90 90"', "its cell seems to stand in 'cell_abc'"),
        ('boxDimensions="4 4 4 90 90 90"', "its cell seems to stand in 'boxDimensions'"),
        ("celldm=7.6", "its cell seems to stand in 'celldm'"),
        ('pbc="T T T"', "periodic .* has no Lattice"),
        ('Lattice="4 4 4"', "Lattice should be nine numbers"),
        ("Lattice=[[4,0,0],[0,4,0],[0,0,4]]", "Lattice should be nine numbers"),
    ],
)
def test_a_crystal_never_becomes_a_molecule(write_frames, comment, message):
    with pytest.raises(ValueError, match=rf"Frame 0 of .*{message}"):
        read_frames(write_frames(f"1\n{comment} {PROPERTIES}\nCu 0 0 0\n"))


@pytest.mark.parametrize("entry", ["cell_id=7", "a=4.0", 'relative_energies="1 2 3"', "box=large"])
def test_molecules_with_other_entries(write_frames, entry):
    structures, _ = read_frames(write_frames(f"1\nenergy=1 {entry} {PROPERTIES}\nCu 0 0 0\n"))
    np.testing.assert_array_equal(structures.pbc, [[False] * 3])


@pytest.mark.parametrize("entry", ['periodic="T T F"', "Periodicity=TTF", 'boundary="p p f"'])
def test_periodic_directions_under_other_names(write_frames, entry):
    name = entry.split("=")[0]
    with pytest.raises(ValueError, match=f"directions seem to stand in '{name}'; rename it to pbc"):
        read_frames(write_frames(extxyz(entry)))
    structures, _ = read_frames(write_frames(extxyz(f'{entry} pbc="T F F"')))
    np.testing.assert_array_equal(structures.pbc, [[True, False, False]])


@pytest.mark.parametrize("entry", ["periodic=T", 'boundary="p p p"', "boundary=grain"])
def test_entries_that_do_not_contradict_the_cell(write_frames, entry):
    structures, _ = read_frames(write_frames(extxyz(entry)))
    np.testing.assert_array_equal(structures.pbc, [[True] * 3])


def test_symbols_and_numbers_that_contradict_each_other(write_frames):
    text = f"2\n{FRAME_CELL} Properties=species:S:1:pos:R:3:Z:I:1\n{{}} 0 0 0 29\nAu1 2 2 2 79\n"
    structures, _ = read_frames(write_frames(text.format("Cu")))
    assert structures.atomic_numbers.tolist() == [29, 79]
    with pytest.raises(ValueError, match=r"Frame 0 of .* its atom Au has the atomic number 29"):
        read_frames(write_frames(text.format("Au")))


def test_a_bad_frame_among_many_is_named(write_frames):
    text = extxyz(*[""] * 50) + extxyz("", force="0.1 x 0.3") + extxyz(*[""] * 50)
    with pytest.raises(ValueError, match=r"Frame 50 of .*could not convert string 'x'"):
        read_frames(write_frames(text))
    text = extxyz(*[""] * 50) + extxyz("", symbol="Quite") + extxyz(*[""] * 50)
    with pytest.raises(ValueError, match=r"Frame 50 of .*'Quite' is not a chemical element"):
        read_frames(write_frames(text))


@pytest.mark.parametrize("count", ["1000000000", "999999999", "9" * 5000, "²", "1" * 10])
def test_counts_are_not_believed(write_frames, count):
    start = time.process_time()
    with pytest.raises(ValueError, match=r"Frame 0 of .*(number of atoms|fewer than the)"):
        read_frames(write_frames(f"{count}\n", "count.xyz"))
    assert time.process_time() - start < 2.0


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_hostile_files_take_little_memory(tmp_path):
    files = {
        "columns": "1\nProperties=species:S:1:pos:R:3:x:R:3000000000\nC 0 0 0\n",
        "count": "1000000000\n\nC 0 0 0\n",
        "line": "1\n" + "x" * 2**26,
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    script = (
        "import sys, warnings; from gnnpre.datasets import read_frames\n"
        "for path in sys.argv[1:]:\n"
        "    try: read_frames(path, format='extxyz')\n"
        "    except ValueError as error: print('clear', error)\n"
        "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    paths = [str(tmp_path / name) for name in files]
    run = subprocess.run(
        [sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True
    )
    *clear, most = run.stdout.splitlines()
    assert [line.split()[0] for line in clear] == ["clear"] * 3, run.stdout
    # The line of 64 MB is given up after 16 MB.
    assert int(most) < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 150_000


def test_real_frames_agree_with_ase(data_dir):
    path = data_dir / "upstream" / "mpf-TP.extxyz.gz"
    structures, labels = read_frames(path, index=slice(0, 200))
    with gzip.open(path, "rt") as stream:
        for row, atoms in enumerate(read_xyz(stream, slice(0, 200))):
            atom_rows = slice(labels.offsets[row], labels.offsets[row + 1])
            np.testing.assert_array_equal(structures.positions[atom_rows], atoms.positions)
            np.testing.assert_array_equal(structures.atomic_numbers[atom_rows], atoms.numbers)
            np.testing.assert_array_equal(structures.cell[row], atoms.cell.array)
            np.testing.assert_array_equal(labels.forces[atom_rows], atoms.get_forces())
            assert labels.energy[row] == atoms.get_potential_energy()
            stress = atoms.get_stress(voigt=False)
            np.testing.assert_allclose(labels.stress[row], stress, rtol=1e-12, atol=1e-15)


def test_emt_frames_are_read_back_exactly(tmp_path):
    from ase.io import write

    structures, _ = make_emt_frames(5, random_state=0)
    write(tmp_path / "emt.extxyz", [s.to_ase_atoms() for s in structures])
    read_back, _ = read_frames(tmp_path / "emt.extxyz")
    for row, structure in enumerate(structures):
        np.testing.assert_allclose(
            read_back[row].cart_coords, structure.cart_coords, rtol=0, atol=1e-8
        )


def test_a_byte_order_mark(tmp_path):
    text = "1\nenergy=-1.5\nCu 0 0 0\n"
    (tmp_path / "mark.xyz").write_bytes(("\ufeff" + text).encode())
    assert read_frames(tmp_path / "mark.xyz")[1].energy.tolist() == [-1.5]
    (tmp_path / "mark.xyz").write_bytes(text.encode("utf-16"))
    with pytest.raises(ValueError, match=r"mark.xyz is text in UTF-16"):
        read_frames(tmp_path / "mark.xyz")
