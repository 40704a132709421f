"""MatBench's files: reading, and fetching from a local server."""

import contextlib
import gzip
import json
import re
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from gnnpre.datasets import _file_formats, read_matbench


def some_structures():
    silicon = Structure(Lattice.cubic(3.8), ["Si", "Si"], [[0, 0, 0], [0.25, 0.25, 0.25]])
    slab = Structure(
        Lattice([[4, 0, 0], [1, 3, 0], [0, 0, 20]], pbc=(1, 1, 0)), ["Au"], [[0, 0, 1.2]]
    )
    salt = Structure(Lattice.cubic(4.1), ["Na+", "Cl-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    return [silicon, slab, salt]


def assert_same_crystals(crystals, structures):
    assert len(crystals) == len(structures)
    for row, structure in enumerate(structures):
        atoms = slice(crystals.offsets[row], crystals.offsets[row + 1])
        np.testing.assert_allclose(crystals.positions[atoms], structure.cart_coords, atol=1e-12)
        np.testing.assert_array_equal(crystals.cell[row], structure.lattice.matrix)
        assert tuple(crystals.pbc[row]) == structure.lattice.pbc
        numbers = [next(iter(site.species)).Z for site in structure]
        assert crystals.atomic_numbers[atoms].tolist() == numbers


def table(**columns):
    structures = {"structure": [structure.as_dict() for structure in some_structures()]}
    frame = pd.DataFrame(structures | columns, index=["a", "b", "c"])
    return json.loads(frame.to_json(orient="split"))


@pytest.fixture
def write_table(tmp_path):
    def write(content, name="table.json.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(json.dumps(content).encode()))
        return path

    return write


def test_structures_and_target_in_order(write_table):
    structures, y = read_matbench(write_table(table(gap=[0.5, 1.5, 2.5])))
    assert_same_crystals(structures, some_structures())
    assert structures.index.tolist() == ["a", "b", "c"]
    pd.testing.assert_series_equal(y, pd.Series([0.5, 1.5, 2.5], index=list("abc"), name="gap"))


class TestRows:
    @pytest.fixture
    def path(self, write_table):
        return write_table(table(gap=[0.5, 1.5, 2.5]))

    def test_the_first_ones(self, path):
        structures, y = read_matbench(path, nrows=2)
        assert_same_crystals(structures, some_structures()[:2])
        assert y.to_dict() == {"a": 0.5, "b": 1.5}

    def test_random_ones_keep_their_order_and_labels(self, path):
        drawn = set()
        for seed in range(20):
            structures, y = read_matbench(path, sample=2, random_state=seed)
            rows = ["abc".index(label) for label in y.index]
            assert rows == sorted(rows)
            assert len(set(rows)) == 2
            np.testing.assert_array_equal(y, [[0.5, 1.5, 2.5][row] for row in rows])
            assert_same_crystals(structures, [some_structures()[row] for row in rows])
            drawn.add(tuple(rows))
        assert len(drawn) == 3

    def test_structures_of_the_other_rows_are_not_read(self, write_table):
        content = table(gap=[0.5, 1.5, 2.5])
        content["data"][1][0] = "no structure"
        assert len(read_matbench(write_table(content), nrows=1)[0]) == 1
        with pytest.raises(ValueError, match=r"Row 1 \(index 'b'\)"):
            read_matbench(write_table(content), nrows=2)

    @pytest.mark.parametrize(
        ("parameters", "match"),
        [
            ({"nrows": 0}, "nrows=0; expected an int > 0"),
            ({"sample": 0.5}, r"sample=0.5; expected an int"),
            ({"nrows": 1, "sample": 1}, "pass nrows for the first rows, or sample"),
            ({"nrows": 4}, r"nrows=4, but .* has 3 rows"),
            ({"sample": 4}, r"sample=4, but .* has 3 rows"),
        ],
    )
    def test_other_numbers_are_refused(self, path, parameters, match):
        with pytest.raises(ValueError, match=match):
            read_matbench(path, **parameters)


def test_several_targets(write_table):
    path = write_table(table(gap=[0.5, None, 2.5], metal=[True, False, False]))
    _, y = read_matbench(path)
    assert isinstance(y, pd.DataFrame)
    assert list(y.columns) == ["gap", "metal"]
    np.testing.assert_array_equal(y["gap"], [0.5, np.nan, 2.5])
    assert y["metal"].dtype == bool
    assert read_matbench(path, "gap")[1].name == "gap"
    assert list(read_matbench(path, ["metal", "gap"])[1].columns) == ["metal", "gap"]
    assert isinstance(read_matbench(path, ["gap"])[1], pd.DataFrame)


def test_the_structure_column_is_found_by_its_name(write_table):
    content = table(gap=[0.5, 1.5, 2.5])
    content["columns"] = content["columns"][::-1]
    content["data"] = [row[::-1] for row in content["data"]]
    structures, y = read_matbench(write_table(content))
    assert_same_crystals(structures, some_structures())
    assert y.tolist() == [0.5, 1.5, 2.5]


def test_a_file_that_is_not_zipped(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps(table(gap=[0.5, 1.5, 2.5])))
    assert len(read_matbench(path)[0]) == 3


def test_bad_targets(write_table):
    path = write_table(table(gap=[0.5, 1.5, 2.5]))
    with pytest.raises(ValueError, match=r"target='n': .* has the targets \['gap'\]"):
        read_matbench(path, "n")
    with pytest.raises(ValueError, match="has the targets"):
        read_matbench(path, [])
    with pytest.raises(ValueError, match="has the targets"):
        read_matbench(path, "structure")
    with pytest.raises(ValueError, match="there is no target"):
        read_matbench(write_table(table()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "not a table in MatBench's format: .* it is list"),
        ({"a": 1}, r"it is a dict of \['a'\]"),
        ({"index": [0], "columns": ["composition", "gfa"], "data": [["Cu", 1]]}, "no column 'str"),
        ({"index": [0], "columns": ["structure", "n"], "data": []}, "has no rows"),
        ({"index": [0, 1], "columns": ["structure"], "data": [[{}]]}, "2 entries of 'index' and 1"),
        ({"index": {}, "columns": ["structure"], "data": [[{}]]}, "'index' of .* expected a list"),
        ({"index": [0], "columns": ["structure", "n"], "data": [[1]]}, "Row 0 of .* the 2 entries"),
        (
            {"index": ["x"], "columns": ["structure", "n"], "data": [[{}, 1]]},
            r"Row 0 \(index 'x'\)",
        ),
        ({"index": ["x"], "columns": ["structure", "n"], "data": [[None, 1]]}, "has no structure"),
    ],
)
def test_tables_of_another_format(write_table, content, message):
    with pytest.raises(ValueError, match=message):
        read_matbench(write_table(content))


def write_cells(write_table, *cells):
    rows = [[cell, float(row)] for row, cell in enumerate(cells)]
    names = [f"r{row}" for row in range(len(cells))]
    return write_table({"index": names, "columns": ["structure", "n"], "data": rows})


def test_cells_of_json_and_cif_text(write_table):
    silicon = some_structures()[0]
    cells = [silicon.as_dict(), silicon.to_json(), silicon.to(fmt="cif"), silicon.to(fmt="poscar")]
    structures, _ = read_matbench(write_cells(write_table, *cells))
    for row in range(4):
        np.testing.assert_allclose(structures.cell[row], 3.8 * np.eye(3), atol=1e-6)
        positions = structures.positions[structures.offsets[row] : structures.offsets[row + 1]]
        np.testing.assert_allclose(positions, silicon.cart_coords, atol=1e-6)
    with pytest.raises(ValueError, match=r"Row 1 \(index 'r1'\) .*'nonsense' is not a structure"):
        read_matbench(write_cells(write_table, cells[0], "nonsense"))


def test_nothing_that_a_file_names_is_imported(write_table, tmp_path, monkeypatch):
    (tmp_path / "named_by_file.py").write_text(
        "from pathlib import Path\nPath(__file__).with_name('imported').touch()\nclass x: pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    bad = {"@module": "named_by_file", "@class": "x"}
    call = {"@module": "os", "@callable": "system", "@bound": None}
    cell = some_structures()[0].as_dict()
    for site in cell["sites"]:
        site["properties"] = {"note": bad, "call": call}
    cell["properties"] = {"note": bad}
    cell["lattice"]["@module"] = "named_by_file"
    structures, _ = read_matbench(write_cells(write_table, cell, json.dumps(cell)))
    assert len(structures) == 2
    assert not (tmp_path / "imported").exists()
    # The trap works: pymatgen's own decoder imports the module.
    with contextlib.suppress(Exception):
        Structure.from_dict(cell)
    assert (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("species", "number"),
    [
        (
            [{"element": "Fe2+", "occu": 0.5}, {"element": "Fe3+", "occu": 0.5}],
            26,
        ),
        ([{"element": "D", "occu": 0.5}, {"element": "H", "occu": 0.5}], 1),
        ([{"element": "Fe3+", "occu": 1}], 26),
    ],
)
def test_one_element_under_several_names(write_table, species, number):
    cell = some_structures()[0].as_dict()
    cell["sites"][0]["species"] = species
    structures, _ = read_matbench(write_cells(write_table, cell))
    assert structures.atomic_numbers.tolist() == [number, 14]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["sites"][0].update(species=[{"element": "Fe", "occu": 0.5}]), "disordered"),
        (
            lambda d: d["sites"][0].update(species=[{"element": "X", "occu": 1}]),
            "not a chemical elem",
        ),
        (lambda d: d["sites"][0].update(abc=[0, "x", 0]), "abc should be numbers"),
        (lambda d: d["sites"][0].update(abc=[0, 0]), "inhomogeneous|should be numbers"),
        (lambda d: d["sites"][0].update(abc=[0, float("nan"), 0]), "not finite"),
        (lambda d: d["lattice"].update(matrix=[[1, 2], [3, 4]]), "matmul|shapes|mismatch"),
        (lambda d: d["lattice"].pop("matrix") and d["lattice"].pop("a"), "no entry 'a'"),
        (lambda d: d.update(sites=[]), "has no atoms"),
        (lambda d: d.update(sites=3), "wrong type"),
        (lambda d: d.pop("sites"), "is not a structure; expected a pymatgen Structure"),
    ],
)
def test_bad_structures_are_named(write_table, change, message):
    cell = some_structures()[0].as_dict()
    change(cell)
    with pytest.raises(ValueError, match=rf"Row 1 \(index 'r1'\) of .*({message})"):
        read_matbench(write_cells(write_table, some_structures()[0].as_dict(), cell))


