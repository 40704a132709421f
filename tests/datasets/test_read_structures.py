"""Structures from folders, archives, lists and tables, and files that are skipped."""

import gzip
import io
import json
import tarfile
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from ase.db import connect
from ase.io import write
from pymatgen.core import Lattice, Structure

from gnnpre.datasets import make_emt_property, read_matbench, read_structures
from gnnpre.exceptions import DataQualityWarning
from gnnpre.graphs import Crystals

STRUCTURES, VALUES = make_emt_property(4, random_state=0)
BROKEN_CIF = "data_x\n_cell_length_a 3\nloop_\n_atom_site_label\nQq\n"


def assert_same(crystals, structures, order=None):
    order = range(len(structures)) if order is None else order
    assert len(crystals) == len(list(order))
    for row, number in enumerate(order):
        structure = structures[number]
        assert crystals[row].composition == structure.composition
        np.testing.assert_allclose(crystals[row].lattice.abc, structure.lattice.abc, atol=1e-6)
        distances, reference = crystals[row].distance_matrix, structure.distance_matrix
        np.testing.assert_allclose(
            np.sort(distances.ravel()), np.sort(reference.ravel()), atol=1e-5
        )


@pytest.fixture
def folder(folder):
    """Four structures in four formats, and files that hold none."""
    root = folder
    (root / "README.txt").write_text("not a structure")
    (root / ".hidden.cif").write_text("not a structure")
    return root


def test_folder(folder):
    crystals, y = read_structures(folder)
    assert isinstance(crystals, Crystals)
    assert crystals.ids.tolist() == ["mp-0", "mp-1", "mp-2", "mp-3"]
    assert_same(crystals, STRUCTURES)
    assert y.shape == (4, 0)
    assert y.index.tolist() == crystals.index.tolist() == ["mp-0", "mp-1", "mp-2", "mp-3"]


def test_pattern_and_lists(folder):
    crystals, _ = read_structures(str(folder / "mp-*.cif"))
    assert_same(crystals, STRUCTURES[:1])
    crystals, _ = read_structures([folder / "mp-2.json.gz", str(folder / "mp-0.cif")])
    assert_same(crystals, STRUCTURES, [2, 0])
    assert crystals.ids.tolist() == ["mp-2", "mp-0"]
    crystals, _ = read_structures(folder / "mp-0.cif")
    assert_same(crystals, STRUCTURES[:1])


def test_processes(folder):
    alone, _ = read_structures(folder)
    together, _ = read_structures(folder, n_jobs=2)
    np.testing.assert_array_equal(together.positions, alone.positions)
    np.testing.assert_array_equal(together.ids, alone.ids)


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz"])
def test_archives(folder, tmp_path, suffix):
    archive = tmp_path / f"set.{suffix}"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in files:
                file.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, "w:gz" if suffix == "tar.gz" else "w") as file:
            for path in files:
                file.add(path, path.relative_to(folder))
    crystals, _ = read_structures(archive)
    assert crystals.ids.tolist() == ["mp-0", "mp-1", "mp-2", "mp-3"]
    assert_same(crystals, STRUCTURES)


def test_hostile_archives(tmp_path):
    outside = tmp_path / "outside.cif"
    with zipfile.ZipFile(tmp_path / "up.zip", "w") as file:
        file.writestr("../outside.cif", STRUCTURES[0].to(fmt="cif"))
    with pytest.raises(ValueError, match=r"no files of structures in .*up.zip"):
        read_structures(tmp_path / "up.zip")
    with tarfile.open(tmp_path / "link.tar", "w") as file:
        link = tarfile.TarInfo("a.cif")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
        absolute = tarfile.TarInfo(str(outside))
        absolute.size = 1
        file.addfile(absolute, io.BytesIO(b"x"))
    with pytest.raises(ValueError, match="absolute name"):
        read_structures(tmp_path / "link.tar")
    assert not outside.exists()
    whole = (tmp_path / "up.zip").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress(whole)[:50])
    with pytest.raises(ValueError, match=r"cut.tar.gz"):
        read_structures(tmp_path / "cut.tar.gz")


