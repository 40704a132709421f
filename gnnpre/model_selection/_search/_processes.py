"""Which process runs a trial, and whether it still does."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["is_here", "this_process", "was_killed"]


def this_process() -> dict[str, Any]:
    """Describe this process, JSON-able, so that no later one can be taken for it."""
    return {"host": platform.node(), "pid": os.getpid(), "started": _start(os.getpid())}


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether a process is one of this machine, so that it can be asked for."""
    # On Windows there is no signal that does nothing.
    return owner["host"] == platform.node() and os.name == "posix"


def was_killed(owner: Mapping[str, Any]) -> bool:
    """Whether a process of this machine is no more."""
    if not is_here(owner):
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, for another user
        pass
    return owner["started"] is not None and _start(owner["pid"]) != owner["started"]


def _start(pid: int) -> str | None:
    """Boot and clock tick that a process began in, where the system says so (Linux)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    is_zombie = fields[0] in "ZX"
    return None if is_zombie else f"{boot}/{fields[19]}"
