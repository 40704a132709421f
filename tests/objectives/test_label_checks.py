"""Warnings of labels whose signs, units or offsets cannot be right."""

import warnings

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from gnnpre import ForceField, FrameLabels, StructureToGraph
from gnnpre.exceptions import DataQualityWarning
from gnnpre.objectives._label_checks import warn_of_implausible_labels, warn_of_size_dependence
from gnnpre.objectives._references import element_counts


def trajectory(n: int, *, strain: bool, move: bool, seed: int = 0) -> list:
    """Frames of one crystal that moves, or whose cell does, a little at a time."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", cubic=True)
    atoms.symbols[:2] = "Au"
    frames = []
    for _ in range(n):
        atoms = atoms.copy()
        if move:
            atoms.positions += rng.normal(scale=0.05, size=(4, 3))
        if strain:
            size = 1 + rng.uniform(-0.02, 0.02)
            atoms.set_cell(atoms.cell * size, scale_atoms=True)
        atoms.calc = EMT()
        frames.append(atoms)
    return frames


def labels_of(frames: list, *, energy=1.0, forces=1.0, stress=1.0, offset=0.0) -> FrameLabels:
    """Labels from EMT, multiplied by factors as a slip of signs or units would."""
    return FrameLabels(
        [len(atoms) for atoms in frames],
        energy=[energy * atoms.get_potential_energy() + offset for atoms in frames],
        forces=[forces * atoms.get_forces() for atoms in frames],
        stress=[stress * atoms.get_stress(voigt=False) for atoms in frames],
    )


def check(frames: list, labels: FrameLabels, **parameters) -> list[str]:
    """Messages of the warnings for frames."""
    objective = ForceField(**parameters)
    graphs = StructureToGraph(4.0).transform(frames)
    targets = objective.make_targets(graphs, labels)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warn_of_implausible_labels(graphs, targets, np.arange(len(frames)), objective)
        counts = element_counts(graphs.to_crystals(), 118)
        warn_of_size_dependence(counts, targets.crystal["energy"].numpy())
    return [str(warning.message) for warning in seen]


@pytest.fixture(scope="module")
def moving():
    return trajectory(40, strain=False, move=True)


@pytest.fixture(scope="module")
def breathing():
    return trajectory(40, strain=True, move=False)


def test_right_labels_are_passed_in_silence(moving, breathing):
    assert check(moving, labels_of(moving)) == []
    assert check(breathing, labels_of(breathing)) == []
    both = trajectory(40, strain=True, move=True)
    assert check(both, labels_of(both)) == []


@pytest.mark.parametrize(
    ("factor", "cause"),
    [(-1.0, "Check the sign of forces"), (1 / 51.42, "unit"), (-23.06, "the sign and the unit")],
)
def test_forces_of_another_sign_or_unit(moving, factor, cause):
    message = check(moving, labels_of(moving, forces=factor))[-1]
    assert message.startswith("y.forces and y.energy do not belong together")
    assert cause in message


def test_energies_of_another_unit(moving):
    (message,) = check(moving, labels_of(moving, energy=1 / 27.211))
    assert "changes by 0.036" in message


@pytest.mark.parametrize(
    ("factor", "cause"), [(-1.0, "Check the sign of stress"), (160.22, "unit"), (0.000624, "unit")]
)
def test_stress_of_another_sign_or_unit(breathing, factor, cause):
    messages = check(breathing, labels_of(breathing, stress=factor))
    assert any("y.stress and y.energy" in message and cause in message for message in messages)


def test_labels_without_a_weight_are_not_looked_at(moving, breathing):
    assert check(moving, labels_of(moving, forces=-1.0), forces=0) == []
    assert check(breathing, labels_of(breathing, stress=-1.0), stress=0) == []


def test_stress_in_gpa_is_named_by_its_size(breathing):
    messages = check(breathing, labels_of(breathing, stress=1602.2))
    assert any("is in GPa" in message for message in messages)


def test_an_offset_per_cell_is_named(moving):
    rng = np.random.default_rng(0)
    frames = [atoms * (1, 1, int(rng.integers(1, 4))) for atoms in moving]
    for atoms in frames:
        atoms.calc = EMT()
    assert check(frames, labels_of(frames)) == []
    messages = check(frames, labels_of(frames, offset=1e6))
    assert any("an offset of 1e+06 eV per cell" in message for message in messages)


@pytest.mark.parametrize("mixed", [False, True])
def test_energies_per_atom_are_named(mixed):
    rng = np.random.default_rng(0)
    frames = []
    for row in range(40):
        atoms = bulk("Cu", cubic=True) * (1, 1, int(rng.integers(1, 4)))
        atoms.rattle(0.05, seed=row)
        if mixed:
            atoms.numbers[: rng.integers(0, 3)] = 28
        atoms.calc = EMT()
        frames.append(atoms)
    n_atoms = np.array([len(atoms) for atoms in frames])
    counts = element_counts(StructureToGraph(4.0).transform(frames).to_crystals(), 118)
    # EMT's energies are relative to the metals: those of density functionals are not.
    energy = labels_of(frames).energy + counts[:, [27, 28]] @ np.array([-5.5, -3.7])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_size_dependence(counts, energy)
    with pytest.warns(DataQualityWarning, match=r"in eV per atom.*energy \* n_atoms"):
        warn_of_size_dependence(counts, energy / n_atoms)


def test_forces_of_an_impossible_size_are_named(moving):
    messages = check(moving, labels_of(moving, energy=1e5, forces=1e5))
    assert any("y.forces have a root mean square of" in message for message in messages)
