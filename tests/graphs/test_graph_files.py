"""Graphs in pickles, memory maps and files."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch

from gnnpre.graphs import CrystalGraphs, Crystals, FrameLabels, StructureToGraph
from gnnpre.graphs._crystal_graphs import FIELDS

MASK = np.array([True, False, False, True, False, False, False, True])


# Pickles and files


def test_pickle_round_trip(graphs, assert_same_graphs):
    assert_same_graphs(pickle.loads(pickle.dumps(graphs)), graphs)


def test_pickle_holds_numpy_arrays_in_compact_types(graphs):
    state = graphs.__getstate__()
    assert all(isinstance(state[name], np.ndarray) for name in FIELDS)
    assert state["edge_index"].dtype == np.int16
    assert state["edge_shift"].dtype == np.int8
    assert b"torch" not in pickle.dumps(state)


def test_atoms_of_large_crystals_are_counted_in_wider_integers(tmp_path, assert_same_graphs):
    side = 33  # 35,937 atoms: more than int16 counts
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    large = Crystals(
        atomic_numbers=np.full(side**3, 29),
        positions=3.0 * grid,
        cell=3.0 * side * np.eye(3)[None],
        n_atoms=[side**3],
    )
    small = Crystals(
        atomic_numbers=[29], positions=np.zeros((1, 3)), cell=3.0 * np.eye(3)[None], n_atoms=[1]
    )
    builder = StructureToGraph(cutoff=3.1)
    wide, narrow = builder.transform(large), builder.transform(small)
    assert (wide.edge_index.dtype, narrow.edge_index.dtype) == (torch.int32, torch.int16)
    both = CrystalGraphs.concatenate([narrow, wide])
    assert_same_graphs(both, builder.transform(Crystals.concatenate([small, large])))
    batch = both.batch()
    assert (torch.bincount(batch.target) == 6).all()
    assert (torch.bincount(batch.source) == 6).all()
    torch.testing.assert_close(batch.distances, torch.full((6 * (side**3 + 1),), 3.0))
    both.save(tmp_path / "both")
    assert_same_graphs(CrystalGraphs.load(tmp_path / "both"), both)
    # From wide integers, as other programs have them, to the narrow ones.
    fields = {name: getattr(narrow, name) for name in FIELDS}
    fields["edge_index"] = fields["edge_index"].long()
    assert_same_graphs(CrystalGraphs(**fields, settings=narrow.settings), narrow)


def test_read_only_memory_maps_work_without_a_warning(graphs, tmp_path, assert_same_graphs):
    joblib.dump(graphs, tmp_path / "graphs.joblib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mapped = joblib.load(tmp_path / "graphs.joblib", mmap_mode="r")
        batch = mapped.batch([6, 1, 1])
        chosen = mapped[MASK]
        again = pickle.loads(pickle.dumps(mapped))
        mapped.save(tmp_path / "graphs.safetensors")
        data = mapped[0]
    torch.testing.assert_close(batch.edge_vectors, graphs.batch([6, 1, 1]).edge_vectors)
    assert_same_graphs(chosen, graphs[MASK])
    assert_same_graphs(again, graphs)
    torch.testing.assert_close(data.pos, graphs[0].pos)


def test_memory_is_shared_with_the_file(graphs, tmp_path):
    joblib.dump(graphs, tmp_path / "graphs.joblib")
    joblib.load(tmp_path / "graphs.joblib", mmap_mode="r+").positions[0] = 42.0
    assert (joblib.load(tmp_path / "graphs.joblib").positions[0] == 42.0).all()


def sum_of_edges(graphs: CrystalGraphs) -> float:
    return float(graphs.batch([0]).edge_vectors.abs().sum())


def test_joblib_workers_get_the_graphs(graphs):
    many = CrystalGraphs.concatenate([graphs] * 800)
    assert many.edge_index.nbytes > 1e6, "joblib memory-maps for its workers from 1 MB on"
    jobs = (joblib.delayed(sum_of_edges)(many) for _ in range(2))
    assert joblib.Parallel(n_jobs=2)(jobs) == [sum_of_edges(many)] * 2


def test_save_and_load(graphs, tmp_path, assert_same_graphs):
    path = tmp_path / "graphs.safetensors"
    cut = StructureToGraph(4.0, max_neighbors=3, neighbor_cut="exact", shell_tolerance=0.1)
    graphs = CrystalGraphs(
        **{name: getattr(graphs, name) for name in FIELDS},
        settings=cut._settings(),
    )
    graphs.save(path)
    assert_same_graphs(CrystalGraphs.load(path), graphs)
    assert [file.name for file in tmp_path.iterdir()] == ["graphs.safetensors"]


def test_save_replaces_a_file_and_loaded_graphs_outlive_it(graphs, tmp_path, assert_same_graphs):
    path = str(tmp_path / "graphs.safetensors")
    graphs.save(path)
    loaded = CrystalGraphs.load(path)
    graphs[:2].save(path)
    assert len(CrystalGraphs.load(path)) == 2
    assert_same_graphs(loaded, graphs)


@pytest.mark.parametrize("length", [0, 1, 7, 100, 0.5, 0.999])
def test_a_truncated_file_is_refused(graphs, tmp_path, length):
    path = tmp_path / "graphs.safetensors"
    graphs.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: length if isinstance(length, int) else int(length * len(content))])
    with pytest.raises(ValueError, match=r"graphs\.safetensors' cannot be read: .*truncated"):
        CrystalGraphs.load(path)


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "graphs.cif"
    path.write_text("data_NaCl\n_cell_length_a 5.64\n" * 10)
    with pytest.raises(ValueError, match="truncated or of another format"):
        CrystalGraphs.load(path)


def test_a_file_of_another_kind_is_refused(labels, graphs, tmp_path):
    labels.save(tmp_path / "labels")
    with pytest.raises(ValueError, match=r"holds 'FrameLabels' .*; expected 'CrystalGraphs'"):
        CrystalGraphs.load(tmp_path / "labels")
    graphs.save(tmp_path / "graphs")
    with pytest.raises(ValueError, match=r"holds 'CrystalGraphs' .*; expected 'FrameLabels'"):
        FrameLabels.load(tmp_path / "graphs")


def test_safetensors_of_a_stranger_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"positions": torch.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"holds 'something else'"):
        CrystalGraphs.load(tmp_path / "weights.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no-such-file.* to load CrystalGraphs from"):
        CrystalGraphs.load(tmp_path / "no-such-file")
