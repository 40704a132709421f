"""Devices that the parameter ``device`` names."""

from typing import Any

import torch

__all__ = ["device_or_cpu", "resolve_device"]


def resolve_device(device: Any, auto: bool = True) -> torch.device:
    """Return the device of a name; with ``auto``, ``"auto"`` is a GPU if there is one."""
    expected = "expected " + ("'auto', " if auto else "") + "'cpu', 'cuda' or 'cuda:0'"
    if not isinstance(device, (str, torch.device)):
        raise ValueError(f"device={device!r}; {expected}.")
    if auto and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # torch accepts names of devices that this machine lacks.
    anywhere = "'auto' or 'cpu'" if auto else "'cpu'"
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r}; {expected}.") from error
    if resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"device={device!r}; {expected}.")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r}, but torch sees {torch.cuda.device_count()} GPUs; expected "
            f"{anywhere}."
        )
    return resolved


def device_or_cpu(device: Any) -> torch.device:
    """Return the device of a name, or the CPU on a machine without that GPU."""
    try:
        return resolve_device(device)
    except ValueError:
        return torch.device("cpu")
