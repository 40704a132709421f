"""The time that a training may take."""

import re
import time
from typing import Any

from gnnpre._validation import check_number

__all__ = ["TimeLimit", "seconds_of"]

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)\s*")


def seconds_of(max_time: Any) -> float | None:
    """Return a time in seconds; text is a sum such as ``"1h 30min"``, and None no limit.

    Raises
    ------
    ValueError
        If it is not a positive number of seconds, nor such text.
    """
    if max_time is None:
        return None
    if not isinstance(max_time, str):
        check_number("max_time", max_time)
        return float(max_time)
    seconds = sum(float(value) * UNITS[unit] for value, unit in _TIME.findall(max_time))
    if _TIME.sub("", max_time.strip()) or seconds <= 0:
        raise ValueError(
            f"max_time={max_time!r}; expected a number of seconds, or text with units such as "
            f"'90s', '10min' or '1h 30min' ({', '.join(UNITS)})."
        )
    return seconds


class TimeLimit:
    """How much of its time a training has used: a fraction that only grows.

    Parameters
    ----------
    seconds : float or None
        Time of the whole training; None for no limit.
    spent : float
        Time that the training took before it was interrupted and resumed.
    """

    def __init__(self, seconds: float | None, spent: float = 0.0) -> None:
        self.seconds = seconds
        self.start = time.perf_counter() - spent
        #: Time of a validation, which the last epoch needs after its steps.
        self.validation = 0.0
        self._used = 0.0

    def used(self) -> float:
        """Return the fraction of the time for steps that is over, from 0 to 1."""
        if self.seconds is None:
            return 0.0
        elapsed = time.perf_counter() - self.start
        # The longer a validation turns out to take, the less time there is for steps.
        for_steps = max(self.seconds - self.validation, 1e-9)
        self._used = min(1.0, max(self._used, elapsed / for_steps))
        return self._used

    def is_over(self) -> bool:
        """Return whether no further step should be made."""
        return self.used() >= 1.0

    def remaining(self) -> float:
        """Return the seconds until the limit; infinity without one."""
        if self.seconds is None:
            return float("inf")
        return max(0.0, self.seconds - (time.perf_counter() - self.start))
