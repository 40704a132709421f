"""Reading frames: labels, units, conventions and errors."""

import gzip
import re
import warnings

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write
from pymatgen.core import Structure

from cases import FRAME_CELL, extxyz
from gnnpre.datasets import filter_frames, make_emt_frames, read_frames, read_structures
from gnnpre.datasets._stress_sign import measure_stress_sign

UPSTREAM = [
    "alexandria-random-1k",
    "mpf-TP",
    "mpf-alkali-TP",
    "mptrj-random-1k",
    "mptrj-highest-stress-1k",
]
SIX = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) / 100
ASE_ORDER = np.array([[1, 6, 5], [6, 2, 4], [5, 4, 3]]) / 100
VASP_ORDER = np.array([[1, 4, 6], [4, 2, 5], [6, 5, 3]]) / 100


def equation_of_state(path, sign=1.0, scales=(0.97, 0.99, 1.0, 1.02)):
    frames = []
    for scale in scales:
        atoms = bulk("Cu", a=3.6 * scale)
        pressure = sign * (scale - 1)
        stress = [pressure, pressure, pressure, 0, 0, 0]
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, stress=np.array(stress))
        frames.append(atoms)
    write(path, frames, format="extxyz")
    return path


def test_agrees_with_ase(tmp_path):
    structures, labels = make_emt_frames(8, random_state=0)
    frames = []
    for i, structure in enumerate(structures):
        atoms = structure.to_ase_atoms()
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=labels.energy[i],
            forces=labels.forces[labels.offsets[i] : labels.offsets[i + 1]],
            stress=labels.stress[i],
        )
        frames.append(Atoms(atoms, calculator=atoms.calc))
    path = tmp_path / "emt.extxyz"
    write(path, frames)
    read_back, read_labels = read_frames(path)
    for i, atoms in enumerate(read(path, index=":")):
        assert isinstance(read_back[i], Structure)
        np.testing.assert_allclose(read_back[i].cart_coords, atoms.positions, atol=1e-12)
        np.testing.assert_array_equal(read_back[i].lattice.matrix, atoms.cell.array)
        assert list(read_back[i].atomic_numbers) == atoms.numbers.tolist()
        assert read_labels.energy[i] == atoms.get_potential_energy()
        np.testing.assert_array_equal(read_labels[i].forces, atoms.get_forces())
        np.testing.assert_allclose(read_labels.stress[i], atoms.get_stress(voigt=False))
    assert read_labels.groups("formula").tolist() == labels.groups("formula").tolist()


def test_sites_stay_where_the_file_puts_them(write_frames):
    structures, _ = read_frames(write_frames(extxyz("energy=1")))
    np.testing.assert_allclose(structures[0].cart_coords, [[0.5, 0.5, 4.5]])


def test_missing_labels_are_nan(frames_of):
    labels = frames_of("energy=1.0", "", 'energy=nan stress="1 0 0 0 1 0 0 0 1"')
    np.testing.assert_array_equal(labels.energy, [1.0, np.nan, np.nan])
    assert np.isnan(labels.stress[:2]).all()
    np.testing.assert_array_equal(labels.stress[2], np.eye(3))


def test_no_labels_at_all(write_frames):
    path = write_frames(f"1\n{FRAME_CELL}\nCu 0 0 0\n")
    _, labels = read_frames(path)
    assert np.isnan(labels.energy).all()
    assert np.isnan(labels.forces).all()
    assert labels.forces.shape == (1, 3)


@pytest.mark.parametrize("key", ["stress", "REF_stress"])
@pytest.mark.parametrize(("order", "expected"), [("ase", ASE_ORDER), ("vasp", VASP_ORDER)])
def test_six_numbers_of_stress(frames_of, key, order, expected):
    text = " ".join(str(number) for number in SIX)
    labels = frames_of(f'{key}="{text}"', stress_order=order)
    np.testing.assert_allclose(labels.stress[0], expected)


