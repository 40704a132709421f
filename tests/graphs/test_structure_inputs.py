"""Structures of other forms, and containers of them: read, or refused with the way out."""

import json
import pickle
from collections import UserList, deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from ase import Atoms
from ase.db import connect
from ase.io import Trajectory
from ase.io.jsonio import encode
from pymatgen.core import Composition, DummySpecies, IMolecule, Lattice, Molecule, Structure
from pymatgen.core.trajectory import Trajectory as PymatgenTrajectory
from pymatgen.entries.computed_entries import ComputedStructureEntry
from pymatgen.io.ase import AseAtomsAdaptor
from sklearn.ensemble import BaggingRegressor
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor
from gnnpre.graphs import Crystals, StructureToGraph
from gnnpre.graphs._containers import as_structure_list

CUTOFF = 4.0


@pytest.fixture
def transformer() -> StructureToGraph:
    return StructureToGraph(CUTOFF)


@pytest.fixture
def expected(salt, iron, transformer):
    return transformer.transform([salt, iron])


def assert_same_edges(graphs, expected) -> None:
    np.testing.assert_array_equal(graphs.atomic_numbers, expected.atomic_numbers)
    np.testing.assert_array_equal(graphs.n_edges, expected.n_edges)
    lengths = [np.sort(g.batch().distances.numpy()) for g in (graphs, expected)]
    np.testing.assert_allclose(*lengths, atol=1e-4)


# One element under several species on a site


