"""Parameters and crystals that are refused: the message names what is wrong."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pymatgen.core import Lattice, Structure
from sklearn.base import clone

from fingerprints.shared import FINGERPRINTS
from gnnpre import EAD, GMP, WACSF, StructureToGraph
from gnnpre.fingerprints import _base

CARBON = "****\nC 6 1\n0.3 1.0\n****\n"

PARAMETERS = [
    *[(category, {"pooling": "median"}, "pooling='median'") for category in (WACSF, EAD, GMP)],
    *[(category, {"pooling": True}, "pooling=True") for category in (WACSF, EAD, GMP)],
    *[(category, {"dtype": "float16"}, "dtype='float16'") for category in (WACSF, EAD, GMP)],
    *[(category, {"dtype": np.float64}, "dtype=") for category in (WACSF, EAD, GMP)],
    *[(category, {"cutoff": 0.0}, "cutoff=0.0") for category in (WACSF, EAD)],
    *[(category, {"cutoff": "5"}, "cutoff='5'") for category in (WACSF, EAD)],
    *[(category, {"cutoff": float("nan")}, "cutoff=nan") for category in (WACSF, EAD)],
    *[(category, {"cutoff": float("inf")}, "cutoff=inf") for category in (WACSF, EAD)],
    *[(category, {"cutoff": 60.1}, "cutoff=60.1") for category in (WACSF, EAD)],
    (EAD, {"L": -1}, "L=-1"),
    (EAD, {"L": 1.5}, "L=1.5"),
    (EAD, {"L": 9}, "L=9"),
    (EAD, {"L": True}, "L=True"),
    (EAD, {"eta": ()}, "eta is empty"),
    (EAD, {"eta": "4"}, "eta='4'"),
    (EAD, {"eta": 4.0}, "eta=4.0"),
    (EAD, {"eta": None}, "eta=None"),
    (EAD, {"eta": (-1,)}, "eta[0]=-1"),
    (EAD, {"eta": (1.0, 0.0)}, "eta[1]=0.0"),
    (EAD, {"eta": (1.0, "4")}, "eta[1]='4'"),
    (EAD, {"eta": (1.0, float("nan"))}, "eta[1]=nan"),
    (EAD, {"eta": [[1.0, 2.0], [3.0, 4.0]]}, "eta=[[1.0, 2.0]"),
    (EAD, {"eta": (1.0, 2, 1)}, "eta=(1.0, 2, 1) repeats"),
    (EAD, {"rs": ()}, "rs is empty"),
    (EAD, {"rs": (1.0, -0.5)}, "rs[1]=-0.5"),
    (EAD, {"rs": (1.0, 1.0)}, "rs=(1.0, 1.0) repeats"),
    (EAD, {"cumulative": "yes"}, "cumulative='yes'"),
    (WACSF, {"g2_eta": (0.0,)}, "g2_eta[0]=0.0"),
    (WACSF, {"g2_eta": "4"}, "g2_eta='4'"),
    (WACSF, {"g2_rs": ()}, "g2_rs is empty"),
    (WACSF, {"g2_rs": (-1.0,)}, "g2_rs[0]=-1.0"),
    (WACSF, {"g2_rs": (1.0, 1.0)}, "g2_rs=(1.0, 1.0) repeats"),
    *[
        (WACSF, {f"{category}_{name}": values}, f"{category}_{name}{result}")
        for category in ("g4", "g5")
        for name, values, result in [
            ("eta", (-0.1,), "[0]=-0.1"),
            ("eta", (0.1, 0.1), "=(0.1, 0.1) repeats"),
            ("zeta", (), " is empty"),
            ("zeta", (1.0, 0.5), "[1]=0.5"),
            ("zeta", (257.0,), "[0]=257.0"),
            ("zeta", (2, 2.0), "=(2, 2.0) repeats"),
            ("lambda", (), " is empty"),
            ("lambda", (2,), "[0]=2"),
            ("lambda", (1.0, -1.5), "[1]=-1.5"),
            ("lambda", 1.0, "=1.0"),
        ]
    ],
    (WACSF, {"g2_eta": (), "g4_eta": (), "g5_eta": ()}, "g2_eta, g4_eta and g5_eta are all empty"),
    (GMP, {"orders": ()}, "orders is empty"),
    (GMP, {"orders": (-2,)}, "orders[0]=-2"),
    (GMP, {"orders": (0, 10)}, "orders[1]=10"),
    (GMP, {"orders": (1.5,)}, "orders[0]=1.5"),
    (GMP, {"orders": (1, 1)}, "orders=(1, 1) repeats"),
    (GMP, {"orders": 2}, "orders=2"),
    (GMP, {"sigmas": ()}, "sigmas is empty"),
    (GMP, {"sigmas": (0,)}, "sigmas[0]=0"),
    (GMP, {"sigmas": (0.5, -1.0)}, "sigmas[1]=-1.0"),
    (GMP, {"sigmas": (0.5, 0.5)}, "sigmas=(0.5, 0.5) repeats"),
    (GMP, {"sigmas": 0.5}, "sigmas=0.5"),
    (GMP, {"square": 1}, "square=1"),
    (GMP, {"overlap_threshold": 0.0}, "overlap_threshold=0.0"),
    (GMP, {"overlap_threshold": 2.0}, "overlap_threshold=2.0"),
    (GMP, {"densities": 3}, "densities=3"),
]


@pytest.fixture(params=FINGERPRINTS)
def fingerprint(request):
    return clone(FINGERPRINTS[request.param])


@pytest.fixture
def carbon(tmp_path):
    """A file with the density of one element."""
    path = tmp_path / "carbon.gpsp"
    path.write_text(CARBON, encoding="utf-8")
    return path


def case_id(case):
    return case.__name__ if isinstance(case, type) else None


@pytest.mark.parametrize(("category", "parameters", "message"), PARAMETERS, ids=case_id)
def test_parameters_out_of_range(category, parameters, message, hydrogen):
    bad = category(**parameters)  # no constructor checks
    methods = [bad.fit, bad.transform, bad.fit_transform]
    if "pooling" not in parameters:
        methods.append(bad.atom_features)  # works whatever the pooling
    for method in methods:
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            method([hydrogen])


@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform", "atom_features"])
def test_no_crystals(fingerprint, method):
    graphs = StructureToGraph(3.0).transform([bulk("Cu")])[:0]
    for nothing in ([], graphs):
        with pytest.raises(ValueError, match=r"^X .*minimum of 1 is required"):
            getattr(fingerprint, method)(nothing)


@pytest.mark.parametrize("method", ["fit", "transform", "fit_transform", "atom_features"])
@pytest.mark.parametrize(
    "one", [bulk("Cu"), Structure(Lattice.cubic(3.0), ["Po"], [[0, 0, 0]])], ids=["ase", "pymatgen"]
)
def test_one_structure_is_no_list(fingerprint, method, one):
    with pytest.raises(TypeError, match=r"X is one .*Pass \[structure\]"):
        getattr(fingerprint, method)(one)


def test_what_is_no_structure_is_named(fingerprint):
    with pytest.raises(TypeError, match=r"\b1\b"):
        fingerprint.transform([bulk("Cu"), "Cu"])


def test_a_broken_structure_in_a_later_part_is_named(fingerprint, monkeypatch):
    monkeypatch.setattr(_base, "CHUNK_ATOMS", 2)
    crystals = [bulk("Cu") for _ in range(6)]
    crystals[4].positions[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"\b4\b"):
        fingerprint.transform(crystals)


def test_coincident_atoms_are_refused(fingerprint):
    with pytest.raises(ValueError, match=r"\b1\b"):
        fingerprint.transform([bulk("Cu"), Atoms("H2", np.zeros((2, 3)))])


def test_coincident_atoms_in_a_later_part_are_named_by_their_own_index(fingerprint, monkeypatch):
    monkeypatch.setattr(_base, "CHUNK_ATOMS", 2)
    crystals = [*(bulk("Cu") for _ in range(5)), Atoms("H2", np.zeros((2, 3)))]
    with pytest.raises(ValueError, match=r"\b5\b"):
        fingerprint.transform(crystals)


# Elements without a density


@pytest.mark.parametrize("category", ["structures", "graphs"])
@pytest.mark.parametrize("chunk", [4, 1024])
@pytest.mark.parametrize("row", [0, 1, 9])
def test_an_element_without_density_is_named(carbon, monkeypatch, category, chunk, row):
    monkeypatch.setattr(_base, "CHUNK_ATOMS", chunk)
    crystals = [bulk("C", "diamond", a=3.57) for _ in range(10)]
    crystals[row] = bulk("CSi" if row else "SiC", "zincblende", a=4.36)
    X = crystals if category == "structures" else StructureToGraph(4.0).transform(crystals)
    with pytest.raises(ValueError, match=rf"^Crystal {row} holds Si: .*carbon\.gpsp"):
        GMP(densities=carbon).transform(X)


def test_the_crystal_is_counted_in_parts_of_true_size(carbon):
    """Beyond the first 1,024 atoms as the module has them."""
    crystals = [bulk("C", "diamond", a=3.57)] * 600 + [bulk("Cu")]
    with pytest.raises(ValueError, match=r"^Crystal 600 holds Cu"):
        GMP((0.5,), (0,), densities=carbon, overlap_threshold=1e-2).transform(crystals)


def test_elements_beyond_the_table_are_named():
    with pytest.raises(ValueError, match=r"^Crystal 1 holds Es: .*form factors"):
        GMP().transform([bulk("Cu"), Atoms("Es")])


def test_compute_names_an_element_without_density(carbon):
    batch = StructureToGraph(4.0).transform([bulk("C", "diamond", a=3.57), bulk("Cu")]).batch()
    with pytest.raises(ValueError, match=r"^Crystal 1 holds Cu"):
        GMP(densities=carbon).compute(batch)


def test_elements_without_density_do_not_stop_others(carbon):
    """Weights by atomic number know every element."""
    for category in (WACSF, EAD):
        assert np.isfinite(
            category(4.0).transform([Atoms("EsOg", [[0, 0, 0], [2.0, 0, 0]])])[0]
        ).all()
    assert np.isfinite(GMP(densities=carbon).transform([bulk("C", "diamond", a=3.57)])[0]).all()


@pytest.mark.parametrize(
    "values", [(x for x in (1.0, 2.0)), {1.0: 2.0}, [[1.0], [2.0]], 4.0, np.array(3.0)]
)
def test_grids_are_sequences(values):
    with pytest.raises(ValueError, match=r"^eta=.*expected a sequence of numbers"):
        EAD(eta=values).fit([bulk("Cu")])


@pytest.mark.parametrize("device", ["nowhere", 2**63, {"cpu"}, b"cpu", "cuda:99", "meta"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(ValueError, match=rf"^device={re.escape(repr(device))}.* expected "):
        EAD(device=device).fit([bulk("Cu")])
