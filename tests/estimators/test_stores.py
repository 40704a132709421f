"""Training and prediction from a store: the same numbers as from memory, to the last bit."""

import threading

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from gnnpre import (
    CGCNN,
    EAD,
    Crystals,
    Denoising,
    ElementMasking,
    FingerprintTargets,
    ForceField,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    PropertyTargets,
    StructureToGraph,
    TorchMDNet,
    TwoViews,
)
from gnnpre.datasets import make_emt_frames, open_crystals, read_parquet, write_crystals
from gnnpre.datasets._store import _write
from gnnpre.estimators import _size_check
from gnnpre.graphs import GraphSettings, LazyGraphs, _lazy_graphs
from gnnpre.objectives._lazy_targets import AtomFile
from gnnpre.training import _assembly, _loader

N = 60
SETTINGS = {"max_epochs": 2, "batch_size": 7, "random_state": 0, "device": "cpu"}
OBJECTIVES = {
    "force field": ForceField(),
    "energies": ForceField(forces=0, stress=0, reference_energies=None),
    "fingerprints": FingerprintTargets(EAD(L=1, rs=(2.0, 3.0))),
    "denoising": Denoising(),
    "masking": ElementMasking(),
    "two views": TwoViews(),
    "mixture": Mixture(
        [
            ("forces", ForceField(), 1.0),
            ("ead", FingerprintTargets(EAD(L=1, rs=(2.0, 3.0))), 0.5),
            ("size", PropertyTargets(), 0.1),
        ]
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A store of many blocks."""
    structures, labels = make_emt_frames(N, random_state=0)
    size = np.linspace(0.0, 1.0, N)
    crystals = Crystals.from_structures(
        structures, ids=[f"c{k}" for k in range(N)], info={"size": size}
    )
    path = tmp_path_factory.mktemp("store")
    patch = pytest.MonkeyPatch()
    patch.setattr(_write, "BLOCK_ROWS", 8)
    write_crystals(path, [(crystals[:25], labels[:25]), (crystals[25:], labels[25:])], shard_rows=9)
    patch.undo()
    return path


@pytest.fixture(autouse=True)
def small_pools(monkeypatch):
    monkeypatch.setattr(_assembly, "POOL_ROWS", 16)
    monkeypatch.setattr(_lazy_graphs, "PASS_ROWS", 10)


@pytest.fixture
def store(folder):
    return open_crystals(folder)


@pytest.fixture
def in_memory(store):
    return store.load(), store.labels.load()


def assert_same_weights(first, second):
    weights, expected = (model.net_.module_.state_dict() for model in (first, second))
    assert weights.keys() == expected.keys()
    for name in weights:
        assert torch.equal(weights[name], expected[name]), name


@pytest.mark.parametrize("name", OBJECTIVES)
def test_pretraining_leads_to_the_same_weights_as_from_memory(store, in_memory, name):
    crystals, labels = in_memory
    objective = OBJECTIVES[name]
    from_store = Pretrainer(CGCNN(8, 1), objective, **SETTINGS).fit(store)
    from_memory = Pretrainer(CGCNN(8, 1), objective, **SETTINGS).fit(crystals, labels)
    assert_same_weights(from_store, from_memory)
    for row, expected in zip(from_store.history_, from_memory.history_, strict=True):
        assert row["train_loss"] == expected["train_loss"]
        assert row["valid_loss"] == expected["valid_loss"]
    assert from_store.score(store) == from_memory.score(crystals, labels)


@pytest.mark.parametrize("target", ["atom", "tensor"])
def test_atoms_and_tensors_lead_to_the_same_weights_as_from_memory(store, in_memory, target):
    crystals = in_memory[0]
    values = np.linspace(-1.0, 1.0, int(crystals.n_atoms.sum()))
    y = np.split(values, crystals.offsets[1:-1])
    if target == "tensor":
        y = np.stack([row[0] * np.eye(3) for row in y])
    model = PropertyRegressor(TorchMDNet(8, 1), target=target, diagnose=False, **SETTINGS)
    from_store, from_memory = clone(model).fit(store, y), clone(model).fit(crystals, y)
    assert_same_weights(from_store, from_memory)
    for first, second in zip(from_store.predict(store), from_memory.predict(crystals), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_same_order_by_blocks_leads_to_the_same_weights(folder, monkeypatch):
    store = open_crystals(folder, shuffle_rows=20)
    orders = []

    def by_blocks(dataset, generator):
        rows = dataset.indices
        orders.append(_assembly.shuffle_blocks(rows, store.blocks[rows], 20, generator))
        return orders[-1]

    from_store = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(store)
    monkeypatch.setattr(_loader, "shuffled", by_blocks)
    crystals, labels = store.load(), store.labels.load()
    from_memory = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(crystals, labels)
    assert_same_weights(from_store, from_memory)
    monkeypatch.undo()
    shuffled_whole = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(crystals, labels)
    with pytest.raises(AssertionError):
        assert_same_weights(from_store, shuffled_whole)
    assert not np.array_equal(orders[0], orders[1])


def test_a_shuffled_epoch_reads_each_block_once():
    generator = torch.Generator().manual_seed(0)
    order, blocks = np.arange(1000), np.arange(1000) // 10
    shuffled = _assembly.shuffle_blocks(order, blocks, 100, generator)
    assert np.array_equal(np.sort(shuffled), order)
    runs = [set(blocks[shuffled[start : start + 100]]) for start in range(0, 1000, 100)]
    assert [len(run) for run in runs] == [10] * 10
    assert set.union(*runs) == set(range(100))
    assert max(runs[0]) - min(runs[0]) > 20  # blocks from anywhere
    assert not (np.diff(shuffled[:100]) == 1).any() or len(runs[0]) == 10


def test_labels_and_weights_that_are_passed(store, in_memory):
    crystals, labels = in_memory
    weights = np.linspace(0.0, 1.0, N)
    with_labels = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS)
    with_labels.fit(store, store.labels, sample_weight=weights)
    from_memory = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS)
    assert_same_weights(with_labels, from_memory.fit(crystals, labels, sample_weight=weights))
    frame_labels = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS)
    assert_same_weights(frame_labels.fit(store, labels, sample_weight=weights), from_memory)


def test_properties_of_a_part_of_a_store(store, in_memory):
    crystals = in_memory[0]
    chosen = np.arange(N) % 3 > 0
    y = store.info["size"]
    regressor = PropertyRegressor(CGCNN(8, 1), calibration_fraction=0.3, **SETTINGS)
    from_store = regressor.fit(store[chosen], y[chosen]).predict(store, return_std=True)
    from_memory = regressor.fit(crystals[chosen], y[chosen]).predict(crystals, return_std=True)
    np.testing.assert_array_equal(from_store, from_memory)
    assert regressor.score(store, y) == regressor.score(crystals, y)


def test_cross_validation_of_a_store(store, in_memory):
    regressor = PropertyRegressor(CGCNN(8, 1), **SETTINGS)
    y = store.info["size"]
    scores = cross_val_score(regressor, store, y, cv=2)
    np.testing.assert_array_equal(scores, cross_val_score(regressor, in_memory[0], y, cv=2))


def test_a_pipeline_builds_graphs_when_they_are_needed(store, in_memory):
    pipeline = make_pipeline(
        StructureToGraph(cutoff=4.0), Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS)
    )
    from_store = pipeline.fit(store)
    energy = from_store.predict(store[:9]).energy
    assert from_store[-1].graph_settings_.cutoff == 4.0
    np.testing.assert_array_equal(energy, pipeline.fit(*in_memory).predict(in_memory[0][:9]).energy)


def test_finetuning_from_a_model_of_a_store(store, in_memory, tmp_path):
    path = tmp_path / "forces.gnnpre"
    Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(store).save(path)
    regressor = PropertyRegressor(pretrained=path, validation_fraction=0.3, **SETTINGS)
    y = store.info["size"]
    from_store = regressor.fit(store, y)
    diagnosis = from_store.diagnosis_
    assert diagnosis["zero_epochs"] > 0
    # In memory the default would add a kernel machine.
    from_memory = PropertyRegressor(
        pretrained=path, strategy="full", validation_fraction=0.3, **SETTINGS
    )
    assert_same_weights(from_store, from_memory.fit(in_memory[0], y))
    assert diagnosis == from_memory.diagnosis_


def test_an_interrupted_training_resumes(folder, tmp_path):
    settings = {**SETTINGS, "schedule": None, "checkpoint_dir": tmp_path}
    whole = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS | {"schedule": None})
    whole.fit(open_crystals(folder))
    begun = Pretrainer(CGCNN(8, 1), ForceField(), **settings | {"max_epochs": 1})
    begun.fit(open_crystals(folder))
    resumed = Pretrainer(CGCNN(8, 1), ForceField(), **settings, resume=True)
    assert_same_weights(resumed.fit(open_crystals(folder)), whole)
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    resumed.fit(open_crystals(folder)[:50])  # other crystals: another training
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_two_processes_share_a_training(store):
    """Targets that are read, and those in a temporary file, reach the other process."""
    settings = {**SETTINGS, "dtype": "float64"}
    one = Pretrainer(CGCNN(8, 1), OBJECTIVES["mixture"], **settings).fit(store)
    two = Pretrainer(CGCNN(8, 1), OBJECTIVES["mixture"], **settings, n_processes=2).fit(store)
    weights = [model.net_.module_.state_dict() for model in (one, two)]
    for name, values in weights[0].items():
        torch.testing.assert_close(weights[1][name], values, rtol=1e-8, atol=1e-8)


def test_any_number_of_threads_reads_ahead(folder, store):
    one = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(store)
    before = threading.active_count()
    several = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS)
    several.fit(open_crystals(folder, n_threads=3))
    assert threading.active_count() == before
    assert_same_weights(several, one)


def test_each_graph_is_built_once_before_training(store, monkeypatch):
    built = []
    build_graphs = _lazy_graphs.build_graphs

    def count(crystals, *args, **kwargs):
        built.append(len(crystals))
        return build_graphs(crystals, *args, **kwargs)

    monkeypatch.setattr(_lazy_graphs, "build_graphs", count)
    graphs = LazyGraphs(store, GraphSettings(cutoff=6.0))
    FingerprintTargets(EAD(L=1, rs=(2.0, 3.0))).make_targets(graphs, None)
    assert graphs.edge_counts.min() > 0
    assert graphs.elements()
    assert sum(built) == N


def test_graphs_of_a_store_know_what_crystals_hold(store, in_memory):
    expected = StructureToGraph(cutoff=4.0).transform(in_memory[0])
    graphs = StructureToGraph(cutoff=4.0).transform(store)
    assert len(graphs) == N
    assert graphs.shape == (N,)
    np.testing.assert_array_equal(graphs.edge_counts, expected.edge_counts)
    assert torch.equal(graphs.pbc, expected.pbc)
    numbers = [set(structure.atomic_numbers) for structure in store]
    assert graphs.elements() == sorted(set.union(*numbers))
    assert graphs.elements(np.array([3, 7])) == sorted(numbers[3] | numbers[7])
    rows = [row for row, elements in enumerate(numbers) if 79 in elements]
    assert graphs.rows_with(79, 79).tolist() == rows
    assert torch.equal(graphs[[5, 2]].edge_index, expected[[5, 2]].edge_index)
    assert torch.equal(graphs.batch([4, 1]).edge_vectors, expected.batch([4, 1]).edge_vectors)
    with pytest.raises(TypeError, match="holds graphs already"):
        StructureToGraph().fit(graphs)


def test_graphs_of_a_store_are_indexed_like_an_array(store, in_memory):
    graphs = StructureToGraph(cutoff=4.0).transform(store)
    expected = StructureToGraph(cutoff=4.0).transform(in_memory[0])
    assert torch.equal(graphs[-1].pos, expected[N - 1].pos)
    for row in (N, -N - 1):  # not the row that it would be modulo N
        with pytest.raises(IndexError, match=f"Index {row} is out of bounds for {N} crystals"):
            graphs[row]
    with pytest.raises(TypeError, match="LazyGraphs is not a table"):
        np.asarray(graphs)


def test_embeddings_and_fingerprints(store, in_memory):
    crystals = in_memory[0]
    model = Pretrainer(CGCNN(8, 1), Denoising(), **SETTINGS).fit(store)
    np.testing.assert_array_equal(model.transform(store), model.transform(crystals))
    ead = EAD(L=1, rs=(2.0, 3.0), pooling="mean")
    np.testing.assert_array_equal(ead.fit_transform(store), ead.fit_transform(crystals))


# Predictions in files.


def test_labels_of_frames_in_a_file(store, tmp_path):
    model = Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(store)
    path = model.predict_to_parquet(store, tmp_path / "frames.parquet")
    crystals, labels = read_parquet(path)
    expected = model.predict(store)
    assert crystals.ids.tolist() == store.ids.tolist()
    np.testing.assert_array_equal(labels.energy, expected.energy)
    np.testing.assert_array_equal(labels.forces, expected.forces)


def test_properties_and_embeddings_in_a_file(store, in_memory, tmp_path):
    y = np.stack([store.info["size"], 1.0 - store.info["size"]], axis=1)
    model = PropertyRegressor(CGCNN(8, 1), **SETTINGS).fit(store, y)
    table = pd.read_parquet(model.predict_to_parquet(store, tmp_path / "y.parquet"))
    assert list(table) == ["immutable_id", "prediction0", "prediction1"]
    np.testing.assert_array_equal(table[["prediction0", "prediction1"]], model.predict(store))
    table = pd.read_parquet(model.transform_to_parquet(in_memory[0], tmp_path / "x.parquet"))
    assert list(table)[1:] == model.get_feature_names_out().tolist()
    np.testing.assert_array_equal(table.iloc[:, 1:], model.transform(store))


def test_predictions_of_atoms_and_of_mixtures_in_a_file(store, tmp_path):
    model = Pretrainer(CGCNN(8, 1), OBJECTIVES["mixture"], **SETTINGS).fit(store)
    table = pd.read_parquet(model.predict_to_parquet(store[:4], tmp_path / "all.parquet"))
    expected = model.predict(store[:4])
    np.testing.assert_array_equal(table["forces.energy"], expected["forces"].energy)
    np.testing.assert_array_equal(np.stack(table["ead"][2]), expected["ead"][2])
    np.testing.assert_array_equal(table["size0"], expected["size"][:, 0])


@pytest.mark.parametrize("target", ["atom", "tensor"])
def test_lists_of_numbers_in_a_file(store, in_memory, tmp_path, target):
    crystals, rng = in_memory[0], np.random.default_rng(0)
    y = {
        "atom": [rng.normal(size=n) for n in crystals.n_atoms],
        "tensor": np.stack([np.diag(row) for row in rng.normal(size=(len(crystals), 3))]),
    }[target]
    model = PropertyRegressor(TorchMDNet(8, 1, n_heads=2), target=target, **SETTINGS)
    expected = model.fit(crystals, y).predict(crystals)
    for X in (crystals, store):
        table = pd.read_parquet(model.predict_to_parquet(X, tmp_path / f"{type(X).__name__}.pq"))
        for row, values in zip(table["prediction"], expected, strict=True):
            np.testing.assert_array_equal(np.stack(row) if values.ndim > 1 else row, values)


# Errors.


def test_a_store_without_the_labels(tmp_path, in_memory):
    crystals, labels = in_memory
    bare = write_crystals(tmp_path / "bare", [crystals])
    with pytest.raises(ValueError, match="y is None, but ForceField learns from labels"):
        Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(bare)
    energies = type(labels)(labels.n_atoms, energy=labels.energy)
    some = write_crystals(tmp_path / "some", [(crystals, energies)])
    with pytest.raises(ValueError, match=r"store has no forces \(eV/Å\)"):
        Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(some)


def test_crystals_that_no_model_can_use(tmp_path, in_memory):
    crystals, labels = in_memory
    numbers = crystals.atomic_numbers.copy()
    numbers[crystals.offsets[17]] = 103
    heavy = write_crystals(tmp_path / "heavy", [(crystals._with(atomic_numbers=numbers), labels)])
    with pytest.raises(ValueError, match="Crystal 17 of X holds an element of atomic number 103"):
        Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(heavy)
    cell = crystals.cell.copy()
    cell[33] = 0.0
    broken = write_crystals(tmp_path / "broken", [(crystals._with(cell=cell), labels)])
    with pytest.raises(ValueError, match=r"\(id c33\)"):
        Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(broken)


def test_a_shard_that_is_altered_while_training(tmp_path, in_memory):
    store = write_crystals(tmp_path, [in_memory])
    shard = next(tmp_path.glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[500:520] = bytes(20)
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=f"{shard.name} is not as it was written"):
        Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(store)
    assert not [t for t in threading.enumerate() if t.name.startswith("ThreadPool")]


def test_labels_of_other_crystals(store):
    with pytest.raises(ValueError, match="y has 59 frames; X has 60 crystals"):
        Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(store, store.labels[:59])
    with pytest.raises(ValueError, match="Are both in the same order"):
        Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(store, store.labels[::-1])


def test_an_empty_store(store):
    with pytest.raises(ValueError, match="0 crystals"):
        Pretrainer(CGCNN(8, 1), ForceField(), **SETTINGS).fit(store[:0])


def test_features_of_atoms_in_a_file():
    n_atoms = np.array([2, 1, 4, 3])
    values = np.random.default_rng(0).normal(size=(10, 5)).astype(np.float32)
    file = AtomFile("f", n_atoms, iter([values[:3], values[3:]]))
    rows = np.array([3, 0, 1, 0])
    atoms = np.r_[7:10, 0:2, 2:3, 0:2]
    np.testing.assert_array_equal(file.load(rows).atom["f"], values[atoms])
    assert file.load(rows[:0]).atom["f"].shape == (0, 5)


def test_blocks_in_any_order_are_shuffled_as_wholes():
    generator = torch.Generator().manual_seed(0)
    order = np.random.default_rng(0).permutation(400).astype(np.int32)
    shuffled = _assembly.shuffle_blocks(order, order // 10, 100, generator)
    assert shuffled.dtype == order.dtype
    assert np.array_equal(np.sort(shuffled), np.arange(400))
    runs = [set(shuffled[start : start + 100] // 10) for start in range(0, 400, 100)]
    assert [len(run) for run in runs] == [10] * 4
    assert (order == np.random.default_rng(0).permutation(400)).all()  # left as it was


def test_elements_and_periodic_directions_of_graphs_on_disk(store, in_memory):
    crystals = in_memory[0]
    graphs = StructureToGraph(cutoff=4.0).transform(store)
    of_crystal = [set(crystals[row].atomic_numbers) for row in range(N)]
    assert graphs.elements() == sorted(set.union(*of_crystal))
    rows = np.array([3, 17, 40])
    assert graphs.elements(rows) == sorted(set.union(*(of_crystal[row] for row in rows)))
    rarest = min(graphs.elements(), key=lambda z: sum(z in elements for elements in of_crystal))
    expected = [row for row in range(N) if rarest in of_crystal[row]]
    assert graphs.rows_with(rarest, rarest).tolist() == expected
    assert len(graphs.rows_with(100, 118)) == 0
    np.testing.assert_array_equal(graphs.pbc.numpy(), crystals.pbc)


def test_a_full_disk_of_fingerprints_names_the_space_and_the_folder():
    class FullFile:
        def write(self, data):
            raise OSError(28, "No space left on device")

    source = AtomFile("fingerprints", np.array([2]), [np.zeros((2, 3), dtype=np.float32)])
    source.file = FullFile()
    with pytest.raises(OSError, match=r"disk of .* is full .*fingerprints of 2 atoms .*TMPDIR"):
        source.append(np.zeros((2, 3), dtype=np.float32))


def test_the_sample_of_the_size_check_is_of_few_blocks(store, monkeypatch):
    monkeypatch.setattr(_size_check, "SAMPLE", 10)
    monkeypatch.setattr(_size_check, "SAMPLED_BLOCKS", 2)
    graphs = StructureToGraph(cutoff=4.0).transform(store)
    sample = _size_check._sample_rows(graphs, np.arange(N, dtype=np.int32))
    assert len(sample) == len(set(sample)) == 10
    assert len(set(store.blocks[sample])) == 2


def test_other_values_of_atoms_are_not_resumed(store, tmp_path):
    labels = [np.arange(n, dtype=float) for n in store.n_atoms]
    settings = {**SETTINGS, "resume": True, "checkpoint_dir": str(tmp_path / "states")}

    def predict(y):
        model = PropertyRegressor(CGCNN(8, 1), target="atom", **settings).fit(store, y)
        return np.concatenate(list(model.predict(store[:2].load())))

    first = predict(labels)
    np.testing.assert_array_equal(predict(labels), first)
    assert np.abs(predict([100 - 5 * values for values in labels]) - first).min() > 10