@pytest.mark.parametrize(
    ("species", "number"),
    [
        ({"Fe2+": 0.5, "Fe3+": 0.5}, 26),
        ({"Fe": 0.25, "Fe2+": 0.25, "Fe3+": 0.5}, 26),
        ({"D": 0.5, "H": 0.5}, 1),
        ({"D": 1.0}, 1),
        ({"T": 0.3, "D+": 0.7}, 1),
        ("D", 1),
        ("O2-", 8),
    ],
    ids=str,
)
def test_several_species_of_one_element(species, number, transformer):
    structure = Structure(Lattice.cubic(4), [species, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    for X in ([structure], [structure, Atoms("He")], [structure.as_dict()], [structure.to_json()]):
        assert transformer.transform(X).atomic_numbers[:2].tolist() == [number, 8]


@pytest.mark.parametrize(
    "species",
    [{"Fe2+": 0.5, "Ni2+": 0.5}, {"Fe2+": 0.5, "Fe3+": 0.4}, {"H": 0.5, "He": 0.5}],
    ids=str,
)
def test_sites_that_are_disordered_all_the_same(species, transformer):
    structure = Structure(Lattice.cubic(4), ["O", species], [[0, 0, 0], [0.5, 0.5, 0.5]])
    with pytest.raises(ValueError, match=r"Structure 0 is disordered: site 1 holds .* order it"):
        transformer.transform([structure])
    for X in ([structure.as_dict()], [structure.to_json()]):
        with pytest.raises(ValueError, match=r"X\[0\]: site 1 is disordered .* order it"):
            transformer.transform(X)


# Texts, dicts, entries


def entry(structure: Structure) -> ComputedStructureEntry:
    return ComputedStructureEntry(structure, energy=-1.0)


FORMS = {
    "dict": lambda s: s.as_dict(),
    "dict of ASE": lambda s: AseAtomsAdaptor.get_atoms(s).todict(),
    "JSON of ASE": lambda s: encode(AseAtomsAdaptor.get_atoms(s)),
    "JSON": lambda s: s.to_json(),
    "CIF": lambda s: s.to(fmt="cif"),
    "POSCAR": lambda s: s.to(fmt="poscar"),
    "entry": entry,
    "dict of an entry": lambda s: entry(s).as_dict(),
    "JSON of an entry": lambda s: json.dumps(entry(s).as_dict(), default=str),
    "immutable": lambda s: Structure.from_sites(s.sites),
}


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_a_structure(form, salt, iron, transformer, expected):
    X = [FORMS[form](structure) for structure in (salt, iron)]
    assert_same_edges(transformer.transform(X), expected)
    assert_same_edges(transformer.transform([salt, X[1]]), expected)
    assert_same_edges(transformer.transform(pd.Series(X)), expected)


def test_dicts_with_cartesian_coordinates_or_parameters_of_a_lattice(
    salt, iron, expected, transformer
):
    dicts = [salt.as_dict(), iron.as_dict()]
    for site in dicts[0]["sites"]:
        del site["abc"]
    del dicts[1]["lattice"]["matrix"]
    dicts[1]["sites"][0]["abc"] = {"@module": "numpy", "@class": "array", "data": [0, 0, 0]}
    assert_same_edges(transformer.transform(dicts), expected)


def test_a_dict_keeps_periodicity(transformer):
    slab = Structure(Lattice(np.diag([3, 3, 3]), pbc=(True, True, False)), ["C"], [[0, 0, 0]])
    assert transformer.transform([slab.as_dict()]).pbc.tolist() == [[True, True, False]]


def test_a_dict_imports_nothing(salt, transformer, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hostile.py").write_text("raise SystemExit('imported')")
    values = salt.as_dict()
    values["properties"] = {"note": {"@module": "hostile", "@class": "x"}}
    values["sites"][0]["properties"] = {"note": {"@module": "hostile", "@class": "x"}}
    assert len(transformer.transform([values, json.dumps(values)])) == 2


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ("NaCl", TypeError, r"X\[1\] is the text 'NaCl'; .*read_structures"),
        ("crystals/NaCl.cif", TypeError, r"X\[1\] is the text 'crystals/NaCl.cif'; .*from_file"),
        (Path("NaCl.cif"), TypeError, r"X\[1\] is of type PosixPath.*read_structures"),
        ("{", ValueError, r"X\[1\] is not valid JSON"),
        (
            '{"a": 1}',
            ValueError,
            r"X\[1\]: a dict with the keys \['a'\] is not a structure; .*as_dict",
        ),
        ("[" * 100_000, TypeError, r"X\[1\] is the text"),
        ('{"a":' * 100_000, ValueError, r"X\[1\] is not valid JSON"),
        ("data_x\n_cell_length_a 1\n", ValueError, r"X\[1\]: the CIF text cannot be read"),
        ("x\n" * 10, ValueError, r"X\[1\]: the text is not a POSCAR file"),
        ({"lattice": 1, "sites": []}, ValueError, r"X\[1\]: the structure has no atoms"),
        ({"lattice": {}, "sites": [3]}, ValueError, r"X\[1\]: an entry .* is of the wrong type"),
        ({}, ValueError, r"X\[1\]: a dict with the keys \[\] is not a structure"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_texts_and_dicts_that_are_no_structure(salt, transformer, bad, error, message):
    with pytest.raises(error, match=message):
        transformer.transform([salt, bad])


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_missing_structures_are_named(missing, salt, transformer):
    with pytest.raises(TypeError, match=r"X\[1\] is of type .* It is missing: leave that row out"):
        transformer.transform(pd.Series([salt, missing], dtype=object))


def test_objects_that_hold_a_structure(salt, transformer):
    with pytest.raises(TypeError, match=r"Pass its structure: \[item.structure for item in X\]"):
        transformer.transform([SimpleNamespace(structure=salt)])
    with pytest.raises(TypeError, match="Decode the text first"):
        transformer.transform([salt.to(fmt="cif").encode()])


def test_texts_of_arrow_and_entries_of_optimade(salt, transformer):
    text = pa.array([salt.to(fmt="cif")])
    assert_same_edges(transformer.transform(text), transformer.transform([salt]))
    entry = {
        "type": "structures",
        "attributes": {
            "lattice_vectors": salt.lattice.matrix.tolist(),
            "cartesian_site_positions": salt.cart_coords.tolist(),
            "species_at_sites": [site.specie.symbol for site in salt],
        },
    }
    assert_same_edges(transformer.transform([entry]), transformer.transform([salt]))


def test_molecules_of_pymatgen(salt, transformer):
    water = Molecule(["O", "H", "D"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], charge=1)
    atoms, others = Atoms("OHH", water.cart_coords), [water.as_dict(), IMolecule.from_sites(water)]
    before = pickle.dumps(water)
    graphs = transformer.transform([water, salt, *others])
    expected = transformer.transform([atoms, salt, atoms, atoms])
    assert_same_edges(graphs, expected)
    assert graphs.pbc.tolist() == expected.pbc.tolist()
    assert pickle.dumps(water) == before
    disordered = Molecule([{"O": 0.5, "N": 0.5}], [[0, 0, 0]])
    with pytest.raises(ValueError, match=r"Structure 1 is disordered: site 0 holds O0.5 N0.5"):
        transformer.transform([salt, disordered])


def entry_of_optimade(**species) -> dict:
    return {
        "lattice_vectors": (4.0 * np.eye(3)).tolist(),
        "cartesian_site_positions": [[0, 0, 0], [2, 2, 2]],
        "species_at_sites": ["Ti", "O"],
        "species": [
            {"name": "Ti", "chemical_symbols": ["Ti"], "concentration": [1.0], **species},
            {"name": "O", "chemical_symbols": ["O"], "concentration": None, "attached": None},
        ],
    }


@pytest.mark.parametrize(
    ("species", "shown"),
    [
        ({"chemical_symbols": ["Ti", "Zr"], "concentration": [0.9, 0.1]}, "Ti: 0.9, Zr: 0.1"),
        ({"chemical_symbols": ["Ti", "vacancy"], "concentration": [0.9, 0.1]}, "vacancy: 0.1"),
        ({"concentration": [0.5]}, "Ti: 0.5"),
        ({"attached": ["H"]}, "Ti: 1.0, with H attached"),
    ],
)
def test_species_of_optimade_that_are_no_single_atom(transformer, species, shown):
    # The name of a species is free: that of the first element is usual.
    with pytest.raises(ValueError, match=rf"X\[0\]: the species 'Ti' is disordered \(.*{shown}"):
        transformer.transform([entry_of_optimade(**species)])


def test_species_of_optimade_with_other_names(transformer):
    entry = entry_of_optimade(name="Ti1", chemical_symbols=["Zr"])
    entry["species_at_sites"][0] = "Ti1"
    assert transformer.transform([entry]).atomic_numbers.tolist() == [40, 8]


def test_a_database_is_no_container(tmp_path, transformer):
    with pytest.raises(TypeError, match=r"SQLite3Database.*row.toatoms\(\) for row in"):
        transformer.transform(connect(str(tmp_path / "x.db")))


def test_a_dummy_species_in_a_dict(transformer):
    structure = Structure(Lattice.cubic(4), [DummySpecies("Xa")], [[0, 0, 0]])
    with pytest.raises(ValueError, match=r"X\[0\]: 'Xa.*' is not a chemical element"):
        transformer.transform([structure.as_dict()])


# Containers


def test_rows_of_an_ase_database(tmp_path, salt, iron, transformer, expected):
    with connect(tmp_path / "crystals.db") as database:
        for structure in (salt, iron):
            database.write(structure.to_ase_atoms())
    rows = list(connect(tmp_path / "crystals.db").select())
    assert_same_edges(transformer.transform(rows), expected)


def test_trajectories(tmp_path, iron, transformer):
    moved = iron.copy().perturb(0.1)
    expected = transformer.transform([iron, moved])
    pymatgen = PymatgenTrajectory.from_structures([iron, moved])
    with Trajectory(tmp_path / "run.traj", "w") as file:
        file.write(iron.to_ase_atoms())
        file.write(moved.to_ase_atoms())
    for X in (pymatgen, Trajectory(tmp_path / "run.traj")):
        assert_same_edges(transformer.fit_transform(X), expected)


class Rows:
    """A sequence of one's own, without any base class."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        return self.items[row]


class HuggingFace(Rows):
    """A table that is indexed by column or row, as a Dataset is."""

    column_names = ("structure",)

    def __getitem__(self, key):
        return self.items if key == "structure" else {"structure": self.items[key]}


@pytest.mark.parametrize(
    "make",
    [
        deque,
        UserList,
        Rows,
        HuggingFace,
        lambda items: dict(enumerate(items)).values(),
        lambda items: pd.Series(items, index=["a", "b"]),
        lambda items: pd.DataFrame({"x": items}),
        lambda items: pd.Index(items, dtype=object),
        lambda items: pd.Series(items).to_numpy(),
        lambda items: pd.array(items, dtype=object),
        Crystals.from_structures,
    ],
    ids=range(11),
)
def test_containers(make, salt, iron, transformer, expected):
    X = make([salt, iron])
    assert_same_edges(transformer.fit_transform(X), expected)
    assert_same_edges(transformer.fit(X).transform(X), expected)


def test_polars(salt, iron, transformer, expected):
    polars = pytest.importorskip("polars")
    series = polars.Series("structure", [salt, iron], dtype=polars.Object)
    texts = polars.DataFrame({"cif": [salt.to(fmt="cif"), iron.to(fmt="cif")]})
    for X in (series, polars.DataFrame([series]), texts, texts["cif"]):
        assert_same_edges(transformer.fit_transform(X), expected)


@pytest.mark.parametrize("columns", [["y", "structure"], ["cif", "y"], [0, 1], []], ids=str)
def test_a_table_of_several_columns_names_them(salt, transformer, columns):
    table = pd.DataFrame({name: [salt, salt] for name in columns})
    likely = repr(columns[1] if "structure" in columns else (columns or ["structure"])[0])
    message = rf"X is a table with {len(columns)} columns, .*Select it: X\[{likely}\]"
    with pytest.raises(ValueError, match=message):
        transformer.transform(table)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: (one for one in [s]), r"of type generator.* only once: pass list\(X\)"),
        (lambda s: iter([s]), r"of type list_iterator.* only once: pass list\(X\)"),
        (lambda s: {"mp-1": s}, r"of type dict.*Pass list\(X.values\(\)\)"),
        (lambda s: s.as_dict(), r"X is one dict; .*Pass \[structure\]"),
        (lambda s: {1, 2}, "of type set.* no order"),
        (lambda s: "NaCl.cif", "of type str.*read_structures"),
        (lambda s: Path("NaCl.cif"), "of type PosixPath.*read_structures"),
        (entry, r"X is one ComputedStructureEntry; .*Pass \[structure\]"),
        (lambda s: s, r"X is one Structure; .*Pass \[structure\]"),
        (lambda s: Atoms("He"), r"X is one Atoms; .*Pass \[structure\]"),
        (lambda s: Molecule(["He"], [[0, 0, 0]]), r"X is one Molecule; .*Pass \[structure\]"),
        (lambda s: Composition("NaCl"), "of type Composition; expected a list"),
        (lambda s: 3, "of type int; expected a list"),
        (lambda s: None, "of type NoneType; expected a list"),
    ],
)
def test_what_is_no_container(make, message, salt, transformer):
    for method in (transformer.fit, transformer.transform, transformer.fit_transform):
        with pytest.raises(TypeError, match=message):
            method(make(salt))


# Ensembles of scikit-learn


def test_bagging_takes_a_table_of_one_column_and_says_so(salt, iron):
    structures, y = [salt, iron] * 4, np.arange(8.0)
    network = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    bagging = BaggingRegressor(make_pipeline(StructureToGraph(CUTOFF), network), n_estimators=2)
    assert bagging.fit(pd.DataFrame({"structure": structures}), y).predict(
        pd.DataFrame({"structure": structures})
    ).shape == (8,)
    with pytest.raises(TypeError, match=r'pd.DataFrame\(\{"structure": structures\}\)'):
        bagging.fit(StructureToGraph(CUTOFF).transform(structures), y)
    with pytest.raises(TypeError, match=r'pd.DataFrame\(\{"structure"'):
        bagging.fit(Crystals.from_structures(structures), y)
    with pytest.raises(ValueError, match=r'pd.DataFrame\(\{"structure": structures\}\)'):
        as_structure_list(np.array([salt, salt], dtype=object))