@pytest.mark.parametrize("key", ["stress", "dft_stress"])
@pytest.mark.parametrize("order", ["ase", "vasp"])
def test_nine_numbers_of_stress_have_no_order(frames_of, key, order):
    text = " ".join(str(number) for number in ASE_ORDER.ravel())
    labels = frames_of(f'{key}="{text}"', stress_key=key, stress_order=order)
    np.testing.assert_allclose(labels.stress[0], ASE_ORDER)


@pytest.mark.parametrize("key", ["virial", "REF_virials"])
def test_virial_is_minus_stress_times_volume(frames_of, key):
    labels = frames_of(f'{key}="6.4 0 0 0 0 0 0 0 0" virial_unit=eV', stress_key=key)
    np.testing.assert_allclose(labels.stress[0], np.diag([-0.1, 0, 0]))


def test_virial_of_a_left_handed_cell(write_frames):
    text = extxyz('virial="64 0 0 0 64 0 0 0 64"').replace("4 0 0 0 4 0", "0 4 0 4 0 0")
    _, labels = read_frames(write_frames(text), stress_key="virial")
    np.testing.assert_allclose(labels.stress[0], -np.eye(3))


def test_keys_may_be_named(frames_of):
    assert frames_of("energy=1.0 my_energy=3.0").energy == [1.0]
    assert frames_of("energy=1.0 my_energy=3.0", energy_key="my_energy").energy == [3.0]
    assert frames_of("free_energy=4.0", energy_key="free_energy").energy == [4.0]


def test_forces_of_another_name(write_frames):
    path = write_frames(extxyz("energy=1").replace("forces:R:3", "my_force:R:3"))
    with pytest.warns(UserWarning, match=r"forces of 1 of 1 frames was not read.*'my_force'"):
        assert np.isnan(read_frames(path)[1].forces).all()
    _, labels = read_frames(path, forces_key="my_force")
    np.testing.assert_allclose(labels.forces, [[0.1, 0.2, 0.3]])


@pytest.mark.parametrize("label", ["energy", "forces", "stress"])
def test_a_key_in_no_frame_is_an_error(frames_of, label):
    with pytest.raises(ValueError, match=rf"{label}_key='nope' is in none of the 1 .*'energy'"):
        frames_of("energy=1.0", **{f"{label}_key": "nope"})


def test_info_columns(frames_of):
    labels = frames_of(
        "energy=1 energy_unit=eV mptrj_traj_id=mp-1 step=3 flag=T",
        'energy=1 mptrj_traj_id=mp-2 temperature=300.5 note="a b" step=4 vector="1 2 3"',
        "energy=1 step=5 temperature=1 mixed=T",
    )
    assert labels.info.keys() == {
        "mptrj_traj_id",
        "step",
        "flag",
        "temperature",
        "note",
        "mixed",
        "formula",
        "file",
    }
    assert labels.groups("mptrj_traj_id").tolist() == ["mp-1", "mp-2", None]
    assert labels.groups("step").tolist() == [3, 4, 5]
    np.testing.assert_array_equal(labels.groups("temperature"), [np.nan, 300.5, 1.0])
    assert labels.groups("flag").tolist() == [True, None, None]
    assert labels.groups("note").tolist() == [None, "a b", None]
    assert labels.groups("formula").tolist() == ["Cu"] * 3


def test_several_files_and_gzip(write_frames, tmp_path):
    plain = write_frames(extxyz("energy=1", "energy=2"))
    zipped = tmp_path / "zipped.extxyz.gz"
    zipped.write_bytes(gzip.compress(extxyz("energy=3", "energy=4", symbol="Au").encode()))
    structures, labels = read_frames([plain, str(zipped)])
    np.testing.assert_array_equal(labels.energy, [1, 2, 3, 4])
    assert [s.formula for s in structures] == ["Cu1", "Cu1", "Au1", "Au1"]
    assert labels.groups("file").tolist() == [str(plain)] * 2 + [str(zipped)] * 2
    np.testing.assert_array_equal(read_frames([plain, zipped], index=slice(1))[1].energy, [1, 3])


