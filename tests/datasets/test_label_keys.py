"""Names of labels: which are read, and that nothing is dropped without a word."""

import re
import warnings

import numpy as np
import pytest

from cases import extxyz
from gnnpre.datasets import read_frames

UNIT_VIRIAL = '"64 0 0 0 64 0 0 0 64"'  # eV, in a cell of 64 Å^3


def test_the_most_common_name_is_read_and_the_others_reported(frames_of):
    with pytest.warns(
        UserWarning,
        match=r"energy of 1 of 3 frames was not read \(the first is frame 0 of .*'energy' "
        r"\(1 frames\); 'REF_energy' was read from the others.*energy_key=\['REF_energy', 'energy'",
    ) as record:
        labels = frames_of("energy=1.0", "REF_energy=2.0", "REF_energy=3.0")
    np.testing.assert_array_equal(labels.energy, [np.nan, 2.0, 3.0])
    assert record[0].filename == __file__ or record[0].filename.endswith("conftest.py")


def test_a_list_of_names_reads_the_first_that_a_frame_has(frames_of):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = frames_of(
            "energy=1.0", "REF_energy=2.0 energy=5.0", "x=1", energy_key=["REF_energy", "energy"]
        )
    np.testing.assert_array_equal(labels.energy, [1.0, 2.0, np.nan])


def test_different_names_in_different_files(write_frames):
    one = write_frames(extxyz("energy=1", "energy=2"), "one.extxyz")
    text = extxyz("energy=3").replace("forces:R:3", "REF_forces:R:3")
    second = write_frames(text, "other.extxyz")
    with pytest.warns(
        UserWarning, match=r"forces of 1 of 3 .*frame 0 of .*other.extxyz.*REF_force"
    ):
        _, labels = read_frames([one, second])
    assert np.isnan(labels.forces[2]).all()
    _, labels = read_frames([one, second], forces_key=["forces", "REF_forces"])
    np.testing.assert_array_equal(labels.forces, [[0.1, 0.2, 0.3]] * 3)


