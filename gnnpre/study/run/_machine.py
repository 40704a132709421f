"""The machine and the versions that produced a record."""

import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gnnpre._version import __version__

__all__ = ["describe_commit", "describe_machine", "describe_versions"]

PACKAGES = ("torch", "scikit-learn", "numpy", "pymatgen", "skorch", "torch-geometric")


def describe_versions() -> dict[str, str]:
    """Return the versions of the packages that decide a result."""
    packages = {name: version(name) for name in PACKAGES}
    return {"gnnpre": __version__, "python": platform.python_version(), **packages}


def describe_machine(device: str, threads: int) -> dict[str, Any]:
    """Return processor, cores, threads and device."""
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    }


@lru_cache(maxsize=1)
def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


@lru_cache(maxsize=1)
def describe_commit() -> str:
    """Return the commit of the package's checkout, marked if it was changed, or its version.

    Looked up once in a process: imported code does not change with the checkout.
    """
    folder = Path(__file__).parent
    commit = _git(folder, "rev-parse", "HEAD")
    # An installed package inside some other repository has that one's commit, not gnnpre's.
    if commit is None or _git(folder, "ls-files", "--error-unmatch", "_machine.py") is None:
        return f"gnnpre {__version__}"
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "../..")
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *command: str) -> str | None:
    """Return the output of git, None where there is no git or no repository."""
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
