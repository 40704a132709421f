"""Losses of entries against NumPy, with labels missing and samples weighted."""

import numpy as np
import pytest
import torch
from scipy.special import huber

from gnnpre.objectives import LossTerm
from gnnpre.objectives._losses import LOSSES, masked_term
from gnnpre.training._average import LossTotals, combine

DELTA = 0.3
ENTRY_LOSS = {
    "l1": np.abs,
    "mse": np.square,
    "huber": lambda error: huber(DELTA, error),
}


def make_entries(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Predictions, and targets of which a third is missing."""
    rng = np.random.default_rng(0)
    prediction, target = rng.normal(size=(2, *shape))
    target[rng.random(shape) < 0.3] = np.nan
    assert np.isnan(target).any()
    return prediction, target


def term(prediction, target, loss, sample_weight=None) -> LossTerm:
    if sample_weight is not None:
        sample_weight = torch.as_tensor(sample_weight)
    return masked_term(
        torch.as_tensor(prediction),
        torch.as_tensor(target),
        loss=loss,
        huber_delta=DELTA,
        weight=7.0,
        sample_weight=sample_weight,
    )


def test_every_loss_has_an_oracle():
    assert set(ENTRY_LOSS) == set(LOSSES)


@pytest.mark.parametrize("shape", [(9,), (9, 3), (9, 3, 3)], ids=["energy", "forces", "stress"])
@pytest.mark.parametrize("loss", LOSSES)
class TestAgainstNumPy:
    def test_missing_labels_are_left_out(self, loss, shape):
        prediction, target = make_entries(shape)
        result = term(prediction, target, loss)
        present = np.isfinite(target)
        values = ENTRY_LOSS[loss]((prediction - target)[present])
        assert float(result.total) == pytest.approx(values.sum(), rel=1e-12)
        assert float(result.count) == present.sum()
        assert float(result.mean) == pytest.approx(values.mean(), rel=1e-12)
        assert result.weight == 7.0

    def test_sample_weight(self, loss, shape):
        prediction, target = make_entries(shape)
        weights = np.random.default_rng(1).uniform(0.0, 3.0, size=9)
        weights[4] = 0.0
        result = term(prediction, target, loss, weights)
        present = np.isfinite(target)
        rows = np.broadcast_to(weights.reshape(-1, *[1] * (len(shape) - 1)), shape)[present]
        values = ENTRY_LOSS[loss]((prediction - target)[present])
        assert float(result.mean) == pytest.approx(np.average(values, weights=rows), rel=1e-12)
        assert float(result.count) == pytest.approx(rows.sum(), rel=1e-12)

    def test_all_missing_is_zero_with_zero_gradient(self, loss, shape):
        prediction = torch.ones(shape, requires_grad=True)
        result = term(prediction, torch.full(shape, torch.nan), loss)
        assert result.mean.item() == 0.0
        result.mean.backward()
        assert torch.equal(prediction.grad, torch.zeros(shape))

    def test_gradient_of_missing_labels_is_zero(self, loss, shape):
        prediction, target = make_entries(shape)
        prediction = torch.tensor(prediction, requires_grad=True)
        term(prediction, target, loss).mean.backward()
        present = torch.isfinite(torch.tensor(target))
        assert torch.isfinite(prediction.grad).all()
        assert (prediction.grad[present] != 0).all()
        assert (prediction.grad[~present] == 0).all()

    def test_prediction_that_is_no_number_is_not_taken_for_a_missing_label(self, loss, shape):
        """A training that diverged must not end with a loss of zero."""
        target = torch.zeros(shape)
        assert torch.isnan(term(torch.full(shape, torch.nan), target, loss).mean)


def test_huber_delta_is_where_the_loss_turns_linear():
    result = term([0.1, 2.0], [0.0, 0.0], "huber")
    assert float(result.total) == pytest.approx(0.5 * 0.1**2 + DELTA * (2.0 - DELTA / 2))


def test_losses_add_up_over_batches_of_any_size():
    prediction, target = make_entries((10, 3))
    totals = LossTotals()
    for rows in (slice(0, 1), slice(1, 8), slice(8, 10)):
        totals.add({"forces": term(prediction[rows], target[rows], "l1")})
    expected = np.nanmean(np.abs(prediction - target))
    assert totals.means() == pytest.approx({"loss": 7.0 * expected, "forces": expected})


def test_loss_is_the_weighted_sum_of_the_means():
    terms = {
        "energy": LossTerm(torch.tensor(6.0), torch.tensor(3.0), 1.0),
        "forces": LossTerm(torch.tensor(8.0), torch.tensor(16.0), 500.0),
    }
    assert float(combine(terms)) == 2.0 + 500.0 * 0.5
