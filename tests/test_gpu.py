"""The main road on a GPU; skipped where torch sees none."""

import os
import pickle

import numpy as np
import pytest
import torch
from ase.build import fcc111, molecule
from sklearn.frozen import FrozenEstimator

from cases import BACKBONES, OBJECTIVES, make_labels
from gnnpre import (
    CGCNN,
    EAD,
    GMP,
    WACSF,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    StructureToGraph,
)
from gnnpre.backbones import has_triton
from gnnpre.datasets import make_emt_frames
from gnnpre.training import _loop
from triton_cases import RUNS, TOLERANCES, run

# Before the first matrix product: cuBLAS has the same bits each time with a workspace of its own.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")


@pytest.fixture(scope="module")
def data():
    structures, labels = make_emt_frames(24, random_state=0)
    return StructureToGraph(cutoff=4.0).transform(structures), labels


def make_pretrainer(device, **changes):
    return Pretrainer(
        CGCNN(8, 2), max_epochs=2, batch_size=8, random_state=0, device=device, **changes
    )


def test_batches_are_those_of_the_cpu(data):
    graphs, _ = data
    order = [5, 3, 3, 0]
    here, there = graphs.batch(order, torch.float64), graphs.to("cuda").batch(order, torch.float64)
    assert there.edge_vectors.device.type == "cuda"
    for name in ("edge_index", "edge_vectors", "batch", "atomic_numbers"):
        torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name))


@pytest.mark.parametrize("cut", [{}, {"max_neighbors": 6}])
def test_edges_found_on_a_gpu_are_those_of_the_cpu(cut):
    pytest.importorskip("nvalchemiops")
    structures, _ = make_emt_frames(200, random_state=0)
    crystals = [*structures, molecule("C6H6"), fcc111("Pt", (2, 1, 4), vacuum=8.0)]
    here, there, again = (
        StructureToGraph(cutoff=5.0, device=device, **cut).transform(crystals)
        for device in ("cpu", "cuda", "cuda")
    )

    def edges(graphs):
        crystal = np.repeat(np.arange(len(graphs)), graphs.edge_counts)
        rows = np.column_stack([crystal, graphs.edge_index.T[:, [1, 0]], graphs.edge_shift])
        return rows[np.lexsort(rows.T[::-1])]

    assert there.device.type == "cpu"
    np.testing.assert_array_equal(edges(there), edges(here))
    assert torch.equal(there.edge_index, again.edge_index)
    assert torch.equal(there.edge_shift, again.edge_shift)


@pytest.mark.skipif(not has_triton(), reason="Triton is not installed")
@pytest.mark.parametrize(("name", "precision", "pairs_alone"), RUNS)
def test_kernels_in_triton_are_the_formulas(name, precision, pairs_alone):
    assert max(run(name, precision, pairs_alone, "cuda")) < TOLERANCES[precision]


def test_deterministic_algorithms_lead_to_the_same_bits(data):
    graphs, labels = data
    torch.use_deterministic_algorithms(True)
    try:
        models = [make_pretrainer("cuda").fit(graphs, labels) for _ in range(2)]
        once, again = (model.predict(graphs) for model in models)
    finally:
        torch.use_deterministic_algorithms(False)
    np.testing.assert_array_equal(once.energy, again.energy)
    np.testing.assert_array_equal(once.forces, again.forces)


def test_training_is_that_of_the_cpu(data):
    graphs, labels = data
    models = [make_pretrainer(d, dtype="float64").fit(graphs, labels) for d in ("cpu", "cuda")]
    assert next(models[1].net_.module_.parameters()).device.type == "cuda"
    here, there = (model.predict(graphs) for model in models)
    np.testing.assert_allclose(there.energy, here.energy, rtol=1e-6)
    np.testing.assert_allclose(there.forces, here.forces, rtol=1e-5, atol=1e-8)


def test_fitted_models_go_to_a_machine_without_a_gpu(data, tmp_path):
    graphs, labels = data
    model = make_pretrainer("cuda").fit(graphs, labels)
    copy = pickle.loads(pickle.dumps(graphs.to("cuda")))
    assert copy.device.type == "cpu"
    model.save(tmp_path / "model.gnnpre")
    loaded = Pretrainer.load(tmp_path / "model.gnnpre")
    np.testing.assert_allclose(loaded.predict(graphs).energy, model.predict(copy).energy, rtol=1e-5)
    regressor = PropertyRegressor(
        pretrained=str(tmp_path / "model.gnnpre"), max_epochs=1, random_state=0, device="cuda"
    )
    y = labels.energy / labels.n_atoms
    assert regressor.fit(graphs, y).predict(graphs).shape == (24,)


