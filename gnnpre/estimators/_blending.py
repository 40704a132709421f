"""The blend of several models: weights of their predictions, its errors and its intervals."""

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import eye_array, hstack, vstack

__all__ = [
    "blend_weights",
    "conformal_quantile",
    "conformal_scores",
    "crystals_for_confidence",
    "spread_of_members",
]


def blend_weights(predictions: np.ndarray, y: np.ndarray, sample_weight: np.ndarray) -> np.ndarray:
    """Return non-negative weights, summing to 1, with the least absolute error.

    It is the linear programme: minimise the weighted sum of ``u`` over ``(a, u)`` where
    ``-u <= P a - y <= u``, ``a >= 0`` and ``sum(a) = 1``.

    Parameters
    ----------
    predictions : ndarray of shape (n, m)
        Out-of-fold predictions of m models.
    y : ndarray of shape (n,)
        True values.
    sample_weight : ndarray of shape (n,)
        Weights of the rows.

    Returns
    -------
    ndarray of shape (m,)
        Weights of the models.
    """
    n, m = predictions.shape
    if m == 1:
        return np.ones(1)
    # In units of the spread, so that the tolerances of the solver fit any property.
    center, unit = np.median(y), np.abs(y - np.median(y)).mean()
    if not unit > 0:
        return np.full(m, 1 / m)
    P, z = (predictions - center) / unit, (y - center) / unit
    bounds = [(0, None)] * (m + n)
    costs = np.concatenate([np.zeros(m), sample_weight / sample_weight.sum()])
    identity = eye_array(n)
    above, below = hstack([P, -identity]), hstack([-P, -identity])
    simplex = np.concatenate([np.ones(m), np.zeros(n)])[None, :]
    result = linprog(
        costs,
        A_ub=vstack([above, below]).tocsr(),
        b_ub=np.concatenate([z, -z]),
        A_eq=simplex,
        b_eq=[1.0],
        bounds=bounds,
    )
    if not result.success:
        raise ValueError(f"The weights of the members cannot be fitted: {result.message}")
    weights = np.clip(result.x[:m], 0, None)
    return np.asarray(weights / weights.sum())


def spread_of_members(predictions: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the weighted standard deviation of the members, ``(n,)``."""
    blend = predictions @ shares
    spread: np.ndarray = np.sqrt(np.square(predictions - blend[:, None]) @ shares)
    return spread


def conformal_scores(residuals: np.ndarray, spread: np.ndarray) -> tuple[float, np.ndarray]:
    """Return how large residuals are beside the disagreement of the members.

    Parameters
    ----------
    residuals : ndarray of shape (n,)
        Absolute errors of the blend, out of fold.
    spread : ndarray of shape (n,)
        Result of :func:`spread_of_members`.

    Returns
    -------
    floor : float
        Constant that is added to the spread, so that members which agree are not sure.
    scores : ndarray of shape (n,)
        Residuals in units of ``spread + floor``, ascending.
    """
    # More than half of the residuals may vanish, where most crystals have one value.
    floor = float(np.median(residuals) or residuals.mean())
    widths = spread + floor
    return floor, np.sort(residuals / np.where(widths > 0, widths, np.inf))


def conformal_quantile(scores: np.ndarray, confidence: float) -> float:
    """Return the conformal quantile: the smallest score that covers n + 1 crystals in n."""
    rank = int(np.ceil(confidence * (len(scores) + 1)))
    if rank > len(scores):
        needed = crystals_for_confidence(confidence)
        raise ValueError(
            f"confidence={confidence} needs at least {needed} crystals to calibrate with; the "
            f"ensemble was trained on {len(scores)}. Lower confidence, or add crystals."
        )
    return float(scores[rank - 1])


def crystals_for_confidence(confidence: float) -> int:
    """Return the smallest number n of crystals whose n scores have a conformal quantile."""
    needed = int(np.ceil(confidence / (1.0 - confidence)))
    # Rounding: 0.9 / (1 - 0.9) is a little more than 9.
    return needed - 1 if np.ceil(needed * confidence) < needed else needed
