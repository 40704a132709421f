"""Crystals that differ in their vacuum only are one structure; bulk crystals stay as they are."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, mx2

from cases import random_rotation
from gnnpre.datasets import read_matbench
from gnnpre.model_selection import drop_leaks, leak_audit, structure_groups
from gnnpre.model_selection._crystals import atoms_by_crystal, read_crystals
from gnnpre.model_selection._vacuum import VACUUM, fix_vacuum

PERIODIC = [True, True, True]


def layer(vacuum=15.0, pbc=PERIODIC, kind="2H"):
    """Build MoS2 with its normal along c and this much vacuum in all."""
    atoms = mx2("MoS2", kind=kind, a=3.19, thickness=3.13, vacuum=vacuum / 2)
    atoms.pbc = pbc
    return atoms


def with_axes(atoms, order):
    """Reorder the cell vectors, atoms where they are; a handedness that changes is a mirror."""
    return Atoms(
        atoms.symbols,
        positions=atoms.positions,
        cell=atoms.cell.array[list(order)],
        pbc=np.array(atoms.pbc)[list(order)],
    )


def moved(atoms, shift):
    """Translate the atoms by fractions of the cell vectors and wrap them."""
    changed = atoms.copy()
    changed.positions += np.array(shift) @ atoms.cell.array
    changed.wrap(pbc=True)
    return changed


def skewed(atoms, matrix):
    """Choose other vectors of the same lattice."""
    return Atoms(
        atoms.symbols,
        positions=atoms.positions,
        cell=np.array(matrix) @ atoms.cell.array,
        pbc=True,
    )


def rotated(atoms):
    matrix = random_rotation(np.random.default_rng(3))
    return Atoms(
        atoms.symbols,
        positions=atoms.positions @ matrix,
        cell=atoms.cell.array @ matrix,
        pbc=atoms.pbc,
    )


def same(first, second):
    """Whether both directions of the audit, and drop_leaks, see one structure."""
    levels = {leak_audit([first], [second]).level[0], leak_audit([second], [first]).level[0]}
    kept = drop_leaks([first], [second]).size + drop_leaks([second], [first]).size
    assert (kept == 0) == (levels == {"structure"})
    return kept == 0


@pytest.mark.parametrize(
    "other",
    [
        layer(30.0),
        layer(8.0),
        layer(15.0, pbc=[True, True, False]),
        layer(40.0, pbc=[True, True, False]),
        with_axes(layer(30.0), (2, 0, 1)),
        with_axes(layer(30.0, pbc=[True, True, False]), (1, 2, 0)),
        moved(layer(25.0), [0.0, 0.0, 0.5]),
        moved(layer(25.0), [0.3, 0.1, -0.48]),
        moved(with_axes(layer(25.0), (2, 0, 1)), [0.52, 0.2, 0.7]),
        skewed(layer(25.0), [[1, 0, 0], [0, 1, 0], [1, 1, 1]]),
        skewed(layer(25.0), [[1, 0, 1], [0, 1, 0], [0, 0, 1]]),
        layer(25.0) * (2, 1, 1),
        rotated(layer(25.0)),
    ],
    ids=[
        "wider", "narrow", "open", "open and wider", "normal along a", "open along b",
        "across the boundary", "shifted", "across the boundary of a", "skewed out of the plane",
        "skewed into the plane", "supercell", "rotated",
    ],
)  # fmt: skip
def test_layers_that_differ_in_vacuum_are_one_structure(other):
    assert same(layer(), other)
    assert set(structure_groups([layer(), other], by="prototype")) == {"AB2_187"}


@pytest.mark.parametrize(
    "other",
    [
        layer(15.0, kind="1T"),
        layer(15.0) * (1, 1, 2),  # more space between: two layers
        bulk("Mo"),
    ],
)
def test_other_layers_are_other_structures(other):
    if len(other) == 6:  # a bilayer: the second layer 6.5 Å above the first, as in the crystal
        other.positions[3:, 2] += 6.5 - 18.13
    assert not same(layer(25.0), other)


def test_a_layer_is_not_its_bulk_crystal():
    stacked = graphene(a=2.46, vacuum=1.675)  # AA stacking, 3.35 Å apart
    stacked.pbc = True
    apart = graphene(a=2.46, vacuum=10.0)
    apart.pbc = True
    assert not same(stacked, apart)
    assert same(apart, graphene(a=2.46, vacuum=7.0))


def test_chains_and_molecules_match_whatever_the_box():
    chain = Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.4]], cell=[12, 12, 2.9], pbc=True)
    wide = Atoms("CO", positions=[[9, 19, 0], [9, 19, 1.4]], cell=[19, 20, 2.9], pbc=True)
    free = Atoms("CO", positions=chain.positions, cell=[0, 0, 2.9], pbc=[False, False, True])
    assert same(chain, wide)
    assert same(chain, free)
    pair = Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.14]], cell=[10, 10, 10], pbc=True)
    box = moved(Atoms("CO", positions=pair.positions, cell=[15, 12, 20], pbc=True), [0, 0, -0.02])
    assert same(pair, box)
    assert same(pair, Atoms("CO", positions=pair.positions))
    assert not same(pair, chain)
    labels = structure_groups([chain, free, pair, box], by="prototype")
    assert set(labels) == {"AB_0"}


def test_bulk_crystals_come_back_as_they_are():
    crystals = [bulk("Cu"), bulk("Si") * (3, 3, 3), bulk("NaCl", "rocksalt", a=5.6) * (1, 1, 5)]
    for atoms in crystals:
        cell = atoms.cell.array
        converted = fix_vacuum(cell, atoms.pbc, atoms.positions)
        assert converted.n_periodic == 3
        assert converted.cell is cell
        assert converted.positions is atoms.positions


def test_a_gap_between_layers_of_a_bulk_crystal_is_no_vacuum():
    # Potassium-intercalated graphite has 5.35 Å between its layers of carbon.
    atoms = Atoms("CC", positions=[[0, 0, 0], [0, 1.42, 0]], cell=[2.46, 4.26, 5.35], pbc=True)
    assert fix_vacuum(atoms.cell.array, atoms.pbc, atoms.positions).n_periodic == 3


def convert_all(structures):
    crystals = read_crystals(structures)
    positions = atoms_by_crystal(crystals.positions, crystals)
    rows = zip(crystals.cell, crystals.pbc, positions, strict=True)
    return [fix_vacuum(*row) for row in rows]


def test_real_layers_have_vacuum_and_real_bulk_crystals_have_none(data_dir):
    folder = data_dir / "downstream"
    layers = convert_all(read_matbench(folder / "jdft2d.json.gz")[0])
    assert {item.n_periodic for item in layers} == {2}
    crystals = convert_all(read_matbench(folder / "phonons.json.gz")[0])
    assert {item.n_periodic for item in crystals} == {3}


def test_distances_stay_when_the_vacuum_changes():
    atoms = moved(layer(25.0) * (2, 2, 1), [0.2, 0.7, 0.49])
    converted = fix_vacuum(atoms.cell.array, atoms.pbc, atoms.positions)
    again = Atoms(atoms.symbols, positions=converted.positions, cell=converted.cell, pbc=True)
    np.testing.assert_allclose(
        again.get_all_distances(mic=True), atoms.get_all_distances(mic=True), atol=1e-6
    )
    assert np.linalg.norm(converted.cell, axis=1).max() == pytest.approx(3.13 + VACUUM)