def test_two_names_of_different_values(frames_of):
    with pytest.warns(UserWarning, match=r"two values of energy .*'energy' was read.*'REF_energy'"):
        labels = frames_of("energy=1.0 REF_energy=2.0")
    assert labels.energy == [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames_of("energy=1.0 REF_energy=1.0")
        frames_of("energy=1.0 REF_energy=2.0", energy_key="REF_energy")
        frames_of("energy=1.0 free_energy=0.9")  # they differ by the entropy of smearing


@pytest.mark.parametrize("name", ["Energy", "ENERGY", "REF_energy", "dft-energy", "free_energy"])
def test_energies_that_are_read(frames_of, name):
    assert frames_of(f"{name}=-2.5").energy == [-2.5]


@pytest.mark.parametrize("name", ["Forces", "force", "REF_forces", "dft_force", "ref-Forces"])
def test_forces_that_are_read(write_frames, name):
    _, labels = read_frames(write_frames(extxyz("").replace("forces:R:3", f"{name}:R:3")))
    np.testing.assert_array_equal(labels.forces, [[0.1, 0.2, 0.3]])


@pytest.mark.parametrize("name", ["Stress", "stresses", "REF_stress", "dft_stress"])
def test_stresses_that_are_read(frames_of, name):
    labels = frames_of(f'{name}="1 0 0 0 1 0 0 0 1"')
    np.testing.assert_array_equal(labels.stress[0], np.eye(3))


@pytest.mark.parametrize("name", ["virial", "virials", "Virial", "REF_virial", "dft_virials"])
def test_virials_that_are_read(frames_of, name):
    labels = frames_of(f"{name}={UNIT_VIRIAL}")
    np.testing.assert_allclose(labels.stress[0], -np.eye(3))


def test_a_stress_goes_before_a_virial(frames_of):
    with pytest.warns(UserWarning, match="contradict"):
        labels = frames_of(f'virial={UNIT_VIRIAL} stress="2 0 0 0 2 0 0 0 2"')
    np.testing.assert_allclose(labels.stress[0], 2 * np.eye(3))
    with pytest.warns(UserWarning, match="stress of 1 of 2 frames .*'virial'"):
        labels = frames_of(f"virial={UNIT_VIRIAL}", 'stress="2 0 0 0 2 0 0 0 2"')
    assert np.isnan(labels.stress[0]).all()
    keys = ["stress", "virial"]
    labels = frames_of(f"virial={UNIT_VIRIAL}", 'stress="2 0 0 0 2 0 0 0 2"', stress_key=keys)
    np.testing.assert_allclose(labels.stress, [-np.eye(3), 2 * np.eye(3)])


@pytest.mark.parametrize(
    ("label", "entry"),
    [
        ("energy", "mace_energy=-1.0"),
        ("energy", "formation_energy=-1.0"),
        ("energy", "energy_pbe=-1.0"),
        ("energy", "E_dft=-1.0"),
        ("energy", "TotalEnergy=-1.0"),
        ("energy", "DFTenergy=-1.0"),
        ("energy", "energy0=-1.0"),
        ("energy", "energy(Ha)=-1.0"),
        ("stress", 'StressTensor="1 0 0 0 1 0 0 0 1"'),
        ("stress", 'sigma="1 0 0 0 1 0"'),
        ("stress", 'mace_stress="1 0 0 0 1 0 0 0 1"'),
        ("stress", 'my_virial="1 0 0 0 1 0"'),
    ],
)
def test_lookalikes_are_reported(frames_of, label, entry):
    name = entry.split("=")[0]
    name = re.escape(name)
    expected = (
        rf"{label} of 2 of 2 frames was not read.*'{name}' \(2 frames\).*{label}_key='{name}'"
    )
    with pytest.warns(UserWarning, match=expected):
        labels = frames_of(entry, entry)
    assert np.isnan(getattr(labels, label)).all()


def test_what_is_no_label_is_not_reported(frames_of):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames_of("energy_weight=2.0 stress_weight=1 energy_cutoff=520 e_above_hull=0.1")
        frames_of("fermi_energy=2.0 KineticEnergy=1 encut=520 hubbard_u=3 sxx=1 dft=pbe")
        frames_of('energy=nan stress="nan nan nan nan nan nan"')


@pytest.mark.parametrize("name", ["E", "e0", "Etot", "E_tot", "E_pot", "U"])
def test_short_names_of_an_energy_are_reported(frames_of, name):
    with pytest.warns(UserWarning, match=f"energy of 1 of 1 frames was not read.*'{name}'"):
        assert np.isnan(frames_of(f"{name}=-1.5").energy[0])


@pytest.mark.parametrize(
    "name", ["F", "frc", "F_dft", "atomicForces", "gradient", "gradients", "energy_grad"]
)
def test_short_names_of_forces_and_gradients_are_reported(write_frames, name):
    text = extxyz("energy=1").replace("forces:R:3", f"{name}:R:3")
    with pytest.warns(UserWarning, match=f"forces of 1 of 1 frames was not read.*'{name}'") as seen:
        _, labels = read_frames(write_frames(text))
    assert np.isnan(labels.forces).all()
    assert ("minus the forces" in str(seen[0].message)) == ("grad" in name)


def test_labels_in_single_numbers_are_reported(frames_of, write_frames):
    with pytest.warns(UserWarning, match=r"\(sxx, syy, szz, .*of frame 0 .* components of stress"):
        labels = frames_of("sxx=1 syy=1 szz=1 sxy=0 sxz=0 syz=0")
    assert np.isnan(labels.stress).all()
    text = extxyz("energy=1").replace("forces:R:3", "fx:R:1:fy:R:1:fz:R:1")
    with pytest.warns(UserWarning, match=r"\(fx, fy, fz, .*of frame 0 .* of forces, .*forces:R:3"):
        read_frames(write_frames(text))


def test_a_stress_and_a_virial_that_contradict_each_other(frames_of):
    stress = 'energy=1 stress="{0} 0 0 0 {0} 0 0 0 {0}"'
    virial = ' virial="6.4 0 0 0 6.4 0 0 0 6.4"'  # -0.1 eV/Å^3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames_of(stress.format(-0.1) + virial, stress.format(-0.101) + virial, stress.format(0.1))
    with pytest.warns(
        UserWarning,
        match=r"contradict each other in 2 of 3 frames, in 1 of them by the sign \(the first is "
        r"frame 1 of",
    ):
        labels = frames_of(*(stress.format(value) + virial for value in (-0.1, 0.1, -0.2)))
    np.testing.assert_allclose(labels.stress[:, 0, 0], [-0.1, 0.1, -0.2])  # as before


def test_an_empty_list_of_names(frames_of):
    with pytest.raises(ValueError, match="energy_key is an empty list"):
        frames_of("energy=1.0", energy_key=[])
    with pytest.raises(TypeError, match="energy_key must be a name or a list of names; got 3 of"):
        frames_of("energy=1.0", energy_key=3)
