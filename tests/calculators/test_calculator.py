"""The calculator under ASE: derivatives, dynamics, slabs, bad models."""

import warnings

import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import FiniteDifferenceCalculator
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.stress import voigt_6_to_full_3x3_stress
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from gnnpre import CGCNN, EAD, FingerprintTargets, ForceField, Mixture, Pretrainer, TorchMDNet
from gnnpre.calculators import ForceFieldCalculator, relax_structures
from gnnpre.datasets import make_emt_frames, read_matbench
from gnnpre.exceptions import UnseenElementWarning


@pytest.fixture(scope="module")
def frames():
    return make_emt_frames(60, random_state=0)


@pytest.fixture(scope="module", params=["cgcnn", "torchmdnet"])
def pretrainer(request, frames):
    backbone = {"cgcnn": CGCNN(16, 2), "torchmdnet": TorchMDNet(16, 2, n_heads=2)}[request.param]
    return Pretrainer(backbone, ForceField(), max_epochs=3, random_state=0).fit(*frames)


def rattled(size=(2, 1, 1)):
    atoms = bulk("Cu", cubic=True).repeat(size)
    atoms.numbers[::3] = 47
    atoms.rattle(0.1, seed=1)
    return atoms


def test_values_equal_those_of_predict(pretrainer):
    atoms = rattled()
    atoms.calc = ForceFieldCalculator(pretrainer)
    labels = pretrainer.predict([atoms])
    assert atoms.get_potential_energy() == pytest.approx(labels.energy[0], abs=1e-5)
    np.testing.assert_allclose(atoms.get_forces(), labels.forces, atol=1e-5)
    stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
    np.testing.assert_allclose(stress, labels.stress[0], atol=1e-6)


def test_a_pretrainer_has_a_calculator_with_weights_of_its_own(frames):
    pretrainer = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1, random_state=0)
    calculator = pretrainer.fit(*frames).calculator(skin=1.0, dtype="float64")
    assert isinstance(calculator, ForceFieldCalculator)
    atoms = rattled()
    atoms.calc = calculator
    expected = ForceFieldCalculator(pretrainer, dtype="float64").get_potential_energy(atoms)
    pretrainer.set_params(random_state=1).fit(*frames)
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-9)
    with pytest.raises(NotFittedError):
        Pretrainer().calculator()


def test_a_misspelt_parameter_is_refused(pretrainer):
    atoms = rattled()
    calculator = ForceFieldCalculator(pretrainer, atoms=atoms, label="emt", directory="runs")
    assert atoms.calc is calculator
    assert calculator.directory == "runs"
    with pytest.raises(TypeError, match="precision"):
        pretrainer.calculator(precision="float64")


@pytest.mark.parametrize(
    "mode",
    [torch.inference_mode, lambda: torch.autocast("cpu", dtype=torch.bfloat16)],
    ids=["inference_mode", "autocast"],
)
def test_modes_of_the_caller_change_no_value(pretrainer, frames, mode):
    def compute():
        atoms = rattled()
        atoms.calc = ForceFieldCalculator(pretrainer)
        energies = atoms.get_potential_energies()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            relaxed = relax_structures([atoms], pretrainer, max_steps=1).energy
        return [*energies, *atoms.get_forces().ravel(), *relaxed, pretrainer.score(*frames)]

    expected = compute()
    with mode():
        assert compute() == expected


def test_twenty_real_crystals_descend_with_their_cells(frames, data_dir):
    structures, _ = read_matbench(data_dir / "downstream" / "perovskites.json.gz", nrows=20)
    network = TorchMDNet(16, 1, n_heads=2)
    pretrainer = Pretrainer(network, ForceField(), max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenElementWarning)
        calculator = pretrainer.fit(*frames).calculator(dtype="float64")
        for structure in structures.to_structures():
            atoms = structure.to_ase_atoms()
            atoms.calc = calculator
            crystal = FrechetCellFilter(atoms)
            before, forces = crystal.get_potential_energy(), crystal.get_forces()
            step = 1e-5 / np.abs(forces).max()
            crystal.set_positions(crystal.get_positions() + step * forces)
            # To first order, the energy falls by force times displacement.
            expected = -step * np.square(forces).sum()
            change = crystal.get_potential_energy() - before
            assert change == pytest.approx(expected, rel=0.02), structure.formula


