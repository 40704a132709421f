"""Labels of crystals, against pymatgen's own of each structure."""

import joblib
import numpy as np
import pandas as pd
import pytest
from ase.build import bulk, molecule
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer
from sklearn.model_selection import GroupKFold

from cases import random_rotation
from gnnpre.datasets import read_matbench
from gnnpre.graphs import StructureToGraph
from gnnpre.model_selection import _symmetry, structure_groups


@pytest.fixture(scope="module")
def phonons(data_dir):
    return read_matbench(data_dir / "downstream" / "phonons.json.gz")[0][:80]


def object_array(structures, shape):
    array = np.empty(len(structures), dtype=object)
    array[:] = structures
    return array.reshape(shape)


def rock_salt():
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(5.6), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def slab(vacuum):
    """Return a layer of MoS2."""
    cell = Lattice.from_parameters(3.2, 3.2, vacuum, 90, 90, 120, pbc=(True, True, False))
    z = 0.5 + np.array([-1.56, 0.0, 1.56]) / vacuum
    return Structure(
        cell, ["S", "Mo", "S"], [[1 / 3, 2 / 3, z[0]], [0, 0, z[1]], [1 / 3, 2 / 3, z[2]]]
    )


def with_skewed_vacuum(structure):
    """Tilt the vector that leads out of the layer, atoms where they are."""
    matrix = np.array(structure.lattice.matrix)
    matrix[2] += [0.7, 0.4, 0.0]
    return Structure(
        Lattice(matrix, pbc=structure.lattice.pbc),
        structure.species,
        structure.cart_coords,
        coords_are_cartesian=True,
    )


def test_compositions_and_systems_are_those_of_pymatgen(phonons):
    formulas = structure_groups(phonons)
    assert formulas.tolist() == [s.copy().composition.reduced_formula for s in phonons]
    systems = structure_groups(phonons, by="chemical_system")
    assert systems.tolist() == [s.copy().composition.chemical_system for s in phonons]


def test_prototypes_are_those_of_pymatgen(phonons):
    expected = [
        (s.composition.anonymized_formula, SpacegroupAnalyzer(s, 0.1).get_space_group_number())
        for s in (structure.copy() for structure in phonons)
    ]
    labels = structure_groups(phonons, by="prototype")
    assert labels.tolist() == [f"{_without_ones(formula)}_{n}" for formula, n in expected]
    assert len(set(labels)) < len(labels)


def _without_ones(formula):
    # pymatgen writes A1B2 in some versions and AB2 in others.
    return "".join(x for i, x in enumerate(formula) if x != "1" or formula[i + 1 : i + 2].isdigit())


@pytest.mark.parametrize("by", ["composition", "chemical_system", "prototype"])
def test_labels_are_those_of_all_equivalent_descriptions(by):
    rng = np.random.default_rng(0)
    salt = rock_salt()
    moved = salt.copy()
    moved.translate_sites(range(len(moved)), rng.random(3))
    rotated = Structure(salt.lattice.matrix @ random_rotation(rng), salt.species, salt.frac_coords)
    order = rng.permutation(len(salt))
    permuted = Structure.from_sites([salt[i] for i in order])
    copies = [salt, moved, rotated, permuted, salt * (2, 1, 1), salt.get_primitive_structure()]
    (label,) = set(structure_groups(copies, by=by))
    assert label == {"composition": "NaCl", "chemical_system": "Cl-Na"}.get(by, "AB_225")


def test_prototypes_tell_cells_and_elements_orders_apart():
    salt = rock_salt()
    caesium = Structure(Lattice.cubic(4.1), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    other = salt.copy()
    other.replace_species({"Na": "Mg", "Cl": "O"})
    labels = structure_groups([salt, caesium, other], by="prototype").tolist()
    assert labels == ["AB_225", "AB_221", "AB_225"]


def test_the_vacuum_of_a_slab_does_not_matter():
    slabs = [slab(15.0), slab(40.0)]
    rotated = Structure(
        Lattice(
            slabs[0].lattice.matrix @ random_rotation(np.random.default_rng(1)),
            pbc=(True, True, False),
        ),
        slabs[0].species,
        slabs[0].frac_coords,
    )
    copies = [*slabs, rotated, with_skewed_vacuum(slabs[0])]
    assert structure_groups(copies, by="prototype").tolist() == ["AB2_187"] * 4


def test_molecules_have_no_space_group():
    assert structure_groups([molecule("H2O")], by="prototype").tolist() == ["AB2_0"]


@pytest.mark.parametrize("by", ["composition", "chemical_system", "prototype"])
def test_every_container_gives_the_same_labels(phonons, by):
    structures = list(phonons[:12])
    expected = structure_groups(structures, by=by).tolist()
    atoms = [AseAtomsAdaptor.get_atoms(structure.copy()) for structure in structures]
    containers = [
        tuple(structures),
        pd.Series(structures, index=range(5, 17)),
        object_array(structures, (12,)),
        object_array(structures, (12, 1)),
        StructureToGraph(cutoff=3.0).transform(structures),
        atoms,
        [*structures[:6], *atoms[6:]],
    ]
    for X in containers:
        assert structure_groups(X, by=by).tolist() == expected


def test_structures_stay_as_they_were(phonons):
    structures = [structure.copy() for structure in phonons[:10]]
    before = joblib.hash(structures)
    for by in ("composition", "chemical_system", "prototype"):
        structure_groups(structures, by=by)
    assert joblib.hash(structures) == before


def test_two_processes_find_the_same_prototypes(phonons, monkeypatch):
    one = structure_groups(phonons[:30], by="prototype")
    monkeypatch.setattr(_symmetry, "CHUNK", 7)
    two = structure_groups(phonons[:30], by="prototype", n_jobs=2)
    assert two.tolist() == one.tolist()


def test_symprec_decides_what_counts_as_symmetric():
    strained = rock_salt()
    strained.translate_sites([0], [0.03, 0, 0], frac_coords=False)
    loose, tight = (structure_groups([strained], "prototype", symprec=s) for s in (0.1, 0.001))
    assert loose[0] == "AB_225"
    assert tight[0] != loose[0]


def test_labels_serve_scikit_learns_splitters(phonons):
    labels = structure_groups(phonons, by="chemical_system")
    for train, test in GroupKFold(4).split(phonons, groups=labels):
        assert not set(labels[train]) & set(labels[test])


@pytest.mark.parametrize(
    ("X", "parameters", "message"),
    [
        ([], {}, "X is empty"),
        (np.zeros((3, 1)), {}, r"X\[0\] is of type"),
        ("abc", {}, "X is of type str"),
        ([bulk("Cu")], {"by": "formula"}, r"by='formula'; expected one of \['composition'"),
        ([bulk("Cu")], {"symprec": 0}, "symprec=0; expected a number > 0"),
    ],
)
def test_bad_input_is_named(X, parameters, message):
    with pytest.raises((TypeError, ValueError), match=message):
        structure_groups(X, **parameters)


def test_graphs_without_crystals_are_refused():
    graphs = StructureToGraph(cutoff=3.0).transform([bulk("Cu")])
    with pytest.raises(ValueError, match="X is empty: expected graphs of at least 1 crystal"):
        structure_groups(graphs[[]])