def test_dictionaries_of_other_packages(write_table):
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    atoms.wrap()
    jarvis = {
        "lattice_mat": atoms.cell.array.tolist(),
        "coords": atoms.get_scaled_positions().tolist(),
        "elements": ["Na", "Cl"],
        "cartesian": False,
    }
    optimade = {
        "lattice_vectors": atoms.cell.array.tolist(),
        "cartesian_site_positions": atoms.positions.tolist(),
        "species_at_sites": ["Na", "Cl"],
        "dimension_types": [1, 1, 1],
    }
    ase = {
        name: value.tolist() if hasattr(value, "tolist") else value
        for name, value in atoms.todict().items()
    }
    entry = {"energy": -1.0, "structure": Structure.from_ase_atoms(atoms).as_dict()}
    structures, _ = read_matbench(write_cells(write_table, jarvis, optimade, ase, entry))
    for row in range(4):
        np.testing.assert_allclose(structures.cell[row], atoms.cell.array, atol=1e-12)
        np.testing.assert_allclose(structures[row].cart_coords, atoms.positions, atol=1e-12)
        assert structures[row].formula == "Na1 Cl1"


def test_warnings_of_the_cif_parser_are_reported_once(write_table):
    text = Structure(Lattice.hexagonal(3, 5), ["Mg"], [[1 / 3, 2 / 3, 0.25]]).to(fmt="cif")
    text = text.replace("_sum   Mg1", "_sum   'Mg1 O1'")
    path = write_cells(write_table, text, text, text)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        read_matbench(path)
    assert len(record) == 1
    assert re.search(r"parser of .*table.json.gz warned 3 times", str(record[0].message))
    assert record[0].filename == __file__


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(_file_formats, "_LARGEST_UNPACKED", 2**20)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * 2**26))
    with pytest.raises(ValueError, match=r"bomb.json.gz unpacks to more than 200 times its size"):
        read_matbench(path)


