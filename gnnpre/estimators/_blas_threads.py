"""The number of threads of linear algebra: one where matrices are small."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock

import scipy.linalg  # noqa: F401  loads the library that the controller finds
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]  # no annotations

__all__ = ["suitable_blas_threads"]

#: Rows up to which kernel machines use one thread. On two quiet cores, two threads took twice as
#: long for 100 to 1,000 rows and as long for 2,000; beside other programs up to twenty times as
#: long, because each of hundreds of short calls waits until all threads have run.
LARGEST_SERIAL = 2000

_limit = Lock()


@contextmanager
def suitable_blas_threads(n_rows: int) -> Iterator[None]:
    """Run linear algebra of NumPy and SciPy with one thread where more would slow it down.

    Parameters
    ----------
    n_rows : int
        Rows of the largest matrix.
    """
    # The limit is one of the process. Threads of Python that overlap, and each restored what they
    # found, would leave that of another one: the first alone sets it, and lifts it.
    if n_rows > LARGEST_SERIAL or not _limit.acquire(blocking=False):
        yield
        return
    try:
        with _controller().limit(limits=1, user_api="blas"):
            yield
    finally:
        _limit.release()


@cache
def _controller() -> ThreadpoolController:
    # A search for loaded libraries takes a millisecond, and a fit has dozens of limits. Those of
    # NumPy and SciPy are loaded by now.
    return ThreadpoolController()