def test_broken_files_are_named_or_skipped(folder):
    (folder / "mp-1b.cif").write_text(BROKEN_CIF)
    with pytest.raises(ValueError, match=r"(?s)mp-1b.cif: the CIF .*errors='skip'"):
        read_structures(folder)
    crystals, y, skipped = read_structures(folder, errors="skip")
    assert_same(crystals, STRUCTURES)
    assert len(y) == 4
    assert skipped["source"].tolist() == [str(folder / "mp-1b.cif")]
    assert "CIF text cannot be read" in skipped["reason"][0]
    with pytest.raises(ValueError, match=r"mp-1b.cif: .*cannot be read"):
        read_structures([folder / "mp-1b.cif"], errors="skip")


def test_nothing_is_skipped(folder):
    assert read_structures(folder, errors="skip")[2].shape == (0, 2)


def test_files_of_several_structures_with_columns(tmp_path):
    frames = [bulk("Cu"), bulk("Al")]
    frames[0].info["gap"], frames[1].info["gap"] = 0.5, 1.5
    write(tmp_path / "frames.extxyz", frames)
    with connect(tmp_path / "more.db") as database:
        database.write(bulk("Ni"), gap=2.5, label="x")
    STRUCTURES[0].to(str(tmp_path / "one.cif"))
    crystals, y = read_structures(tmp_path)
    assert crystals.ids.tolist() == ["frames-0", "frames-1", "more", "one"]
    np.testing.assert_array_equal(y["gap"].astype(float), [0.5, 1.5, 2.5, np.nan])
    _, gap = read_structures(tmp_path / "frames.extxyz", "gap")
    assert gap.tolist() == [0.5, 1.5]
    with pytest.raises(ValueError, match=r"no column 'K', but .*'gap'.*CSV file"):
        read_structures(tmp_path, "K")


def test_csv_of_file_names(folder):
    names = ["mp-2.json.gz", "mp-0.cif", "mp-3/CONTCAR", "mp-1.vasp"]
    order = [2, 0, 3, 1]
    table = pd.DataFrame({"file": names, "K": VALUES[order], "note": list("abcd")})
    table.to_csv(folder / "table.csv", index=False)
    crystals, y = read_structures(folder / "table.csv")
    assert_same(crystals, STRUCTURES, order)
    assert crystals.ids.tolist() == ["mp-2", "mp-0", "mp-3/CONTCAR", "mp-1"]
    assert list(y.columns) == ["K", "note"]
    _, K = read_structures(folder / "table.csv", "K", id_column="note")
    assert K.name == "K"
    assert K.index.tolist() == list("abcd")
    np.testing.assert_allclose(K, VALUES[order])


def test_files_of_one_name(folder):
    # The folder of a calculation has its structure before and after the relaxation.
    (folder / "mp-3" / "POSCAR").write_text(STRUCTURES[3].to(fmt="poscar"))
    with pytest.warns(DataQualityWarning, match=r"'mp-3' .*mp-3/CONTCAR and .*mp-3/POSCAR"):
        crystals, _ = read_structures(folder)
    assert crystals.ids.tolist() == ["mp-0", "mp-1", "mp-2", "mp-3", "mp-3"]


def test_csv_naming_a_missing_file(folder):
    text = "material,K\nmp-0,1\nmp-77,2\nmp-1,3\n"
    (folder / "table.csv").write_text(text)
    keys = {"structure_column": "material", "id_column": "material"}
    with pytest.raises(ValueError, match=r"Row 1 \(id mp-77\) of .*table.csv: there is no .*mp-77"):
        read_structures(folder / "table.csv", "K", **keys)
    crystals, K, skipped = read_structures(folder / "table.csv", "K", errors="skip", **keys)
    assert crystals.ids.tolist() == ["mp-0", "mp-1"]
    assert K.tolist() == [1, 3]
    assert skipped["source"].tolist() == [f"Row 1 (id mp-77) of {folder / 'table.csv'}"]


