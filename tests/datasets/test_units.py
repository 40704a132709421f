"""Units that files state, in every spelling, and those that are refused."""

import re
import warnings

import numpy as np
import pytest
from ase import units

from cases import FRAME_CELL, extxyz
from gnnpre.datasets import read_frames

FORCE = np.array([[0.1, 0.2, 0.3]])
STRESS = 'stress="-5 0 0 0 -5 0 0 0 -5"'


@pytest.fixture
def quiet_frames_of(frames_of):
    """Labels of frames; that other labels state no unit, or are large, is not the point."""

    def labels(*comments, **keys):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            return frames_of(*comments, **keys)

    return labels


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("eV", 1.0),
        ("EV", 1.0),
        ("eV/cell", 1.0),
        ("electronvolt", 1.0),
        ("meV", 1e-3),
        ("mev", 1e-3),
        ("Ha", units.Hartree),
        ("hartree", units.Hartree),
        ("HARTREE", units.Hartree),
        ("Ry", units.Rydberg),
        ("kcal/mol", units.kcal / units.mol),
        ('"kcal mol-1"', units.kcal / units.mol),
        ("KJ/MOL", units.kJ / units.mol),
    ],
)
def test_energy(quiet_frames_of, unit, factor):
    labels = quiet_frames_of(f"energy=2.0 energy_unit={unit}")
    assert labels.energy[0] == pytest.approx(2 * factor)


@pytest.mark.parametrize("unit", ["eV/atom", "eV/Atom", '"eV per atom"', "eV*atom^-1"])
def test_energy_per_atom(write_frames, unit):
    path = write_frames(f"2\n{FRAME_CELL} energy=-3.0 energy-unit={unit}\nCu 0 0 0\nCu 2 2 2\n")
    assert read_frames(path)[1].energy == [-6.0]


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("eV/A", 1.0),
        ("eV/Å", 1.0),
        ("eV/Ang", 1.0),
        ("eV/Angstrom", 1.0),
        ("ev/angstrom", 1.0),
        ('"eV Å⁻¹"', 1.0),
        ("eV_per_Angstrom", 1.0),
        ("meV/A", 1e-3),
        ("eV/nm", 0.1),
        ("Ha/bohr", units.Hartree / units.Bohr),
        ("hartree/a.u.", units.Hartree / units.Bohr),
        ("Ry/Bohr", units.Rydberg / units.Bohr),
        ("kcal/mol/A", units.kcal / units.mol),
        ("Kcal/mol-Angstrom", units.kcal / units.mol),
        ("eV/Ångström", 1.0),
        ('"kcal/(mol A)"', units.kcal / units.mol),
        ("kJ/mol/nm", 0.1 * units.kJ / units.mol),
    ],
)
def test_forces(quiet_frames_of, unit, factor):
    forces = quiet_frames_of(f"forces_unit={unit}").forces
    np.testing.assert_allclose(forces, FORCE * factor)


@pytest.mark.parametrize(
    "name",
    [
        *("forces_unit", "force_unit", "forces_units", "force-unit", "Forces-Units", "FORCE_UNIT"),
        *("forceUnit", "unit_forces", "units-of-force", "force.unit", "forceunits"),
    ],
)
def test_spellings_of_the_entry(quiet_frames_of, name):
    forces = quiet_frames_of(f"{name}=Ha/bohr").forces
    np.testing.assert_allclose(forces, FORCE * units.Hartree / units.Bohr)


def test_the_unit_of_a_key_is_that_of_its_label(quiet_frames_of):
    text = "REF_energy=2.0 REF_energy_unit=Ha"
    assert quiet_frames_of(text).energy[0] == pytest.approx(2 * units.Hartree)
    # The unit of an entry that is not read does not matter.
    assert quiet_frames_of("energy=1.0 my_energy=2 my_energy_unit=furlong").energy == [1.0]


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("eV/A^3", 1.0),
        ("eV/Ang^3", 1.0),
        ("eV/Å³", 1.0),
        ("eV/A**3", 1.0),
        ("eV/A3", 1.0),
        ("GPa", 1 / 160.21766208),
        ("gpa", 1 / 160.21766208),
        ("MPa", 1 / 160217.66208),
        ("kbar", 1 / 1602.1766208),
        ("KBAR", 1 / 1602.1766208),
        ("kB", 1 / 1602.1766208),
        ("Ha/bohr^3", units.Hartree / units.Bohr**3),
    ],
)
@pytest.mark.parametrize("name", ["stress_unit", "stress-unit", "pressure_unit"])
def test_stress_leaves_the_sign(quiet_frames_of, name, unit, factor):
    labels = quiet_frames_of(f'{STRESS} {name}="{unit}"')
    np.testing.assert_allclose(labels.stress[0], -5 * factor * np.eye(3), rtol=1e-6)


@pytest.mark.parametrize("name", ["virial_unit", "virials-unit", "VirialUnits"])
def test_virial(quiet_frames_of, name):
    labels = quiet_frames_of(f'virial="6.4 0 0 0 0 0 0 0 0" {name}=Ha')
    np.testing.assert_allclose(labels.stress[0], np.diag([-0.1 * units.Hartree, 0, 0]))


@pytest.mark.parametrize("name", ["length_unit", "position-unit", "positions_unit", "units_pos"])
def test_lengths_scale_positions_and_cell(write_frames, name):
    text = extxyz(f'virial="1 0 0 0 1 0 0 0 1" virial_unit=eV force_unit=eV/A {name}=bohr')
    structures, labels = read_frames(write_frames(text))
    np.testing.assert_allclose(structures.positions, np.array([[0.5, 0.5, 4.5]]) * units.Bohr)
    np.testing.assert_allclose(structures.cell[0], 4 * units.Bohr * np.eye(3))
    np.testing.assert_allclose(labels.stress[0], -np.eye(3) / (4 * units.Bohr) ** 3)


