"""Bad input: each with an error that names the argument or the structure, and the way out."""

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from pymatgen.core import DummySpecies, Lattice, Molecule, Structure

from gnnpre.graphs import StructureToGraph

CUBE = Lattice.cubic(4.0)


@pytest.fixture
def good() -> Structure:
    return Structure(CUBE, ["Po"], [[0, 0, 0]])


@pytest.fixture
def refuses(good):
    """Transform ``bad`` after two good structures, of which one may be ASE Atoms."""

    def check(bad: object, error: type[Exception], message: str) -> None:
        for company in (good, Atoms("He")):
            with pytest.raises(error, match=message):
                StructureToGraph().transform([good, company, bad])

    return check


# What is not a container of structures


def test_empty_list():
    for empty in ([], (), pd.Series([], dtype=object), np.empty(0, dtype=object)):
        with pytest.raises(ValueError, match="X is empty: expected at least 1 structure"):
            StructureToGraph().fit(empty)
        with pytest.raises(ValueError, match="X is empty: expected at least 1 structure"):
            StructureToGraph().transform(empty)


@pytest.mark.parametrize(
    "bare",
    [Structure(CUBE, ["Po"], [[0, 0, 0]]), Atoms("He"), Molecule(["He"], [[0, 0, 0]])],
    ids=lambda bare: type(bare).__name__,
)
def test_one_bare_structure(bare):
    type_name = type(bare).__name__
    message = rf"X is one {type_name}; expected a list of structures. Pass \[structure\]"
    with pytest.raises(TypeError, match=message):
        StructureToGraph().fit(bare)


@pytest.mark.parametrize(
    "X", ["NaCl.cif", {"a": 1}, 3, None, iter([])], ids=lambda X: type(X).__name__
)
def test_no_container(X):
    type_name = type(X).__name__
    with pytest.raises(
        TypeError, match=f"X is of type {type_name}; expected a list, tuple, Series"
    ):
        StructureToGraph().fit(X)


def test_dict_of_structures(good):
    with pytest.raises(TypeError, match="X is of type dict; expected a list"):
        StructureToGraph().transform({"mp-1": good})


@pytest.mark.parametrize("X", [np.zeros((5, 3)), np.zeros((2, 3, 3)), np.array(1.0)])
def test_numeric_array(X):
    with pytest.raises(ValueError, match=r"X is an array of shape .*; expected structures in a"):
        StructureToGraph().fit(X)


def test_numeric_column():
    with pytest.raises(TypeError, match=r"X\[0\] is of type float; expected a pymatgen Structure"):
        StructureToGraph().transform(np.zeros(5))


def test_array_of_two_columns(good):
    array = np.empty((3, 2), dtype=object)
    array[:] = good
    with pytest.raises(ValueError, match=r"shape \(3, 2\).* keep the list"):
        StructureToGraph().transform(array)


def test_array_that_numpy_made_of_equal_sized_structures(salt, silicon):
    array = np.array([salt, silicon], dtype=object)
    assert array.shape == (2, 8), "NumPy no longer takes structures apart"
    with pytest.raises(ValueError, match=r"shape \(2, 8\).* array of sites .* keep the list"):
        StructureToGraph().transform(array)


def test_graphs_in_place_of_structures(graphs):
    for method in (StructureToGraph().fit, StructureToGraph().transform):
        with pytest.raises(TypeError, match=r"X holds graphs already: leave StructureToGraph out"):
            method(graphs)


# What is not a structure


@pytest.mark.parametrize(
    "bad", [None, 3.0, [], Lattice.cubic(3.0)], ids=lambda bad: type(bad).__name__
)
def test_something_else_among_structures(refuses, bad):
    refuses(bad, TypeError, rf"X\[2\] is of type {type(bad).__name__}; expected a pymatgen Struct")


@pytest.mark.parametrize("bad", [Structure(CUBE, [], []), Atoms(cell=np.eye(3), pbc=True)])
def test_no_atoms(refuses, bad):
    refuses(bad, ValueError, "Structure 2 has no atoms")


# What stands on the sites


