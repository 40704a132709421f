"""Relaxations in batches end where ASE's relaxations of one crystal after the other end."""

import warnings

import numpy as np
import pytest
from ase.build import bulk, fcc111
from ase.constraints import FixAtoms
from ase.filters import UnitCellFilter
from ase.optimize import FIRE
from pymatgen.io.ase import AseAtomsAdaptor
from sklearn.exceptions import ConvergenceWarning

from gnnpre import CGCNN, ForceField, Pretrainer
from gnnpre.calculators import ForceFieldCalculator, relax_structures
from gnnpre.calculators._force_field_model import ForceFieldFunction
from gnnpre.datasets import make_emt_frames
from gnnpre.exceptions import DataQualityWarning, UnseenElementWarning


@pytest.fixture(scope="module")
def pretrainer():
    frames, labels = make_emt_frames(300, random_state=0)
    objective = ForceField(stress=10)
    return Pretrainer(CGCNN(32, 2), objective, max_epochs=15, random_state=0).fit(frames, labels)


@pytest.fixture(scope="module")
def crystals():
    atoms = []
    for seed, (element, size) in enumerate([("Cu", 1), ("Ag", 1), ("Pd", 2), ("Ni", 1)]):
        cell = bulk(element, cubic=True).repeat((size, 1, 1))
        cell.numbers[0] = 79
        cell.set_cell(cell.cell * 1.02, scale_atoms=True)
        cell.rattle(0.08, seed=seed)
        atoms.append(cell)
    return atoms


def test_batches_end_where_ase_ends(pretrainer, crystals):
    tight = {"fmax": 2e-3, "smax": 1e-4, "max_steps": 2000, "dtype": "float64"}
    together = relax_structures(crystals, pretrainer, max_atoms=9, **tight)
    assert together.converged.all()
    for row, atoms in enumerate(crystals):
        atoms = atoms.copy()
        atoms.calc = ForceFieldCalculator(pretrainer, dtype="float64")
        FIRE(UnitCellFilter(atoms), logfile=None).run(fmax=2e-3, steps=2000)
        assert together.energy[row] == pytest.approx(atoms.get_potential_energy(), abs=2e-4)
        relaxed = together.crystals[row]
        assert relaxed.volume == pytest.approx(atoms.get_volume(), rel=2e-3)


def test_results_are_those_of_the_returned_crystals(pretrainer, crystals):
    relaxed = relax_structures(crystals, pretrainer, max_steps=7)
    labels = pretrainer.predict(relaxed.crystals)
    np.testing.assert_allclose(labels.energy, relaxed.energy, atol=1e-4)
    for row, forces in enumerate(np.split(labels.forces, np.cumsum(labels.n_atoms)[:-1])):
        largest = np.linalg.norm(forces, axis=1).max()
        assert relaxed.largest_force[row] == pytest.approx(largest, abs=1e-4)


def test_a_crystal_alone_relaxes_as_in_a_batch(pretrainer, crystals):
    together = relax_structures(crystals, pretrainer, max_steps=40, dtype="float64")
    alone = relax_structures(crystals[1:2], pretrainer, max_steps=40, dtype="float64")
    assert alone.energy[0] == pytest.approx(together.energy[1], abs=1e-8)
    assert alone.n_steps[0] == together.n_steps[1]


def test_the_cell_stays_if_asked_and_in_slabs(pretrainer, crystals):
    slab = fcc111("Al", (2, 2, 2), vacuum=6.0)
    slab.pbc = (True, True, False)
    slab.rattle(0.05, seed=0)
    relaxed = relax_structures([crystals[0], slab], pretrainer, max_steps=20)
    assert np.isnan(relaxed.largest_stress[1])
    np.testing.assert_array_equal(relaxed.crystals.cell[1], slab.cell.array)
    fixed = relax_structures(crystals, pretrainer, relax_cell=False, max_steps=20)
    cells = np.stack([atoms.cell.array for atoms in crystals])
    np.testing.assert_array_equal(fixed.crystals.cell, cells)
    energies = pretrainer.predict(crystals).energy
    assert (fixed.energy < energies).all()


