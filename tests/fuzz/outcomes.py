"""Classes of outcomes, and the rules by which a case is put into one of them."""

import dis
import math
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import sklearn
import torch

import gnnpre

CLEAR, RIGHT, WRONG, RAW, NAN, CRASH, HANG, MEMORY, BROKEN = OUTCOMES = (
    "clear error",
    "right result",
    "wrong result",
    "raw error",
    "silent NaN",
    "crash",
    "hang",
    "memory",
    "broken case",
)
#: What must never happen.
FAULTS = frozenset(OUTCOMES) - {CLEAR, RIGHT}

#: Errors that gnnpre and scikit-learn raise on purpose; NotFittedError is a ValueError.
PURPOSEFUL = (ValueError, TypeError, IndexError, KeyError, OSError, ImportError, FloatingPointError)
LIBRARIES = tuple(str(Path(package.__file__).parent) for package in (gnnpre, sklearn))


class WrongResult(AssertionError):
    """The result differs from that of an independent calculation."""


def classify_error(error: BaseException) -> str:
    """Return the class of outcome of a case that raised ``error``."""
    if isinstance(error, WrongResult):
        return WRONG
    if any(_is_out_of_memory(link) for link in _chain(error)):
        return MEMORY
    return CLEAR if _is_raised_on_purpose(error) else RAW


def classify_result(result: Any) -> str:
    """Return the class of outcome of a case that returned ``result``."""
    return RIGHT if all(_is_finite(array) for array in _arrays(result)) else NAN


def location(error: BaseException) -> str:
    """Return file and line of the innermost frame that belongs to gnnpre."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if LIBRARIES[0] in frame.filename
    ]
    if not frames:
        return "outside gnnpre"
    return f"{Path(frames[-1].filename).relative_to(LIBRARIES[0])}:{frames[-1].lineno}"


def _is_raised_on_purpose(error: BaseException) -> bool:
    """Whether the error comes from a ``raise`` statement of gnnpre or scikit-learn.

    ``int("a")`` within gnnpre raises a ValueError too,
    but no ``raise`` of ours has been executed.
    """
    if not isinstance(error, PURPOSEFUL) or error.__traceback__ is None or not str(error).strip():
        return False
    if isinstance(error, OSError) and error.filename is not None:
        return True  # "No such file or directory: 'none.xyz'" says all there is to say
    innermost = _innermost(error.__traceback__)
    code = innermost.tb_frame.f_code
    instruction = dis.opname[code.co_code[innermost.tb_lasti]]
    return instruction == "RAISE_VARARGS" and code.co_filename.startswith(LIBRARIES)


def _innermost(trace: TracebackType) -> TracebackType:
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and all that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)


def _arrays(result: Any) -> Iterator[Any]:
    """Yield all numbers within a result."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple)):
        for entry in result:
            yield from _arrays(entry)
    elif isinstance(result, gnnpre.FrameLabels):
        yield from _arrays([result.energy, result.forces, result.stress])
    elif isinstance(result, gnnpre.CrystalGraphs):
        yield from (result.positions, result.cell)
    elif isinstance(result, (np.ndarray, torch.Tensor, float, np.floating)):
        yield result


def _is_finite(array: Any) -> bool:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().numpy()
    if isinstance(array, float):
        return math.isfinite(array)
    values = np.asarray(array)
    return values.dtype.kind not in "fc" or bool(np.isfinite(values).all())
