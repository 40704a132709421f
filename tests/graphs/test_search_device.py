"""The parameter ``device`` of StructureToGraph where nvalchemi-toolkit-ops or a GPU is missing."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from gnnpre.graphs import StructureToGraph, _build_graphs, _structure_to_graph
from gnnpre.graphs._neighbors import Edges


@pytest.fixture
def one_gpu(monkeypatch):
    """Report one GPU to torch."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.parametrize("method", ["fit", "transform"])
def test_nvalchemi_is_asked_for(salt, method, one_gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvalchemiops", None)
    with pytest.raises(ImportError, match=r'pip install "gnnpre\[gpu\]"'):
        getattr(StructureToGraph(device="cuda"), method)([salt])


@pytest.mark.parametrize("method", ["fit", "transform"])
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_that_torch_does_not_see_is_refused(salt, method, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    message = f"device='{device}', but torch sees 0 GPUs; expected 'cpu'"
    with pytest.raises(ValueError, match=message):
        getattr(StructureToGraph(device=device), method)([salt])


def test_a_second_gpu_is_refused_where_there_is_one(salt, one_gpu):
    with pytest.raises(ValueError, match="device='cuda:1', but torch sees 1 GPUs"):
        StructureToGraph(device="cuda:1").fit([salt])


@pytest.mark.parametrize("device", ["auto", "gpu", "meta", 1.5])
def test_other_devices_are_refused(salt, device):
    with pytest.raises(ValueError, match=r"device=.*; expected 'cpu', 'cuda' or 'cuda:0'\."):
        StructureToGraph(device=device).fit([salt])


@pytest.fixture
def searched(one_gpu, monkeypatch):
    """Pretend that nvalchemi-toolkit-ops is there, and record what it would be asked for."""
    calls = []

    def find_nothing(crystals, settings, first, device):
        calls.append((len(crystals), first, device))
        return Edges(
            np.zeros((2, 0), np.int32), np.zeros((0, 3), np.int8), np.zeros(len(crystals), np.int64)
        )

    monkeypatch.setattr(_structure_to_graph, "check_installed", lambda: None)
    monkeypatch.setattr(_build_graphs, "find_edges", find_nothing)
    return calls


def test_processes_are_refused_on_a_gpu(salt, searched):
    with pytest.raises(ValueError, match="n_jobs=2 with device='cuda'; expected n_jobs=None"):
        StructureToGraph(device="cuda", n_jobs=2).fit([salt])
    for n_jobs in (None, 1):
        StructureToGraph(device="cuda", n_jobs=n_jobs).fit([salt])


def test_a_gpu_takes_many_crystals_at_a_time(salt, searched, monkeypatch):
    monkeypatch.setattr(_build_graphs, "DEVICE_CHUNK", 100)
    graphs = StructureToGraph(device="cuda:0").transform([salt] * 130)
    device = torch.device("cuda:0")
    assert searched == [(100, 0, device), (30, 100, device)]
    assert len(graphs) == 130
    assert graphs.device.type == "cpu"


def test_a_cpu_loads_no_library_for_gpus():
    code = (
        "import sys\n"
        "from ase.build import bulk\n"
        "from gnnpre import StructureToGraph\n"
        "StructureToGraph(device='cpu').fit_transform([bulk('Cu')])\n"
        "assert not {'nvalchemiops', 'warp'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