def test_json_nested_too_deeply(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"is not JSON .*nested too deeply"):
        read_matbench(path)


def test_nan_as_python_writes_it(write_table):
    content = table(gap=[0.5, float("nan"), 2.5])
    content["data"][1][1] = float("nan")
    _, y = read_matbench(write_table(content))
    np.testing.assert_array_equal(y, [0.5, np.nan, 2.5])


def test_damaged_files(write_table, tmp_path):
    path = write_table(table(gap=[0.5, 1.5, 2.5]))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_matbench(path)
    path.write_text("no json")
    with pytest.raises(ValueError, match="is not JSON"):
        read_matbench(path)
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="is not JSON"):
        read_matbench(path)
    with pytest.raises(FileNotFoundError):
        read_matbench(tmp_path / "none.json.gz")


@pytest.mark.parametrize(
    ("name", "n", "target"),
    [
        ("jdft2d", 636, "exfoliation_energy_meV_per_atom"),
        ("phonons", 1265, "last_phdos_peak_cm-1"),
        ("perovskites", 12117, "e_form_eV"),
    ],
)
def test_real_tables(data_dir, name, n, target):
    structures, y = read_matbench(data_dir / "downstream" / f"{name}.json.gz")
    assert len(structures) == len(y) == n
    assert y.name == target
    assert np.isfinite(y).all()


@pytest.mark.parametrize(("name", "error"), [("jdft2d", 67.2851), ("phonons", 323.9822)])
def test_real_rows_are_in_matbench_order(data_dir, name, error):
    # The leaderboard's own dummy scores.
    from sklearn.dummy import DummyRegressor
    from sklearn.model_selection import KFold, cross_val_score

    _, y = read_matbench(data_dir / "downstream" / f"{name}.json.gz")
    folds = KFold(5, shuffle=True, random_state=18012019)
    scoring = "neg_mean_absolute_error"
    scores = cross_val_score(DummyRegressor(), np.zeros((len(y), 1)), y, cv=folds, scoring=scoring)
    assert -scores.mean() == pytest.approx(error, abs=1e-4)


def test_import_is_light():
    code = "import sys, gnnpre.datasets; print({'pymatgen', 'ase', 'pooch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