def test_inputs_stay_and_structures_come_back(pretrainer, crystals):
    structures = [AseAtomsAdaptor.get_structure(atoms) for atoms in crystals]
    before = [structure.as_dict() for structure in structures]
    relaxed = relax_structures(structures, pretrainer, max_steps=3)
    assert [structure.as_dict() for structure in structures] == before
    assert relaxed.crystals[2].formula == structures[2].formula
    assert len(relaxed.crystals) == len(structures)


def test_a_crystal_that_falls_apart_leaves_the_rest_alone(pretrainer, crystals, monkeypatch):
    batch_of_three = [crystals[0], crystals[2], crystals[1]]
    lost = len(crystals[2])  # the only one with so many atoms
    evaluate, calls = ForceFieldFunction.__call__, []

    def refuse_one(self, batch):
        calls.append(len(batch))
        if len(calls) > 3 and lost in batch.n_atoms:
            raise ValueError("atoms coincide")
        return evaluate(self, batch)

    alone = relax_structures(crystals[:2], pretrainer, max_steps=6, dtype="float64")
    three = relax_structures(batch_of_three, pretrainer, max_steps=2, dtype="float64")
    monkeypatch.setattr(ForceFieldFunction, "__call__", refuse_one)
    with pytest.warns(ConvergenceWarning, match="1 crystals fell apart and were stopped, row 1"):
        relaxed = relax_structures(batch_of_three, pretrainer, max_steps=6, dtype="float64")
    assert not relaxed.converged[1]
    assert relaxed.n_steps[1] == 2
    assert relaxed.energy[1] == pytest.approx(three.energy[1], abs=1e-10)
    np.testing.assert_allclose(relaxed.crystals[1].cart_coords, three.crystals[1].cart_coords)
    np.testing.assert_allclose(relaxed.energy[[0, 2]], alone.energy, atol=1e-8)


def test_input_that_is_no_crystal_is_an_error(pretrainer, crystals):
    twice = crystals[0].copy()
    twice.positions[1:2] = twice.positions[0]
    with pytest.raises(ValueError, match="apart"):
        relax_structures([twice], pretrainer, max_steps=2)


def test_no_step_evaluates_only(pretrainer, crystals):
    relaxed = relax_structures(crystals, pretrainer, max_steps=0)
    positions = np.concatenate([atoms.positions for atoms in crystals])
    np.testing.assert_array_equal(relaxed.crystals.positions, positions)
    assert not relaxed.converged.any()


def test_crystals_that_have_not_converged_are_named(pretrainer, crystals):
    message = r"4 of 4 crystals have not converged after max_steps=2, rows 0, 1, 2.*Raise max_steps"
    with pytest.warns(ConvergenceWarning, match=message):
        relax_structures(crystals, pretrainer, max_steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        assert relax_structures(crystals, pretrainer, fmax=100, smax=100).converged.all()
        relax_structures(crystals, pretrainer, max_steps=0)


def test_unseen_elements_are_named(pretrainer):
    with pytest.warns(UnseenElementWarning, match="never seen Fe"):
        relax_structures([bulk("Fe")], pretrainer, max_steps=1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"fmax": 0}, "fmax=0"),
        ({"smax": "a"}, "smax='a'"),
        ({"max_steps": -1}, "max_steps=-1"),
        ({"max_atoms": 0}, "max_atoms=0"),
        ({"relax_cell": 1}, "relax_cell=1"),
    ],
)
def test_bad_parameters(pretrainer, crystals, parameters, message):
    with pytest.raises(ValueError, match=message):
        relax_structures(crystals, pretrainer, **parameters)


def test_constraints_are_not_passed_over_in_silence(pretrainer):
    free, fixed = bulk("Cu", cubic=True), bulk("Cu", cubic=True)
    fixed.set_constraint(FixAtoms([0]))
    selective = AseAtomsAdaptor.get_structure(free)
    selective.add_site_property("selective_dynamics", [[True] * 3] * 3 + [[True, True, False]])
    with pytest.warns(DataQualityWarning, match="2 structures hold atoms fixed, rows 1, 2"):
        relax_structures([free, fixed, selective], pretrainer, max_steps=0)
    selective.remove_site_property("selective_dynamics")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataQualityWarning)
        relax_structures([free, selective], pretrainer, max_steps=0)