@pytest.mark.parametrize("index", [slice(1, 4), slice(None, None, 2), slice(-2, None), None])
def test_index(frames_of, index):
    labels = frames_of(*(f"energy={i}" for i in range(6)), index=index)
    assert labels.energy.tolist() == list(range(6))[index or slice(None)]


def test_what_is_not_fully_periodic(tmp_path):
    slab = bulk("Cu", cubic=True)
    slab.pbc = [True, True, False]
    slab.calc = SinglePointCalculator(slab, energy=-1.0, stress=SIX)
    write(tmp_path / "mixed.extxyz", [slab, molecule("H2O"), bulk("Cu")])
    structures, labels = read_frames(tmp_path / "mixed.extxyz")
    np.testing.assert_array_equal(structures.pbc, [[True, True, False], [False] * 3, [True] * 3])
    np.testing.assert_array_equal(structures.cell[0], slab.cell.array)
    assert np.isnan(labels.stress).all()
    assert labels.groups("formula").tolist() == ["Cu", "H2O", "Cu"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"There are no frames in .*frames.extxyz"),
        ("hello\nworld\n", r"Frame 0 of .* begins with 'hello'.*format="),
        ("0\n\n", "Frame 0 of .* begins with '0'"),
        (
            extxyz("energy=1") + "2\n" + FRAME_CELL + "\nCu 0 0 0\n",
            "Frame 1 of .* fewer than the 2 atoms",
        ),
        (extxyz("energy=1", symbol="Qq"), "Frame 0 of .* not valid extended XYZ"),
        (extxyz("energy=1").replace("0.5 0.5 4.5", "0.5 x 4.5"), "Frame 0 .* not valid extended"),
        (extxyz("", force="0.1"), "Frame 0 .* line 1 of atoms has 5 values .* states 7"),
        (extxyz("", force="1 2 3 4"), "Frame 0 .* line 1 of atoms has 8 values .* states 7"),
        (extxyz("energy=high"), "energy of frame 0 of .* is 'high', no number"),
        (extxyz("", "energy=inf"), "energy of frame 1 of .* is infinite"),
        (extxyz('energy="1 2"'), r"energy of frame 0 of .* has shape \(2,\).*energy_key"),
        (extxyz('stress="1 2 3"'), r"stress of frame 0 .* has shape \(3,\).*stress_key"),
        (extxyz('stress="1 2 0 0 1 0 0 0 1"'), "stress of frame 0 .* is not symmetric"),
        (
            extxyz("", force="0.1").replace("forces:R:3", "forces:R:1"),
            r"forces of frame 0 .*three numbers",
        ),
        (extxyz("").replace("0.5 0.5 4.5", "0.5 nan 4.5"), "A position .* of frame 0"),
        (extxyz("").replace("4 0 0 0 4 0", "4 0 0 4 0 0"), "The cell of frame 0 .* is singular"),
        (extxyz("", symbol="X"), "frame 0 of .* has an atom of no element"),
    ],
)
def test_bad_files(write_frames, text, message):
    with pytest.raises(ValueError, match=message):
        read_frames(write_frames(text))


def test_truncated_gzip(tmp_path):
    path = tmp_path / "cut.extxyz.gz"
    noise = np.random.default_rng(0).random(400)
    whole = gzip.compress(extxyz(*(f"energy={value}" for value in noise)).encode())
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut.extxyz.gz cannot be read.*truncat"):
        read_frames(path)


def test_bad_arguments(frames_of, tmp_path):
    with pytest.raises(ValueError, match="stress_order must be 'ase' or 'vasp'; got 'xyz'"):
        frames_of("", stress_order="xyz")
    with pytest.raises(TypeError, match="index must be a slice"):
        frames_of("", index=3)
    with pytest.raises(ValueError, match="empty list"):
        read_frames([])
    with pytest.raises(FileNotFoundError):
        read_frames(tmp_path / "none.extxyz")
    with pytest.raises(KeyError, match="material"):
        frames_of("", group_key="material")