def test_disordered_site(refuses):
    bad = Structure(CUBE, ["Po", {"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    refuses(bad, ValueError, r"Structure 2 is disordered: site 1 holds Fe0.5 Ni0.5.* order it")


def test_partial_occupancy(refuses):
    bad = Structure(CUBE, ["Po", {"Fe": 0.9}], [[0, 0, 0], [0.5, 0.5, 0.5]])
    refuses(bad, ValueError, r"Structure 2 is disordered: site 1 holds Fe0.9")


@pytest.mark.parametrize(
    "bad",
    [
        Structure(CUBE, ["Po", DummySpecies("X")], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        Structure(CUBE, ["Po", DummySpecies("Xa", 2)], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        Atoms("PoX", [[0, 0, 0], [2, 2, 2]], cell=np.eye(3) * 4, pbc=True),
    ],
    ids=["X", "Xa2+", "ASE's X"],
)
def test_dummy_species(refuses, bad):
    refuses(bad, ValueError, "Structure 2: atom 1 is a dummy species.*elements 1 to 118")


# Coordinates and cells


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_coordinate_that_is_not_finite(refuses, value):
    message = r"Structure 2: atom 1 has coordinates .* not finite"
    refuses(Structure(CUBE, ["H", "H"], [[0, 0, 0], [0, value, 0]]), ValueError, message)
    refuses(Atoms("H2", [[0, 0, 0], [value, 0, 0]]), ValueError, message)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_cell_that_is_not_finite(refuses, value):
    cell = np.diag([3.0, 3.0, value])
    message = "Structure 2: its cell holds NaN or infinity"
    refuses(Structure(Lattice(cell), ["H"], [[0.1, 0.1, 0.1]]), ValueError, message)
    refuses(Atoms("H", cell=cell, pbc=True), ValueError, message)
    refuses(Atoms("H", cell=cell, pbc=[True, True, False]), ValueError, message)


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.zeros((3, 3)), True),
        (np.diag([3.0, 3.0, 0.0]), True),
        (np.diag([3.0, 0.0, 3.0]), [False, True, False]),
        ([[3, 0, 0], [3, 0, 0], [0, 0, 3]], True),
        ([[3, 0, 0], [-6, 0, 0], [0, 0, 3]], [True, True, False]),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], True),
        ([[0, 0, 0], [-0.4533, 1.8553, 0], [-0.5306, 0.4322, 2.1202]], [True, True, False]),
    ],
)
def test_cell_singular_along_a_periodic_direction(refuses, cell, pbc):
    message = r"Structure 2: its cell is singular along its periodic .* Set pbc to False"
    refuses(Atoms("H", cell=cell, pbc=pbc), ValueError, message)


@pytest.mark.parametrize("pbc", [[True, True, False], [True, False, False], False])
def test_cell_singular_along_other_directions_is_fine(good, pbc):
    slab = Atoms("H", cell=np.diag([3.0, 3.0, 0.0]), pbc=pbc)
    assert len(StructureToGraph().transform([slab, good])) == 2


@pytest.mark.parametrize(
    "position",
    [[0, 0, 0], [0, 0, 0.002], [1, 0, 0], [-2, 3, 0.001], [0.999, 0, 0]],
    ids=["same", "nearly", "image", "nearly an image", "across the border"],
)
def test_two_atoms_at_one_position(refuses, position):
    bad = Structure(CUBE, ["He", "H", "Li"], [[0.5, 0.5, 0.5], [0, 0, 0], position])
    message = r"Structure 2: atoms 1 and 2 \(or .*\) are .* Å apart, at the same pos.*merge_sites"
    refuses(bad, ValueError, message)


def test_one_position_is_noticed_without_periodicity_and_with_a_cut(good):
    bad = Atoms("HeH2", [[9, 9, 9], [0, 0, 0], [0, 0, 1e-4]])
    with pytest.raises(ValueError, match=r"Structure 1: atoms 1 and 2"):
        StructureToGraph(max_neighbors=1).transform([good, bad])


def test_atoms_close_but_apart_are_fine(good):
    hydrogen = Atoms("H2", [[0, 0, 0], [0, 0, 0.011]])
    assert StructureToGraph(1.0).transform([hydrogen]).edge_counts == [2]