def test_forces_and_stress_are_derivatives(pretrainer):
    atoms = rattled((1, 1, 1))
    calculator = ForceFieldCalculator(pretrainer, dtype="float64")
    atoms.calc = calculator
    forces, stress = atoms.get_forces(), atoms.get_stress()
    atoms.calc = FiniteDifferenceCalculator(calculator, eps_disp=1e-4, eps_strain=1e-5)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=2e-6)
    np.testing.assert_allclose(atoms.get_stress(), stress, atol=2e-6)


def test_energies_of_atoms_add_up_and_a_supercell_repeats_them(pretrainer):
    atoms = rattled((1, 1, 1))
    atoms.calc = ForceFieldCalculator(pretrainer, dtype="float64")
    double = atoms.repeat((1, 2, 1))
    double.calc = ForceFieldCalculator(pretrainer, dtype="float64")
    energies = atoms.get_potential_energies()
    assert energies.sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
    np.testing.assert_allclose(double.get_potential_energies(), np.tile(energies, 2), atol=1e-9)


def test_dynamics_conserve_energy(pretrainer):
    atoms = rattled((2, 1, 1))
    atoms.calc = ForceFieldCalculator(pretrainer, dtype="float64")
    momenta = np.random.default_rng(0).standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta * np.sqrt(units.kB * 300 * atoms.get_masses())[:, None])
    dynamics = VelocityVerlet(atoms, timestep=1 * units.fs)
    energies = []
    for _ in range(200):
        dynamics.run(1)
        energies.append(atoms.get_total_energy() / len(atoms))
    # Averages over halves leave the oscillation of the integrator out. 0.1 ps lie between them.
    drift = np.mean(energies[100:]) - np.mean(energies[:100])
    assert abs(drift) / 0.1 < 1e-4  # eV per atom and ps
    assert atoms.calc.n_searches < 30


def test_slabs_have_forces_and_no_stress(pretrainer):
    slab = fcc111("Al", (2, 2, 2), vacuum=6.0)
    slab.pbc = (True, True, False)
    slab.calc = ForceFieldCalculator(pretrainer)
    assert np.isfinite(slab.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="periodic in all three directions"):
        slab.get_stress()


def test_elements_never_seen_are_named_once(pretrainer):
    atoms = molecule("CH4")
    atoms.calc = ForceFieldCalculator(pretrainer)
    with pytest.warns(UnseenElementWarning, match="never seen H, C"):
        atoms.get_forces()
    atoms.rattle(0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atoms.get_forces()


def test_a_file_is_a_model(pretrainer, tmp_path):
    pretrainer.save(tmp_path / "forces.gnnpre")
    atoms = rattled()
    atoms.calc = ForceFieldCalculator(str(tmp_path / "forces.gnnpre"))
    expected = pretrainer.predict([atoms]).energy[0]
    assert atoms.get_potential_energy() == pytest.approx(expected, abs=1e-5)


def test_the_force_field_of_a_mixture(frames):
    parts = [("ead", FingerprintTargets(EAD()), 1.0), ("forces", ForceField(), 1.0)]
    pretrainer = Pretrainer(CGCNN(8, 1), Mixture(parts), max_epochs=1, random_state=0).fit(*frames)
    atoms = rattled()
    atoms.calc = ForceFieldCalculator(pretrainer, dtype="float64")
    expected = pretrainer.predict([atoms])["forces"]
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-5)


def test_the_pretrainer_is_left_as_it_is(pretrainer):
    before = {k: v.clone() for k, v in pretrainer.net_.module_.state_dict().items()}
    atoms = rattled()
    atoms.calc = ForceFieldCalculator(pretrainer, dtype="float64")
    atoms.get_forces()
    after = pretrainer.net_.module_.state_dict()
    assert all(before[name].dtype == after[name].dtype for name in before)


def test_models_without_forces_are_refused(frames):
    structures, _ = frames
    targets = FingerprintTargets(EAD())
    pretrainer = Pretrainer(CGCNN(8, 1), targets, max_epochs=1, random_state=0).fit(structures)
    with pytest.raises(ValueError, match="FingerprintTargets, which has no forces"):
        ForceFieldCalculator(pretrainer)
    with pytest.raises(TypeError, match="model is of type int"):
        ForceFieldCalculator(3)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"skin": -1}, "skin=-1"),
        ({"skin": 1e300}, r"skin=1e\+300; .*<= 60"),
        ({"dtype": "half"}, "dtype='half'"),
        ({"device": "gpu"}, "device"),
    ],
)
def test_bad_parameters(pretrainer, parameters, message):
    with pytest.raises(ValueError, match=message):
        ForceFieldCalculator(pretrainer, **parameters)