@pytest.mark.parametrize(("separator", "shown"), [(";", "';'"), ("\t", r"'\\t'")])
def test_csv_with_another_separator(folder, separator, shown):
    (folder / "table.csv").write_text(f"file{separator}K\nmp-0.cif{separator}1,5\n")
    with pytest.raises(ValueError, match=f"it is separated by {shown}.*Save it with commas"):
        read_structures(folder / "table.csv", "K")


def test_cif_and_poscar_files_of_no_element(folder, tmp_path):
    text = (folder / "mp-0.cif").read_text()
    symbol = STRUCTURES[0][0].specie.symbol
    (tmp_path / "a.cif").write_text(text.replace(f"  {symbol}  ", "  Vac  "))
    with pytest.raises(ValueError, match=r"a.cif: .* type symbol 'Vac', which is not an element"):
        read_structures(tmp_path / "a.cif")
    (tmp_path / "b.csv").write_text('structure\n"' + text + text.replace("data_", "data_x") + '"\n')
    with pytest.raises(ValueError, match=r"Row 0 .* CIF text holds 2 structures; a cell has one"):
        read_structures(tmp_path / "b.csv")
    lines = STRUCTURES[1].to(fmt="poscar").splitlines()
    del lines[5]
    (tmp_path / "POSCAR").write_text("\n".join(["x", *(line[:45] for line in lines[1:])]))
    with pytest.raises(ValueError, match="POSCAR: the POSCAR text has no symbols of elements"):
        read_structures(tmp_path / "POSCAR")


def test_damaged_compressed_table(folder):
    rows = "file,K\n" + "mp-0.cif,1.0\n" * 200
    packed = bytearray(gzip.compress(rows.encode()))
    packed[20:30] = bytes(range(10))
    (folder / "t.csv.gz").write_bytes(packed)
    with pytest.raises(ValueError, match=r"t.csv.gz cannot be read as a table"):
        read_structures(folder / "t.csv.gz")


def test_spreadsheets_are_no_structures(folder):
    (folder / "table.xlsx").write_bytes(b"PK\3\4")
    with pytest.raises(ValueError, match=r"table.xlsx is a spreadsheet: save it as CSV"):
        read_structures(folder / "table.xlsx", "K")


def test_structures_need_not_be_read():
    with pytest.raises(TypeError, match=r"source\[0\]=.* pass them to fit as they are"):
        read_structures(STRUCTURES)


def test_csv_of_cgcnn(folder):
    (folder / "id_prop.csv").write_text("mp-0,1.5\n")
    crystals, y = read_structures(folder / "id_prop.csv")
    assert crystals.ids.tolist() == ["mp-0"]
    assert y["target_1"].tolist() == [1.5]


@pytest.mark.parametrize("column", ["cif", "json", "dict", "object"])
def test_table_of_structures(column):
    make = {
        "cif": lambda s: s.to(fmt="cif"),
        "json": lambda s: s.to_json(),
        "dict": lambda s: s.as_dict(),
        "object": lambda s: s,
    }[column]
    cells = [make(structure) for structure in STRUCTURES]
    table = pd.DataFrame({"K": VALUES, "data": cells}, index=[7, 5, 3, 1])
    crystals, K = read_structures(table, "K", structure_column="data")
    assert_same(crystals, STRUCTURES)
    assert crystals.index.tolist() == K.index.tolist() == [7, 5, 3, 1]
    assert crystals.ids.tolist() == ["7", "5", "3", "1"]
    if column in {"cif", "dict"}:
        assert_same(read_structures(table, "K")[0], STRUCTURES)  # found without its name


