"""Identity of processes: which one owns a trial or a temporary file, and whether it still runs."""

import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["is_here", "this_process", "was_killed"]


def this_process() -> dict[str, Any]:
    """Describe this process as JSON-serializable values that no later process shares."""
    return {"host": platform.node(), "pid": os.getpid(), "started": _start(os.getpid())}


def is_here(owner: Mapping[str, Any]) -> bool:
    """Return whether a process runs on this machine, so that its state can be checked."""
    # On Windows there is no signal that does nothing.
    return owner["host"] == platform.node() and os.name == "posix"


def was_killed(owner: Mapping[str, Any]) -> bool:
    """Return whether a process of this machine has ended."""
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
    """Return the boot and the clock tick in which a process started (Linux), else None."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    is_zombie = fields[0] in "ZX"
    return None if is_zombie else f"{boot}/{fields[19]}"
