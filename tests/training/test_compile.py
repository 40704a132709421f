"""``compile=True``: the same training by compiled functions, or a warning and the plain ones."""

import numpy as np
import pytest

from gnnpre import CGCNN, PropertyRegressor, TorchMDNet
from gnnpre.backbones import _edge_sum


@pytest.fixture(autouse=True)
def _fresh():
    """Forget compiled functions: they stay with the process."""
    _edge_sum._compiled.cache_clear()
    yield
    _edge_sum._compiled.cache_clear()


def test_the_same_training_but_for_rounding(fit):
    plain, compiled = (fit(dtype="float64", compile=compile) for compile in (False, True))
    assert compiled.net_.module_.backbone.compiled
    assert not plain.net_.module_.backbone.compiled
    losses = [[row["train_loss"] for row in model.history_] for model in (plain, compiled)]
    np.testing.assert_allclose(*losses, rtol=1e-9)


def test_the_attention_of_torchmdnet(graphs, labels):
    energies = labels.energy / labels.n_atoms
    predictions = []
    for compile in (False, True):
        backbone = TorchMDNet(8, 2, n_heads=2, n_radial=8)
        model = PropertyRegressor(
            backbone, max_epochs=1, random_state=0, dtype="float64", compile=compile
        )
        predictions.append(model.fit(graphs, energies).predict(graphs))
    np.testing.assert_allclose(*predictions, rtol=1e-9)


def test_without_a_compiler_training_goes_on_and_says_so(fit, monkeypatch):
    def broken(function, **kwargs):
        def call(*args):
            raise torch._dynamo.exc.TorchDynamoException("no compiler here")

        return call

    import torch._dynamo

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match=r"compile=True: torch.compile failed.*no compiler here"):
        compiled = fit(compile=True)
    plain = fit()
    for ours, theirs in zip(
        compiled.net_.module_.parameters(), plain.net_.module_.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_it_has_to_be_a_bool(fit):
    with pytest.raises(ValueError, match="compile"):
        fit(compile="yes")


def test_saved_models_keep_it(fit, tmp_path, graphs):
    from gnnpre import Pretrainer

    model = fit(compile=False).set_params(compile=True)
    model.save(tmp_path / "model.gnnpre")
    assert Pretrainer.load(tmp_path / "model.gnnpre").net_.module_.backbone.compiled


def test_cgcnn_alone_has_no_switch_of_its_own():
    assert "compile" not in CGCNN().get_params()