def test_the_index_counts_all_structures(good):
    bad = Structure(CUBE, ["H", "H"], [[0, 0, 0], [0, 0, 0]])
    with pytest.raises(ValueError, match=r"Structure 131: atoms 0 and 1"):
        StructureToGraph().transform([good] * 131 + [bad])
    with pytest.raises(ValueError, match=r"Structure 131 is disordered"):
        StructureToGraph().transform([good] * 131 + [Structure(CUBE, [{"H": 0.5}], [[0, 0, 0]])])


def test_nanometres(refuses):
    coordinates = np.random.default_rng(0).random((8, 3))
    message = r"Structure 2: 8 atoms in 0.16 Å\^3 is denser .* another unit than Å"
    refuses(Structure(Lattice.cubic(0.543), ["Si"] * 8, coordinates), ValueError, message)


@pytest.mark.parametrize("far", [200.5, 65536.5])
def test_atoms_far_outside_of_the_cell(refuses, far):
    bad = Structure(Lattice.cubic(3.0), ["H", "H"], [[0, 0, 0], [far, 0, 0]])
    message = rf"Structure 2: an edge crosses {far + 0.5:.0f} cells; .* wrap them into the cell"
    refuses(bad, ValueError, message)


@pytest.mark.parametrize("far", [1e9, 1e15, 1e200])
def test_atoms_without_a_common_scale(refuses, far):
    message = r"Structure 2: atom 1 has coordinates .* beyond 1e\+07 Å. Are they in Å\? Wrap"
    refuses(Structure(CUBE, ["H", "H"], [[0, 0, 0], [0, far, 0]]), ValueError, message)
    refuses(Atoms("H2", [[0, 0, 0], [0, far, 0]]), ValueError, message)


def test_atoms_too_far_apart_where_nothing_is_periodic(refuses):
    message = r"Structure 2: its atoms span 0 x 1e\+06 x 0 Å.* coordinates in Å\? Wrap"
    refuses(Atoms("H2", [[0, 0, 0], [0, 1e6, 0]]), ValueError, message)
    slab = Atoms("H2", [[0, 0, 0], [0, 1e6, 0]], cell=np.eye(3) * 4, pbc=[True, False, True])
    refuses(slab, ValueError, message)


def test_a_hundred_cells_outside_is_fine(good):
    near, far = StructureToGraph(4.5).transform(
        [Structure(CUBE, ["H", "F"], [[0, 0, 0], [0.5 + x, 0.5, 0.5 - x]]) for x in (0, 100)]
    )
    assert len(far.edge_shift) == len(near.edge_shift) > 0
    assert far.edge_shift.abs().max() >= 100


# Parameters


@pytest.mark.parametrize("cutoff", [0, -1.0, np.nan, np.inf, "6", True, None, [6.0]], ids=repr)
def test_bad_cutoff(good, cutoff):
    for method in ("fit", "transform", "fit_transform"):
        with pytest.raises(ValueError, match=r"cutoff=.*; expected a number > 0"):
            getattr(StructureToGraph(cutoff), method)([good])


@pytest.mark.parametrize("max_neighbors", [0, -1, 2.5, 12.0, "12", True], ids=repr)
def test_bad_max_neighbors(good, max_neighbors):
    with pytest.raises(ValueError, match=r"max_neighbors=.*; expected an int > 0"):
        StructureToGraph(max_neighbors=max_neighbors).fit([good])


@pytest.mark.parametrize("neighbor_cut", ["shells", "", None, 1, ["shell"]], ids=repr)
def test_bad_neighbor_cut(good, neighbor_cut):
    with pytest.raises(ValueError, match=r"neighbor_cut=.*; expected one of \['shell', 'exact'\]"):
        StructureToGraph(neighbor_cut=neighbor_cut).fit([good])


@pytest.mark.parametrize("tolerance", [-0.1, np.nan, np.inf, None, "0"], ids=repr)
def test_bad_shell_tolerance(good, tolerance):
    with pytest.raises(ValueError, match=r"shell_tolerance=.*; expected a number >= 0"):
        StructureToGraph(shell_tolerance=tolerance).fit([good])


def test_parameters_are_checked_when_fitting_not_before():
    assert StructureToGraph(-1.0).set_params(cutoff="6").cutoff == "6"


def test_unknown_parameter():
    with pytest.raises(ValueError, match="Invalid parameter 'radius' for estimator"):
        StructureToGraph().set_params(radius=5.0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'radius'"):
        StructureToGraph(radius=5.0)
