"""Threads of linear algebra: one while small kernel machines are fitted, and all again after."""

from threading import Event, Thread

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gnnpre.estimators import KernelClassifier, KernelRegressor, _blas_threads, _robust_process
from gnnpre.estimators._blas_threads import suitable_blas_threads


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def set_blas_threads(n: int) -> None:
    # In a thread that ends: what a thread sets, no other may change as long as it lives.
    thread = Thread(target=threadpool_limits, args=(n,), kwargs={"user_api": "blas"})
    thread.start()
    thread.join(60)


@pytest.fixture(autouse=True)
def _two_threads():
    before = max(blas_threads())
    set_blas_threads(2)
    if blas_threads() != {2}:
        pytest.skip("This BLAS has one thread.")
    yield
    set_blas_threads(before)


def test_small_matrices_have_one_thread_and_large_ones_all():
    with suitable_blas_threads(_blas_threads.LARGEST_SERIAL):
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    with suitable_blas_threads(_blas_threads.LARGEST_SERIAL + 1):
        assert blas_threads() == {2}


def test_threads_return_after_an_error():
    with pytest.raises(KeyError), suitable_blas_threads(10):
        raise KeyError
    assert blas_threads() == {2}


def test_overlapping_fits_leave_the_threads_of_before():
    is_inside, may_leave = Event(), Event()

    def overlap():
        with suitable_blas_threads(10):
            is_inside.set()
            may_leave.wait(60)

    later = Thread(target=overlap)
    with suitable_blas_threads(10):
        later.start()
        assert is_inside.wait(60)
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    may_leave.set()
    later.join(60)
    assert blas_threads() == {2}


def test_kernel_machines_are_tuned_with_one_thread(monkeypatch):
    random = np.random.default_rng(0)
    table = random.standard_normal((40, 3))
    during = []

    def watch(target, name):
        original = getattr(target, name)

        def watched(*arguments, **keywords):
            during.append(blas_threads())
            return original(*arguments, **keywords)

        monkeypatch.setattr(target, name, watched)

    watch(_robust_process, "tune_kernel")
    KernelRegressor(random_state=0).fit(table, table[:, 0])
    watch(KernelClassifier, "_regression")
    KernelClassifier(random_state=0).fit(table, table[:, 0] > 0)
    assert len(during) > 4
    assert all(threads == {1} for threads in during)
    assert blas_threads() == {2}