def test_resume(data, tmp_path):
    graphs, labels = data
    state = {"checkpoint_dir": str(tmp_path), "resume": True, "ema_decay": 0.9}
    once = make_pretrainer("cuda", **state).fit(graphs, labels)
    again = make_pretrainer("cuda", **state).fit(graphs, labels)
    assert len(again.history_) == 2
    np.testing.assert_array_equal(again.predict(graphs).energy, once.predict(graphs).energy)


@pytest.mark.parametrize("fingerprint", [EAD, WACSF, GMP])
def test_fingerprints_are_those_of_the_cpu(data, fingerprint):
    graphs, _ = data
    here = fingerprint(pooling="mean").transform(graphs)
    for there in (
        fingerprint(pooling="mean", device="cuda").transform(graphs),
        fingerprint(pooling="mean").transform(graphs.to("cuda")),
    ):
        np.testing.assert_allclose(there, here, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("backbone", ["cgcnn", "torchmdnet"])
def test_every_objective_trains(data, backbone, objective):
    graphs = data[0].to("cuda")
    model = make_pretrainer("cuda").set_params(
        backbone=BACKBONES[backbone], objective=OBJECTIVES[objective], max_epochs=1
    )
    model.fit(graphs, make_labels(OBJECTIVES[objective], graphs))
    assert np.isfinite(model.history_[-1]["train_loss"])


@pytest.mark.parametrize("strategy", ["full", "head", "frozen_then_full", "layerwise", "replay"])
def test_fine_tuning_and_uncertainty(data, strategy, tmp_path):
    graphs, labels = data
    graphs.save(tmp_path / "graphs.safetensors")
    labels.save(tmp_path / "labels.safetensors")
    source = FrozenEstimator(make_pretrainer("cuda").fit(graphs, labels))
    regressor = PropertyRegressor(
        pretrained=source,
        strategy=strategy,
        replay=str(tmp_path) if strategy == "replay" else None,
        calibration_fraction=0.4,
        max_epochs=2,
        random_state=0,
        device="cuda",
    )
    regressor.fit(graphs.to("cuda"), labels.energy / labels.n_atoms)
    values, std = regressor.predict(graphs, return_std=True)
    lower, upper = regressor.predict_interval(graphs, 0.5)
    assert np.isfinite([values, std, lower, upper, regressor.distance(graphs)]).all()


def test_classes(data):
    graphs, labels = data
    classifier = PropertyClassifier(CGCNN(8, 1), max_epochs=1, random_state=0, device="cuda")
    y = labels.energy > np.median(labels.energy)
    assert classifier.fit(graphs, y).predict_proba(graphs.to("cuda")).shape == (24, 2)


def test_a_step_never_waits_for_the_gpu(data, monkeypatch):
    batches = _loop.drawn_batches

    def strict(loader, state):
        for number, batch in enumerate(batches(loader, state)):
            if number == 1:  # the first step may compile, measure and allocate
                torch.cuda.set_sync_debug_mode("error")
            yield batch
        torch.cuda.set_sync_debug_mode("default")  # losses are read once per epoch

    monkeypatch.setattr(_loop, "drawn_batches", strict)
    graphs, labels = data
    try:
        make_pretrainer("cuda", validation_fraction=0.0).fit(graphs.to("cuda"), labels)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="torch sees one GPU")
def test_another_gpu(data):
    graphs, labels = data
    model = make_pretrainer("cuda:1").fit(graphs, labels)
    assert next(model.net_.module_.parameters()).device == torch.device("cuda:1")
    assert np.isfinite(model.predict(graphs).energy).all()


def test_a_gpu_that_is_not_there_is_an_error_that_says_how_many_there_are(data):
    graphs, labels = data
    count = torch.cuda.device_count()
    with pytest.raises(ValueError, match=rf"device='cuda:{count}', but torch sees {count} GPUs"):
        make_pretrainer(f"cuda:{count}").fit(graphs, labels)
