"""Recorded steps, by a double on the CPU that runs again what a GPU would repeat."""

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from cases import BACKBONES, CUTOFF, OBJECTIVES, make_labels
from gnnpre import CGCNN, Denoising, ForceField, Pretrainer, PropertyRegressor, PropertyTargets
from gnnpre.exceptions import PerformanceWarning
from gnnpre.training import _cuda_graphs
from gnnpre.training._average import combine
from gnnpre.training._padding import _rounded_up, pad_batch, pad_targets, padded_size
from gnnpre.training._steps import evaluate

TASKS = {"forces": ForceField(), "property": PropertyTargets()}
CASES = {
    **{f"{b}-{t}": (BACKBONES[b], TASKS[t]) for b in BACKBONES for t in TASKS},
    **{name: (BACKBONES["torchmdnet"], objective) for name, objective in OBJECTIVES.items()},
}
#: Cases in which crystals of a batch depend on one another, or see copies of the batch.
WHOLE = {"cgcnn_batch_norm-forces", "cgcnn_batch_norm-property", "two_views", "mixture"}


class Rerun:
    """Runs the function again; counts the records."""

    records = 0

    def __init__(self, device):
        self.device = device

    def warm_up(self, function):
        return function()

    def record(self, function):
        Rerun.records += 1
        self.function = function

    def replay(self):
        return self.function()


@pytest.fixture
def rerun(monkeypatch):
    monkeypatch.setitem(_cuda_graphs.RECORDERS, "cpu", Rerun)
    monkeypatch.setattr(Rerun, "records", 0)
    return Rerun


def gradients(model, batch, targets):
    model.zero_grad()
    loss = combine(evaluate(model, (batch, targets))[0], step=True)
    loss.backward()
    return loss.detach(), {
        n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("name", CASES)
def test_crystals_that_fill_up_a_batch_change_nothing(graphs, name):
    backbone, objective = CASES[name]
    targets = objective.make_targets(graphs, make_labels(objective, graphs))
    model = objective.build(backbone.build(CUTOFF, 12.5), objective.layout(targets)).double()
    rows = np.arange(7)
    model.set_statistics(graphs, targets, rows)
    batch = graphs.batch(rows, torch.float64)
    labels = model.standardize(targets.batch(rows, torch.float64), batch)
    labels["sample_weight"] = torch.linspace(0.5, 2.0, len(rows), dtype=torch.float64)
    if model.left_out is None:
        assert name in WHOLE
        return
    batch, labels = model.perturb(batch, labels, torch.Generator().manual_seed(0))
    size = padded_size(batch)
    padded = pad_batch(batch, size), pad_targets(labels, batch, size, model.left_out)
    assert tuple(size) == (len(padded[0]), len(padded[0].batch), len(padded[0].edge_vectors))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    loss, by = gradients(model, batch, labels)
    model.load_state_dict(state)
    same_loss, same_by = gradients(model, *padded)
    is_equal = torch.allclose(loss, same_loss, rtol=1e-9) and all(
        torch.allclose(same_by[key], by[key], rtol=1e-7, atol=1e-10) for key in by
    )
    assert is_equal == (name not in WHOLE)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9, "validation_fraction": 0.2, "gradient_clip": 0.1},
        {"objective": Denoising(scale="running")},
        {"objective": PropertyTargets(), "max_edges": 400},
    ],
)
def test_recorded_steps_train_the_same_model(graphs, labels, rerun, changes):
    parameters = {"objective": ForceField(), "max_epochs": 4, "batch_size": 6, **changes}
    is_property = isinstance(parameters["objective"], PropertyTargets)
    y = labels.energy / labels.n_atoms if is_property else labels
    y = None if isinstance(parameters["objective"], Denoising) else y

    def weights(compile):
        model = Pretrainer(CGCNN(8, 1), dtype="float64", random_state=0, compile=compile)
        return model.set_params(**parameters).fit(graphs, y).net_.module_.state_dict()

    ordinary = weights("auto")
    assert rerun.records == 0
    recorded = weights("cuda_graphs")
    assert rerun.records > 0
    for name, value in recorded.items():
        # Rates are in single precision, where a GPU reads them.
        torch.testing.assert_close(value, ordinary[name], rtol=1e-5, atol=1e-7)


def test_layers_that_are_frozen_for_a_while(graphs, labels, rerun):
    y = labels.energy / labels.n_atoms
    source = FrozenEstimator(Pretrainer(CGCNN(8, 1), max_epochs=1).fit(graphs, labels))

    def predictions(compile, strategy="frozen_then_full"):
        model = PropertyRegressor(
            pretrained=source,
            strategy=strategy,
            frozen_epochs=0.5,
            max_epochs=6,
            batch_size=6,
            dtype="float64",
            random_state=0,
            compile=compile,
        )
        return model.fit(graphs, y).predict(graphs)

    np.testing.assert_allclose(predictions("cuda_graphs"), predictions("auto"), rtol=1e-4)
    n_records = rerun.records
    predictions("cuda_graphs", "head")
    # Steps of the frozen backbone are not repeated once it is trained.
    assert n_records > rerun.records - n_records


def test_a_step_that_cannot_be_recorded_is_an_ordinary_one(fit, rerun, monkeypatch):
    def record(self, function):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(Rerun, "record", record)
    with pytest.warns(PerformanceWarning, match=r"cuda_graphs.*not permitted when stream"):
        model = fit(compile="cuda_graphs", ema_decay=0.9, max_epochs=8)
    same = fit(ema_decay=0.9, max_epochs=8)
    assert model.history_[-1]["train_loss"] == pytest.approx(same.history_[-1]["train_loss"], 1e-5)


def test_the_reason_is_named(fit, graphs, labels, rerun, recorder, monkeypatch):
    with pytest.warns(PerformanceWarning, match="a callback looks at single batches"):
        fit(compile="cuda_graphs", callbacks=[recorder])
    monkeypatch.delitem(_cuda_graphs.RECORDERS, "cpu")
    with pytest.warns(PerformanceWarning, match="runs on 'cpu', not on a GPU"):
        fit(compile="cuda_graphs")


@pytest.mark.parametrize("backbone", [CGCNN(8, 1, batch_norm=True), CGCNN(8, 1)])
def test_batches_whose_crystals_depend_on_one_another_are_not_filled_up(
    graphs, labels, rerun, backbone, monkeypatch
):
    if not backbone.batch_norm:  # a network of the user's own, of which nobody knows

        class Centred(nn.Module):
            def forward(self, x):
                return x - x.mean(dim=0)

        build = type(backbone).build

        def with_centring(self, *args):
            module = build(self, *args)
            module.layers[0].norm = Centred()
            return module

        monkeypatch.setattr(CGCNN, "build", with_centring)
    reason = "batch normalization" if backbone.batch_norm else "depends on crystals that no loss"
    with pytest.warns(PerformanceWarning, match=reason):
        Pretrainer(backbone, max_epochs=2, batch_size=8, compile="cuda_graphs").fit(graphs, labels)
    assert rerun.records == 0


def test_few_sizes(graphs):
    sizes = {padded_size(graphs.batch(np.arange(start, start + 8))) for start in range(10)}
    assert len(sizes) < 10
    for n in (1, 7, 8, 100, 1000, 10_007):
        assert n <= _rounded_up(n) <= max(8, 1.126 * n)
