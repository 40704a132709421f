"""Ctrl-C during a training, told apart from callbacks that end it, and when it has to wait."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._net import CrystalNet

__all__ = [
    "CtrlC",
    "TrainingInterrupted",
    "allow_ctrl_c",
    "delay_ctrl_c",
    "ignore_ctrl_c",
    "watch_ctrl_c",
]


class CtrlC:
    """Whether the user has pressed Ctrl-C."""

    def __init__(self) -> None:
        self.pressed = False


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C in a training that has done some epochs; ``net`` has the best weights so far."""

    def __init__(self, net: "CrystalNet") -> None:
        super().__init__("The training was interrupted; the best weights so far are kept.")
        self.net = net

    def __reduce__(self) -> Any:
        # Other processes that train together are told of Ctrl-C, not of the net.
        return KeyboardInterrupt, self.args


class _Delay:
    """Handler of SIGINT that notes the signal for later."""

    def __init__(self, usual: Any) -> None:
        self.usual = usual
        self.pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True


@contextmanager
def delay_ctrl_c() -> Iterator[None]:
    """Delay Ctrl-C to the end of a block of code, but for parts under :func:`allow_ctrl_c`.

    For code that Ctrl-C would leave in a bad state: imports, which Python does not repeat, and
    transactions of libraries.
    """
    usual = _current_handler()
    if not callable(usual) or isinstance(usual, _Delay):
        yield  # another thread, Ctrl-C means nothing here, or it is delayed already
        return
    delay = _Delay(usual)
    signal.signal(signal.SIGINT, delay)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if delay.pressed:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def allow_ctrl_c() -> Iterator[None]:
    """Allow Ctrl-C, within a block under :func:`delay_ctrl_c`, while this block runs."""
    delay = _current_handler()
    if not isinstance(delay, _Delay):
        yield
        return
    try:
        signal.signal(signal.SIGINT, delay.usual)
        if delay.pressed:
            delay.pressed = False
            signal.raise_signal(signal.SIGINT)
        yield
    finally:
        signal.signal(signal.SIGINT, delay)


def _current_handler() -> Any:
    """Return the handler of SIGINT; None in threads, which cannot change it."""
    is_main = threading.current_thread() is threading.main_thread()
    return signal.getsignal(signal.SIGINT) if is_main else None


@contextmanager
def ignore_ctrl_c() -> Iterator[None]:
    """Leave Ctrl-C, in a block of code, to the process that leads."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def watch_ctrl_c() -> Iterator[CtrlC]:
    """Note whether Ctrl-C is pressed in a block of code, in which it raises KeyboardInterrupt.

    skorch's callbacks end a training by raising KeyboardInterrupt themselves, which must not be
    taken for the user's.
    """
    ctrl_c = CtrlC()
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield ctrl_c  # another handler decides what Ctrl-C means
        return

    def note(number: int, frame: FrameType | None) -> None:
        ctrl_c.pressed = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield ctrl_c
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
