"""One split of crystals and what belongs to them."""

import joblib
import numpy as np
import pandas as pd
import pytest
from ase.build import bulk

from gnnpre.datasets import make_emt_frames
from gnnpre.graphs import CrystalGraphs, FrameLabels, StructureToGraph
from gnnpre.model_selection import structure_train_test_split

ELEMENTS = ["Cu", "Al", "Ag", "Au", "Ni", "Pd", "Pt", "Pb"]


@pytest.fixture(scope="module")
def metals():
    """Five cells of each of eight elements."""
    sizes = [(1, 1, 1), (2, 1, 1), (2, 2, 1), (3, 1, 1), (1, 1, 2)]
    return [bulk(element) * size for size in sizes for element in ELEMENTS]


def symbols(structures):
    return {atoms.get_chemical_symbols()[0] for atoms in structures}


@pytest.mark.parametrize("by", ["composition", "chemical_system"])
@pytest.mark.parametrize("test_size", [0.25, 0.4, 12])
def test_whole_groups_on_one_side(metals, by, test_size):
    train, test = structure_train_test_split(metals, by=by, test_size=test_size, random_state=0)
    assert not symbols(train) & symbols(test)
    wanted = test_size if isinstance(test_size, int) else test_size * len(metals)
    assert wanted - 5 < len(test) <= wanted
    assert len(train) + len(test) == len(metals)


def test_all_arguments_are_split_alike_and_keep_their_kind():
    structures, labels = make_emt_frames(16, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    rows = np.arange(16)
    series = pd.Series(rows, index=[f"m{i}" for i in rows])
    found = structure_train_test_split(
        structures, graphs, labels, rows, series, rows.tolist(), by="chemical_system",
        random_state=3,
    )  # fmt: skip
    assert len(found) == 12
    for side in (0, 1):
        kept, packed, frames, numbers, column, items = found[side::2]
        assert isinstance(kept, list)
        assert isinstance(packed, CrystalGraphs)
        assert isinstance(frames, FrameLabels)
        assert kept == [structures[i] for i in numbers]
        np.testing.assert_array_equal(packed.atom_counts, graphs.atom_counts[numbers])
        np.testing.assert_array_equal(frames.energy, labels.energy[numbers])
        assert column.tolist() == items == numbers.tolist() == sorted(numbers)
        assert column.index.tolist() == [f"m{i}" for i in numbers]


def test_graphs_split_as_their_structures(metals):
    graphs = StructureToGraph(cutoff=3.0).transform(metals)
    rows = np.arange(len(metals))
    _, _, expected, _ = structure_train_test_split(metals, rows, random_state=1)
    _, _, found, _ = structure_train_test_split(graphs, rows, random_state=1)
    np.testing.assert_array_equal(found, expected)


def test_the_seed_decides_and_global_state_stays(metals):
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that is not to be touched
    before = joblib.hash(metals)
    first, again, other = (
        symbols(structure_train_test_split(metals, test_size=0.5, random_state=seed)[1])
        for seed in (0, 0, 1)
    )
    assert first == again != other
    structure_train_test_split(metals)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002 - as above
    assert joblib.hash(metals) == before


def test_the_test_part_is_never_empty_nor_all(metals):
    assert len(structure_train_test_split(metals, test_size=0.001, random_state=0)[1]) == 5
    train, _ = structure_train_test_split(metals, test_size=0.999, random_state=0)
    assert len(train) == 5


@pytest.mark.parametrize("test_size", [0, 1.0, 1.5, -0.1, True, "a", None, 40])
def test_bad_test_size(metals, test_size):
    with pytest.raises(ValueError, match=f"test_size={test_size!r}; expected"):
        structure_train_test_split(metals, test_size=test_size)


def test_bad_input_is_named(metals):
    with pytest.raises(ValueError, match="No arrays were passed"):
        structure_train_test_split()
    with pytest.raises(ValueError, match="Argument 2 has 3 entries; argument 1 has 40 crystals"):
        structure_train_test_split(metals, [1, 2, 3])
    with pytest.raises(TypeError, match="Argument 3 is of type NoneType, which has no length"):
        structure_train_test_split(metals, metals, None)
    with pytest.raises(ValueError, match=r"by='composition' makes one group.*\(Cu\)"):
        structure_train_test_split([bulk("Cu"), bulk("Cu") * 2])
    with pytest.raises(ValueError, match=r"random_state=1\.5"):
        structure_train_test_split(metals, random_state=1.5)
    with pytest.raises(ValueError, match="X is empty"):
        structure_train_test_split([])
