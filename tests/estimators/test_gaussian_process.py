"""Gaussian processes with block length scales, compared with scikit-learn and with plain refits."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from gnnpre.estimators._gaussian_process import ExactProcess, SparseProcess, stable_cholesky
from gnnpre.estimators._kernel_tuning import LeftOutError, tune_kernel
from gnnpre.estimators._process_kernel import ProcessKernel, inverse_of
from gnnpre.estimators._robust_process import Rows, fit_robustly
from gnnpre.estimators._target_transforms import TargetTransform

BLOCKS = (2, 3)
KERNEL = ProcessKernel(1.7, (0.8, 2.5), 0.05, BLOCKS)
PER_COLUMN = np.repeat(KERNEL.lengths, BLOCKS)


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    table = random.standard_normal((30, 5))
    z = np.sin(table[:, 0]) + 0.3 * table[:, 2]
    return table, z, random.uniform(0.5, 2.0, 30)


def reference(table, z, noise_scale):
    """Return scikit-learn's process: one length scale for each column is the general form."""
    kernel = ConstantKernel(KERNEL.amplitude) * Matern(PER_COLUMN, nu=1.5)
    alpha = KERNEL.noise * noise_scale
    return GaussianProcessRegressor(kernel, alpha=alpha, optimizer=None).fit(table, z)


def squares_of(table):
    blocks = np.split(table, np.cumsum(BLOCKS)[:-1], axis=1)
    return [np.square(block[:, None] - block[None]).sum(axis=2) for block in blocks]


GROUPS = np.random.default_rng(3).permutation(
    np.repeat(np.arange(12), [1] * 4 + [3] * 2 + [4] * 5 + [0])
)


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["rows", "groups"])
@pytest.mark.parametrize("name", ["identity", "log"])
def test_left_out_error_is_that_of_refits_and_has_its_gradient(data, name, groups):
    table, z, noise_scale = data
    y = np.exp(z)
    transform = TargetTransform(name).fit(y)
    error = LeftOutError(squares_of(table), y, transform, noise_scale, groups)
    theta = np.log([*KERNEL.lengths, KERNEL.noise / KERNEL.amplitude])
    value, gradient = error(theta)
    finite = approx_fprime(theta, lambda t: error(t)[0], 1e-6)
    np.testing.assert_allclose(gradient, finite, rtol=1e-4, atol=1e-6)
    left_out, _ = ExactProcess(KERNEL, table, transform.forward(y), noise_scale).left_out(
        table, transform.forward(y), noise_scale, np.arange(30) if groups is None else groups
    )
    residuals = (transform.inverse(left_out) - y) / np.abs(y - np.median(y)).mean()
    assert value == pytest.approx(np.sqrt(residuals**2 + 0.05**2).mean())


def test_exact_predictions_are_those_of_scikit_learn(data):
    new = np.random.default_rng(1).standard_normal((2500, 5))  # three chunks
    mean, std = ExactProcess(KERNEL, *data).predict(new)
    expected, noiseless = reference(*data).predict(new, return_std=True)
    np.testing.assert_allclose(mean, expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(std, np.sqrt(noiseless**2 + KERNEL.noise), rtol=1e-8)


@pytest.mark.parametrize("groups", [np.arange(30), np.arange(30) % 4], ids=["rows", "groups"])
def test_left_out_predictions_are_those_of_refits(data, groups):
    table, z, noise_scale = data
    process = ExactProcess(KERNEL, *data)
    mean, std = process.left_out(*data, groups)
    for group in np.unique(groups):
        out = groups == group
        refit = ExactProcess(KERNEL, table[~out], z[~out], noise_scale[~out])
        covariance = KERNEL(table[out], table[~out])
        np.testing.assert_allclose(mean[out], covariance @ refit.alpha, rtol=1e-7, atol=1e-9)
        _, deviations = refit.predict(table[out])
        np.testing.assert_allclose(std[out], deviations, rtol=1e-7)


def test_landmarks_at_all_rows_change_nothing(data):
    table, *_ = data
    exact = ExactProcess(KERNEL, *data)
    sparse = SparseProcess.fit(KERNEL, table, *data)
    new = np.random.default_rng(1).standard_normal((20, 5))
    for first, second in zip(sparse.predict(new), exact.predict(new), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("groups", [np.arange(30), np.arange(30) % 4], ids=["rows", "groups"])
def test_left_out_predictions_of_a_sparse_process(data, groups):
    table, z, noise_scale = data
    landmarks = table[::3]
    process = SparseProcess.fit(KERNEL, landmarks, *data)
    mean, std = process.left_out(*data, groups)
    for group in np.unique(groups):
        out = groups == group
        rest = SparseProcess.fit(KERNEL, landmarks, table[~out], z[~out], noise_scale[~out])
        expected, deviations = rest.predict(table[out])
        np.testing.assert_allclose(mean[out], expected, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(std[out], deviations, rtol=1e-6)


def test_few_landmarks_leave_the_deviation_of_the_prior_far_away(data):
    table, *_ = data
    process = SparseProcess.fit(KERNEL, table[:3], *data)
    mean, std = process.predict(np.full((1, 5), 1e3))
    assert abs(mean[0]) < 1e-6
    assert std[0] == pytest.approx(np.sqrt(KERNEL.amplitude + KERNEL.noise))


def test_the_irrelevant_block_gets_the_longer_scale():
    random = np.random.default_rng(0)
    table = random.standard_normal((200, 5))
    y = np.sin(2 * table[:, 0])
    kernel = tune_kernel(table, y, TargetTransform("identity").fit(y), np.ones(200), BLOCKS)
    assert kernel.lengths[1] > 10 * kernel.lengths[0]


def test_outliers_lose_their_weight(data):
    table, z, _ = data
    spoilt = z.copy()
    spoilt[[3, 17]] += 20
    rows = Rows(table, spoilt, np.ones(30), BLOCKS, np.arange(30))
    process, noise_scale = fit_robustly(KERNEL, rows, TargetTransform("identity").fit(z))
    assert set(np.argsort(noise_scale)[-2:]) == {3, 17}
    assert noise_scale[[3, 17]].min() > 100 * np.median(noise_scale)
    plain = ExactProcess(KERNEL, table, rows.y, np.ones(30))
    assert np.abs(process.predict(table)[0][3]) < 0.2 * np.abs(plain.predict(table)[0][3])


def test_equal_rows_and_the_inverse():
    singular = np.ones((3, 3))
    factor = stable_cholesky(singular)
    np.testing.assert_allclose(factor @ factor.T, singular, atol=1e-5)
    matrix = np.array([[2.0, 0.5], [0.5, 1.0]])
    np.testing.assert_allclose(inverse_of(stable_cholesky(matrix)), np.linalg.inv(matrix))