def test_bad_cells_are_named():
    table = pd.DataFrame({"cif": [STRUCTURES[0].to(fmt="cif"), None, "nonsense\n" * 9]})
    with pytest.raises(ValueError, match=r"Row 1 \(id 1\) of the table: 'nan'.*2 of 3 cannot"):
        read_structures(table)
    crystals, _, skipped = read_structures(table, errors="skip")
    assert len(crystals) == 1
    assert skipped["source"].tolist() == ["Row 1 (id 1) of the table", "Row 2 (id 2) of the table"]


def test_bad_arguments(folder, tmp_path):
    table = pd.DataFrame({"x": [1], "y": ["text"]})
    with pytest.raises(ValueError, match="errors must be 'raise' or 'skip'; got 'ignore'"):
        read_structures(folder, errors="ignore")
    with pytest.raises(ValueError, match=r"no column of structures among \['x', 'y'\]"):
        read_structures(table)
    with pytest.raises(ValueError, match=r"id_column='id': the table has the columns \['x', 'y'\]"):
        read_structures(table, id_column="id")
    with pytest.raises(ValueError, match=r"targets=\['K'\]: the table has no column 'K'"):
        read_structures(table, "K", structure_column="y")
    with pytest.raises(ValueError, match="has no rows"):
        read_structures(table.iloc[:0])
    with pytest.raises(ValueError, match=r"id_column='x': .* is not a table"):
        read_structures(folder, id_column="x")
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*nowhere"):
        read_structures(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no files in .*nothing"):
        read_structures(str(tmp_path / "nothing*"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no files of structures in .*empty: names should end in"):
        read_structures(tmp_path / "empty")
    (tmp_path / "labels.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="read_parquet"):
        read_structures(tmp_path / "labels.parquet")


def test_remarks_of_the_cif_parser_are_reported_once(tmp_path):
    text = Structure(Lattice.hexagonal(3, 5), ["Mg"], [[1 / 3, 2 / 3, 0.25]]).to(fmt="cif")
    for i in range(3):
        (tmp_path / f"{i}.cif").write_text(text.replace("_sum   Mg1", "_sum   'Mg1 O1'"))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        read_structures(tmp_path)
    assert len(record) == 1
    assert "warned 3 times (3 times: Missing elements O" in str(record[0].message)
    assert record[0].filename == __file__


def test_thirds_of_four_digits_are_no_reason_to_warn(tmp_path):
    text = Structure(Lattice.hexagonal(3, 5), ["Mg"], [[1 / 3, 2 / 3, 0.25]]).to(fmt="cif")
    rounded = text.replace("0.33333333", "0.3333").replace("0.66666667", "0.6667")
    (tmp_path / "thirds.cif").write_text(rounded)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crystals, _ = read_structures(tmp_path)
    np.testing.assert_allclose(crystals[0].frac_coords, [[1 / 3, 2 / 3, 0.25]], atol=1e-12)


def test_a_list_of_structures_in_json(tmp_path):
    content = json.dumps([structure.as_dict() for structure in STRUCTURES])
    (tmp_path / "all.json").write_text(content)
    crystals, _ = read_structures(tmp_path / "all.json")
    assert_same(crystals, STRUCTURES)
    assert crystals.ids.tolist() == ["all-0", "all-1", "all-2", "all-3"]


def test_real_structures_as_cif_and_poscar(data_dir, tmp_path):
    reference, _ = read_matbench(data_dir / "downstream" / "phonons.json.gz")
    for row in range(0, 200, 10):
        structure = reference[row]
        structure.to(str(tmp_path / f"{row:03d}.cif"))
        (tmp_path / f"{row:03d}.vasp").write_text(structure.to(fmt="poscar"))
    crystals, _ = read_structures(tmp_path)
    for number, row in enumerate(range(0, 200, 10)):
        assert_same(crystals[[2 * number, 2 * number + 1]], [reference[row]] * 2)
