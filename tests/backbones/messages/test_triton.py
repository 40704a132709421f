"""Kernels in Triton: values, gradients and second derivatives by Triton's interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gnnpre.backbones.messages import FilteredMessage
from gnnpre.backbones.messages.triton_kernels import (
    EdgeOrder,
    _sums,
    find_triton_kernel,
    has_triton,
)
from gnnpre.graphs import EdgePairs
from triton_cases import RUNS, TOLERANCES

SCRIPT = Path(__file__).parents[2] / "triton_cases.py"

needs_triton = pytest.mark.skipif(not has_triton(), reason="Triton is not installed")


@pytest.fixture(scope="module")
def errors():
    """Return the errors of all runs; Triton asks for its interpreter before its import."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_triton
@pytest.mark.parametrize(("name", "precision", "pairs_alone"), RUNS)
def test_derivatives_are_those_of_the_formula(errors, name, precision, pairs_alone):
    of_run = errors[f"{name} {precision} {pairs_alone}"]
    assert len(of_run) > 4
    assert max(of_run) < TOLERANCES[precision]


def test_edges_are_sorted_by_both_ends():
    target, source = torch.tensor([[2, 0, 2, 0]]), torch.tensor([[1, 3, 0, 1]])
    order = EdgeOrder.of(EdgePairs(torch.arange(4), target, source), 4)
    assert order.by_target.edges.tolist() == [1, 3, 0, 2]
    assert order.by_target.offsets.tolist() == [0, 2, 2, 4, 4]
    assert order.by_source.edges.tolist() == [2, 0, 3, 1]
    assert order.by_source.offsets.tolist() == [0, 1, 3, 3, 4]


@pytest.mark.parametrize("wrong", [-1, 4])
def test_missing_atoms_do_not_reach_a_kernel(wrong):
    ends = torch.tensor([[0, wrong]])
    for pairs in (ends, ends.flip(1)), (ends.flip(1), ends):
        with pytest.raises(RuntimeError, match="names missing atoms"):
            EdgeOrder.of(EdgePairs(torch.arange(2), *pairs), 4)


@needs_triton
def test_a_kernel_that_does_not_start_names_the_way_out(monkeypatch):
    def broken(name):
        raise RuntimeError("out of resource: shared memory")

    monkeypatch.setattr(_sums, "_kernel", broken)
    pairs = EdgePairs(torch.arange(1), torch.tensor([[0]]), torch.tensor([[1]]))
    inputs = [torch.ones(1, 2), torch.ones(2, 2)]
    kernel = find_triton_kernel(FilteredMessage(), pairs, 2, inputs)
    with pytest.raises(RuntimeError, match=r"'filtered'.*out of resource.*Set compile=False"):
        kernel.value(inputs, keep=False)


@needs_triton
@pytest.mark.parametrize("name", ["gated", "filtered", "attention"])
def test_a_batch_of_another_size_needs_no_other_kernel(name):
    by_name = {parameter.name: parameter for parameter in _sums._kernel(name).params}
    assert all(by_name[count].do_not_specialize for count in ("n_edges", "n_pairs", "length"))
    assert all(by_name[end].do_not_specialize_on_alignment for end in ("target", "source"))
