"""``compile=True``: the same training by kernels, or a warning and torch's own functions."""

import warnings

import numpy as np
import pytest
import torch

from gnnpre import CGCNN, PropertyRegressor, TorchMDNet
from gnnpre._compiler import CompilerError
from gnnpre.backbones.messages import FilteredMessage, Neighbors, _kernel_sums, _neighbors
from gnnpre.backbones.messages.triton_kernels import _sums
from gnnpre.exceptions import PerformanceWarning
from gnnpre.graphs import EdgePairs
from gnnpre.training import _settings


def same_losses(fit):
    plain, compiled = (fit(dtype="float64", compile=compile) for compile in (False, True))
    assert compiled.net_.module_.backbone.compiled
    assert not plain.net_.module_.backbone.compiled
    losses = [[row["train_loss"] for row in model.history_] for model in (plain, compiled)]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_the_same_training_but_for_rounding(fit):
    same_losses(fit)


def same_predictions(graphs, labels):
    energies = labels.energy / labels.n_atoms
    predictions = []
    for compile in (False, True):
        backbone = TorchMDNet(8, 2, n_heads=2, n_radial=8)
        model = PropertyRegressor(
            backbone, max_epochs=1, random_state=0, dtype="float64", compile=compile
        )
        predictions.append(model.fit(graphs, energies).predict(graphs))
    np.testing.assert_allclose(*predictions, rtol=1e-9)


def test_the_attention_of_torchmdnet(graphs, labels):
    same_predictions(graphs, labels)


def same_weights(ours, theirs):
    pairs = zip(ours.net_.module_.parameters(), theirs.net_.module_.parameters(), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_without_a_compiler_training_goes_on_and_says_so_once(fit, monkeypatch):
    def broken(*args):
        raise CompilerError("there is no C compiler")

    monkeypatch.setattr(_kernel_sums, "load_kernel", broken)
    _kernel_sums._library.cache_clear()
    _kernel_sums._kernel_of.cache_clear()
    with pytest.warns(UserWarning, match="No compiled kernel: there is no C compiler") as caught:
        compiled = fit(compile=True)
    _kernel_sums._library.cache_clear()
    _kernel_sums._kernel_of.cache_clear()
    assert len([w for w in caught if "No compiled kernel" in str(w.message)]) == 1
    same_weights(compiled, fit(compile=False))


@pytest.mark.parametrize("there", [True, False])
def test_auto_is_what_the_machine_has(fit, monkeypatch, there):
    monkeypatch.setattr(_settings, "has_compiler", lambda: there)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = fit()
    assert model.compile == "auto"
    assert model.net_.module_.backbone.compiled is there
    same_weights(model, fit(compile=there))


@pytest.mark.parametrize("there", [True, False])
def test_auto_on_a_gpu_is_triton(monkeypatch, there):
    monkeypatch.setattr(_settings, "has_triton", lambda: there)
    monkeypatch.setattr(_settings, "has_compiler", lambda: not there)
    assert _settings.resolve_compile("auto", torch.device("cuda")) is there
    assert _settings.resolve_compile(True, torch.device("cuda"))


def test_without_triton_sums_on_a_gpu_go_on_and_say_so(monkeypatch):
    monkeypatch.setattr(_sums, "has_triton", lambda: False)
    # Looked for by device; a CPU stands for a GPU here.
    monkeypatch.setattr(_neighbors, "find_kernel", _neighbors.find_triton_kernel)
    _sums._triton_or_warning.cache_clear()
    pairs = EdgePairs(torch.arange(1), torch.tensor([[0]]), torch.tensor([[1]]))
    ones = torch.ones(1, 2), torch.ones(2, 2)
    with pytest.warns(PerformanceWarning, match="Triton is not installed"):
        (sums,) = Neighbors(pairs, 2, compiled=True).sum(FilteredMessage(), *ones)
    assert sums.tolist() == [[1, 1], [0, 0]]
    _sums._triton_or_warning.cache_clear()


@pytest.mark.parametrize("compile", ["yes", 1, None])
def test_it_has_to_be_a_choice(fit, compile):
    with pytest.raises(ValueError, match=r"compile=.*False, 'auto' or 'cuda_graphs'"):
        fit(compile=compile)


def test_saved_models_keep_it(fit, tmp_path, graphs):
    from gnnpre import Pretrainer

    model = fit(compile=False).set_params(compile=True)
    model.save(tmp_path / "model.gnnpre")
    assert Pretrainer.load(tmp_path / "model.gnnpre").net_.module_.backbone.compiled


def test_cgcnn_alone_has_no_switch_of_its_own():
    assert "compile" not in CGCNN().get_params()