@pytest.mark.parametrize(
    "comment",
    [
        "energy=1 energy_unit=furlong",
        "energy=1 energy-unit=MeV",
        "energy=1 energy_unit=MEV",
        "energy=1 energy_unit=eV/A",
        "energy=1 energy_unit=kcal",
        "energy=1 energy_unit=a.u.",
        "energy=1 forces_unit=eV",
        "energy=1 forces_unit=eV/A^2",
        "energy=1 forces_unit=eV/A/atom",
        'stress="1 0 0 0 1 0 0 0 1" stress_unit=eV',
        'stress="1 0 0 0 1 0 0 0 1" stress_unit=eV/A',
        'stress="1 0 0 0 1 0 0 0 1" stress_unit=mPa',
        'stress="1 0 0 0 1 0 0 0 1" stress-unit=3',
        'virial="1 0 0 0 1 0 0 0 1" virial_unit=GPa',
        "energy=1 length_unit=eV",
    ],
)
def test_units_that_do_not_fit_are_refused(frames_of, comment):
    name, stated = comment.split()[-1].split("=")
    expected = rf"Units of frame 1 .*{name}: '{re.escape(stated)}' is not a known unit of .* are "
    with pytest.raises(ValueError, match=expected):
        frames_of("", comment)


@pytest.mark.parametrize(
    "entry",
    [
        *("units=hartree", "units=metal", "unit=Ry", 'Units="kcal/mol bohr"', "enrgy_unit=Ha"),
        *("energy_uom=Ha", "EnergyDimension=kcal/mol", "forces_in=Ha/bohr", "stress_in=GPa"),
        *("energy_type=eV/atom", "positions_in=bohr"),
    ],
)
def test_entries_that_look_like_units_are_refused(frames_of, entry):
    expected = rf"frame 0 .*{entry[:5]}.*(energy_unit \(eV, meV, Ha|looks like the unit of)"
    with pytest.raises(ValueError, match=expected):
        frames_of(f"energy=1 {entry}")


@pytest.mark.parametrize(
    "entry",
    [
        *("units=eV", 'units="eV, Angstrom"', 'units="eV eV/A eV/A^3"', "dipole_unit=Debye"),
        *(
            "n_units=3",
            "energy_type=pbe",
            "energy_in=eV",
            "formula_units=4",
            "band_gap=1.5 band_gap_unit=Ry",
            "stress_unit=GPa",
        ),
    ],
)
def test_entries_that_do_not_matter(frames_of, entry):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frames_of(f"energy=1 {entry}").energy == [1.0]


def test_units_that_contradict_each_other_are_refused(frames_of):
    with pytest.raises(ValueError, match="contradict each other: energy_unit=eV, energy-units=Ha"):
        frames_of("energy=1 energy_unit=eV energy-units=Ha")
    assert frames_of("energy=1 energy_unit=eV energy_units=ev").energy == [1.0]
    with pytest.raises(ValueError, match=r"energy_unit=eV, units\['energy'\]=Ha"):
        frames_of("energy=1 energy_unit=eV", units={"energy": "Ha"})


def test_units_in_the_names_of_labels(quiet_frames_of):
    labels = quiet_frames_of("energy_Ha=-1.0", energy_key="energy_Ha")
    assert labels.energy == pytest.approx([-units.Hartree])
    labels = quiet_frames_of("dft_energy_kcal_mol=-1.0", energy_key="dft_energy_kcal_mol")
    assert labels.energy == pytest.approx([-units.kcal / units.mol])
    labels = quiet_frames_of('stress_GPa="1 1 1 0 0 0"', stress_key="stress_GPa")
    assert labels.stress[0, 0, 0] == pytest.approx(units.GPa)
    for name in ("energy_eV", "energy_pbe", "total_energy"):
        assert quiet_frames_of(f"{name}=-1.0", energy_key=name).energy == [-1.0]
    with pytest.raises(ValueError, match=r"the name 'energy_Ha'=Ha, units\['energy'\]=eV"):
        quiet_frames_of("energy_Ha=-1", energy_key="energy_Ha", units={"energy": "eV"})


@pytest.mark.parametrize("name", ["energy_per_atom", "E_per_atom", "dft_energy_eV_per_atom"])
def test_energies_per_atom_by_name(write_frames, name):
    path = write_frames(f"2\n{FRAME_CELL} {name}=-3.0\nCu 0 0 0\nCu 2 2 2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_frames(path, energy_key=name)[1].energy == [-6.0]


def test_an_energy_per_atom_is_no_other_unit_of_energy(write_frames):
    columns = "Properties=species:S:1:pos:R:3:forces:R:3"
    text = f"2\n{FRAME_CELL} {columns} energy=-3 energy_unit=eV/atom\n"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_frames(write_frames(text + "Cu 0 0 0 0.1 0 0\nCu 2 2 2 -0.1 0 0\n"))


def test_units_as_parameter(frames_of):
    labels = frames_of(f"energy=1 {STRESS}", units={"energy": "eV/atom", "stress": "GPa"})
    np.testing.assert_allclose(labels.stress[0], -5 / 160.21766208 * np.eye(3), rtol=1e-6)
    with pytest.raises(ValueError, match=r"units\['stress'\]: 'eV' is not a known unit of stress"):
        frames_of("energy=1", units={"stress": "eV"})
    with pytest.raises(ValueError, match="units must be a dict with keys of"):
        frames_of("energy=1", units={"force": "eV/A"})


def test_one_unit_stated_and_another_not(frames_of):
    with pytest.warns(UserWarning, match=r"none for the forces .*frame 0.*units=\{'forces'"):
        frames_of("energy=1 energy_unit=Ha")
