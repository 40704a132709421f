"""Keys by content: equal for equal content, and another for any difference."""

import functools
import pickle
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from pymatgen.core import Lattice, Molecule, Structure
from sklearn.linear_model import Ridge

from gnnpre import CGCNN, EAD, _content_key
from gnnpre._content_key import content_key


def salt(**changes):
    site = {"lattice": Lattice.cubic(4.0), "species": ["Na", "Cl"], **changes}
    coords = site.pop("coords", [[0, 0, 0], [0.5, 0.5, 0.5]])
    return Structure(site.pop("lattice"), site.pop("species"), coords, **site)


class Unversioned:
    """A class whose source counts, as its module has no version."""


def test_keys_of_structures():
    used = salt()
    _ = used.volume, used.get_neighbor_list(3.0)  # caches in the structure
    assert content_key([used]) == content_key([salt()]) == content_key([used.copy()])
    others = [
        salt(species=["Na", "Br"]),
        salt(species=["Cl", "Na"]),
        salt(species=["Na+", "Cl-"]),
        salt(species=["Na", {"Cl": 0.5, "Br": 0.5}]),
        salt(coords=[[0, 0, 0], [0.5, 0.5, 0.5 + 1e-12]]),
        salt(lattice=Lattice.cubic(4.0 + 1e-12)),
        salt(lattice=Lattice(4.0 * np.eye(3), pbc=(True, True, False))),
        salt(site_properties={"magmom": [1.0, 0.0]}),
        salt(charge=1.0),
        Atoms("NaCl", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True),
    ]
    keys = {content_key([structure]) for structure in [salt(), *others]}
    assert len(keys) == len(others) + 1


def water(**changes):
    coords = [[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0]]
    return Molecule(
        changes.pop("species", ["O", "H", "H"]), changes.pop("coords", coords), **changes
    )


def test_keys_of_molecules():
    used = water()
    _ = used.center_of_mass, used.get_distance(0, 1), used.composition  # caches in the sites
    assert content_key([used]) == content_key([water()]) == content_key([used.copy()])
    others = [
        water(species=["S", "H", "H"]),
        water(coords=[[0, 0, 0], [0.8, 0.59, 0], [-0.76, 0.59, 0]]),
        water(charge=2),
        water(spin_multiplicity=3),
        water(site_properties={"magmom": [0.0, 1.0, 0.0]}),
        water(properties={"energy": 1.0}),
    ]
    assert len({content_key([molecule]) for molecule in [used, *others]}) == len(others) + 1


def test_keys_of_atoms():
    atoms = Atoms("NaCl", [[0, 0, 0], [2, 2, 2]], cell=[4, 4, 4], pbc=True)
    same = atoms.copy()
    _ = same.get_volume(), same.get_scaled_positions()
    assert content_key(atoms) == content_key(same)
    other = atoms.copy()
    other.set_tags([0, 1])
    slab = atoms.copy()
    slab.pbc = (True, True, False)
    assert len({content_key(each) for each in (atoms, other, slab)}) == 3


def test_keys_of_atoms_with_calculators_and_constraints():
    def salt_with(make, distance=2.0):
        atoms = Atoms("NaCl", [[0, 0, 0], [distance] * 3], cell=[4, 4, 4], pbc=True)
        atoms.calc = make(atoms)
        return atoms

    def stored(energy, **results):
        return lambda atoms: SinglePointCalculator(atoms, energy=energy, **results)

    fixed = salt_with(lambda atoms: None)
    fixed.set_constraint(FixAtoms([0]))
    moved = salt_with(stored(-1.0), distance=2.1)
    moved.positions[1] = 2.0  # the energy is no longer that of these atoms
    differing = [
        *(salt_with(make) for make in (lambda atoms: None, stored(-1.0), stored(-2.0))),
        salt_with(stored(-1.0, forces=np.zeros((2, 3)))),
        *(salt_with(lambda atoms, s=sigma: LennardJones(sigma=s)) for sigma in (1.0, 2.0)),
        *(fixed, moved),
    ]
    assert len({content_key(each) for each in differing}) == len(differing)
    for make in (stored(-1.0), lambda atoms: LennardJones()):
        used = salt_with(make)
        used.get_potential_energy()  # a live calculator keeps results and neighbours
        assert content_key(used) == content_key(salt_with(make)) == content_key(deepcopy(used))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0, 0.0),
        (1, True),
        ("1", 1),
        ([1, 2], (1, 2)),
        ([[1], [2]], [[1, 2]]),
        ({"a": 1}, {"b": 1}),
        (np.arange(3), np.arange(3.0)),
        (EAD(), EAD(4.0)),
        (CGCNN(8), CGCNN(9)),
        (len, max),
    ],
)
def test_what_differs_has_another_key(one, other):
    assert content_key(one) != content_key(other)
    assert content_key(one) == content_key(deepcopy(one))


def test_negative_zeros_and_the_order_of_a_dict_do_not_count():
    minus = salt(coords=[[-0.0, 0, 0], [0.5, 0.5, 0.5]])
    assert content_key(minus) == content_key(salt())
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})


def test_keys_touch_nothing():
    structure = salt()
    before = pickle.dumps(structure)
    content_key([structure])
    assert pickle.dumps(structure) == before


def test_another_version_has_another_key(monkeypatch):
    before = content_key(EAD())
    monkeypatch.setattr(_content_key, "__version__", "999")
    assert content_key(EAD()) != before


def test_the_source_of_a_class_without_version_counts():
    name, source = _content_key.code_identity(Unversioned)
    assert name.endswith("Unversioned")
    assert "whose source counts" in source
    assert _content_key.code_identity(Ridge)[1].count(".") >= 1  # scikit-learn's version


def test_keys_are_those_of_another_process():
    code = (
        "from pymatgen.core import Lattice, Structure\n"
        "from gnnpre import EAD\n"
        "from gnnpre._content_key import content_key\n"
        "salt = Structure(Lattice.cubic(4.0), ['Na', 'Cl'], [[0, 0, 0], [0.5, 0.5, 0.5]])\n"
        "print(content_key([salt], EAD(), {'a', 'b'}))"
    )
    key = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert key == content_key([salt()], EAD(), {"a", "b"})


def test_keys_of_functions_that_have_arguments():
    def make(exponent):
        return functools.partial(lambda base, exponent: base**exponent, exponent=exponent)

    assert content_key(make(2)) == content_key(make(2))
    assert content_key(make(2)) != content_key(make(3))
    assert content_key(functools.partial(pow, 2)) != content_key(functools.partial(pow, 3))
