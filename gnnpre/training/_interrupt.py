"""Ctrl-C during a training, told apart from callbacks that end it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._net import CrystalNet

__all__ = ["CtrlC", "TrainingInterrupted", "ignore_ctrl_c", "watch_ctrl_c"]


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
