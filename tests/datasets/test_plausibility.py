"""Labels that only a wrong unit explains are reported; real ones never are."""

import warnings

import numpy as np
import pytest

from gnnpre.datasets import make_emt_frames, read_frames
from gnnpre.datasets._label_checks import check_labels
from gnnpre.graphs import Crystals, FrameLabels

FRAME_FILES = [
    "alexandria-random-1k",
    "emmet",
    "mlearn",
    "mpf-TP",
    "mpf-alkali-TP",
    "mptrj-highest-stress-1k",
    "mptrj-random-1k",
    "polymlp",
    "snap",
]


@pytest.fixture(scope="module")
def emt_frames():
    structures, labels = make_emt_frames(60, random_state=0)
    return Crystals.from_structures(structures), labels


@pytest.fixture
def read_scaled(emt_frames, tmp_path):
    """Read EMT frames whose labels in the file are multiplied by factors."""

    def read(energy=1.0, forces=1.0, stress=1.0, offset=0.0, rows=slice(None)):
        structures, labels = emt_frames
        text = []
        for row in range(len(labels))[rows]:
            atoms = slice(labels.offsets[row], labels.offsets[row + 1])
            cell = " ".join(map(repr, structures.cell[row].ravel().tolist()))
            tensor = " ".join(map(repr, (stress * labels.stress[row]).ravel().tolist()))
            per_cell = energy * float(labels.energy[row]) + offset * int(labels.n_atoms[row])
            text.append(
                f'{labels.n_atoms[row]}\nLattice="{cell}" Properties=Z:I:1:pos:R:3:forces:R:3 '
                f'energy={per_cell} stress="{tensor}"\n'
            )
            for z, position, force in zip(
                structures.atomic_numbers[atoms],
                structures.positions[atoms],
                forces * labels.forces[atoms],
                strict=True,
            ):
                numbers = " ".join(map(repr, [*position.tolist(), *force.tolist()]))
                text.append(f"{z} {numbers}\n")
        path = tmp_path / "scaled.xyz"
        path.write_text("".join(text))
        return read_frames(path)

    return read


@pytest.mark.parametrize(
    "scales",
    [
        {},
        {"energy": 1 / 27.2, "forces": 1 / 51.4},  # too small: legitimate for soft materials
        {"offset": -5e3},  # all-electron totals
        {"offset": 20.0},
    ],
)
def test_silent(read_scaled, scales):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_scaled(**scales)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        (
            {"forces": 1e4},
            r"'forces' of frame \d+ of .*scaled.xyz has a force of .*eV/Å.*units={'fo",
        ),
        ({"forces": 60}, r"force of a frame is .* in the median .* in 'forces' of frame \d+"),
        ({"stress": 60}, r"bulk modulus was \d+ GPa.*'stress' of frame .*units=\{'stress'"),
        ({"stress": 1602.0}, r"'stress' of frame \d+ of .*|bulk modulus"),
        (
            {"stress": 1 / 1602.0},
            r"too small for the forces: .* in 'stress' of frame \d+ of .*unit",
        ),
        (
            {"offset": 1000.0},
            r"'energy' of frame \d+ of .*scaled.xyz is 1.* eV per atom.*energy_key",
        ),
        ({"offset": -1e6}, r"'energy' of frame \d+ .* below the total energy of all electrons"),
    ],
)
def test_reported(read_scaled, scales, message):
    with pytest.warns(UserWarning, match=message) as record:
        read_scaled(**scales)
    assert len(record) == 1


@pytest.mark.parametrize("n", [4, 60], ids=["too few frames", "vacuum"])
def test_small_stress_that_is_plausible(emt_frames, n):
    structures, labels = emt_frames
    structures, labels = structures[np.arange(n)], labels[np.arange(n)]  # copies
    if n > 4:
        structures.pbc[:, 2] = False
    labels.stress /= 1602
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_labels(structures, labels, "{} of {}".format)


def test_energies_of_one_composition_that_differ(frames_of):
    with pytest.warns(UserWarning, match=r"Energies of Cu differ by 1641 eV per atom .*frame 1"):
        frames_of("energy=-3.7", "energy=-1645.0")


def test_energies_per_atom(write_frames):
    text = ""
    for symbol, energy in (("Cu", -3.7), ("Al", -3.7), ("Ni", -5.5)):
        for n in (1, 4):
            rows = "".join(f"{symbol} {i} {i} 0\n" for i in range(n))
            text += f'{n}\nLattice="{n} 0 0 0 8 0 0 0 8" energy={energy}\n{rows}'
    path = write_frames(text)
    with pytest.warns(UserWarning, match="such as 'energy' of frame 5 .* seem to be per atom"):
        read_frames(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, labels = read_frames(path, units={"energy": "eV/atom"})
    np.testing.assert_allclose(labels.energy[:2], [-3.7, -14.8])


@pytest.mark.parametrize("name", FRAME_FILES)
def test_silent_on_real_frames(data_dir, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, labels = read_frames(data_dir / "upstream" / f"{name}.extxyz.gz")
    assert isinstance(labels, FrameLabels)
    assert np.isfinite(labels.energy).all()


def test_silent_on_real_forces_alone(data_dir):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, labels = read_frames(
            data_dir / "upstream" / "phonondb-forces-25k.extxyz.gz", index=slice(0, None, 50)
        )
    assert np.isnan(labels.energy).all()
    assert np.isfinite(labels.forces).all()
