"""Data and models that go from one device, or machine, to another."""

import pickle

import numpy as np
import torch

from gnnpre.graphs import BlockRows


def test_a_model_of_a_gpu_that_is_not_there_is_loaded_on_the_cpu(fit, graphs):
    model = fit(max_epochs=1)
    state = model.net_.__getstate__()
    state["parameters"]["device"] = f"cuda:{torch.cuda.device_count()}"
    net = type(model.net_).__new__(type(model.net_))
    net.__setstate__(pickle.loads(pickle.dumps(state)))
    assert net.device == "cpu"
    np.testing.assert_array_equal(net.predict(graphs).energy, model.predict(graphs).energy)


def test_graphs_that_are_on_a_device_are_not_copied_there(graphs):
    assert graphs.to("cpu") is graphs
    assert graphs.to(torch.device("cpu")) is graphs


def test_rows_of_atoms_are_the_same_wherever_they_are_computed(graphs):
    rows = BlockRows(graphs.atom_counts, torch.device("cpu"))
    chosen = np.array([3, 0, 3, 7])
    assert torch.equal(rows._on_device(chosen), rows.picker(chosen))