def test_a_stress_of_the_opposite_sign_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="Larger volume does not go with more tensile") as record:
        read_frames(equation_of_state(tmp_path / "vasp.extxyz", sign=-1.0))
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_frames(equation_of_state(tmp_path / "ase.extxyz"))


def test_two_frames_are_too_few_to_tell(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_frames(equation_of_state(tmp_path / "two.extxyz", -1.0, scales=(0.98, 1.02)))


def test_groups_are_those_of_the_key(write_frames):
    # Within each run the sign is right; over both, which differ in more than volume, it is not.
    text = ""
    for run, edge, offset in (("a", 4.0, 1.0), ("b", 5.0, 0.0)):
        for step in range(4):
            a, s = edge + 0.05 * step, offset + 0.01 * step
            lattice = f'Lattice="{a} 0 0 0 {a} 0 0 0 {a}"'
            text += f'1\n{lattice} run={run} stress="{s} 0 0 0 {s} 0 0 0 {s}"\nCu 0 0 0\n'
    path = write_frames(text)
    with pytest.warns(UserWarning, match="Larger volume"):
        read_frames(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_frames(path, group_key="run")


def test_the_sign_of_emt_stress_is_seen():
    _, labels = make_emt_frames(150, random_state=0)
    structures, _ = make_emt_frames(150, random_state=0)
    volume = np.log([structure.volume / len(structure) for structure in structures])
    mean = np.trace(labels.stress, axis1=1, axis2=2) / 3
    groups = labels.groups("formula").tolist()
    assert measure_stress_sign(volume, mean, groups).correlation > 0.5
    assert measure_stress_sign(volume, -mean, groups).is_wrong


@pytest.mark.parametrize("name", UPSTREAM)
def test_real_frames(data_dir, name):
    path = data_dir / "upstream" / f"{name}.extxyz.gz"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        structures, labels = read_frames(path)
    assert all(isinstance(structure, Structure) for structure in structures)
    assert np.isfinite(labels.energy).all()
    assert np.isfinite(labels.forces).all()
    assert np.isfinite(labels.stress).all()
    assert not any(key.endswith("_unit") for key in labels.info)


def flip_signs(match):
    return '"' + " ".join(str(-float(number)) for number in match[1].split()) + '"'


# alexandria-random-1k has one frame of each material, and two pairs of the same elements: its
# sign cannot be told from volumes.
@pytest.mark.parametrize("name", UPSTREAM[1:])
def test_real_frames_of_the_opposite_sign(data_dir, tmp_path, name):
    with gzip.open(data_dir / "upstream" / f"{name}.extxyz.gz", "rt") as stream:
        text = stream.read()
    path = tmp_path / "flipped.extxyz"
    path.write_text(re.sub(r'(?<= stress=)"([^"]*)"', flip_signs, text))
    with pytest.warns(UserWarning, match="Larger volume does not go with more tensile stress"):
        read_frames(path)


def test_real_frames_that_are_usable(data_dir):
    structures, labels = read_frames([data_dir / "upstream" / f"{n}.extxyz.gz" for n in UPSTREAM])
    remaining, remaining_labels = filter_frames(structures, labels)
    assert len(structures) == 4529
    assert len(remaining) == len(remaining_labels) == 3502
    assert len(set(remaining_labels.groups("mptrj_traj_id"))) > 1000


@pytest.mark.parametrize("name", ["x.extxyz", "x.traj"])
def test_frames_of_disordered_crystals(tmp_path, name):
    # ASE keeps the first element of a disordered site, and writes what else is there beside it.
    atoms = bulk("Cu")
    for shares in ({"Cu": 0.9, "Au": 0.1}, {"Cu": 0.5}):
        atoms.info["occupancy"] = {"0": shares}
        write(tmp_path / name, atoms)
        for reader in (read_frames, read_structures):
            with pytest.raises(ValueError, match=r"frame 0 of .* is disordered: site 0 holds"):
                reader(tmp_path / name)
    atoms.info["occupancy"] = {"0": {"Cu": 1.0}}
    write(tmp_path / name, atoms)
    assert len(read_frames(tmp_path / name)[0]) == 1
