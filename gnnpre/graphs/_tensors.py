"""From arrays and tensors of the host to those of a device."""

import warnings

import numpy as np
import torch
from torch import Tensor

__all__ = ["send", "share_memory"]


def share_memory(array: np.ndarray) -> Tensor:
    """Return a tensor on the memory of ``array``, which may be a read-only memory map.

    torch warns of read-only memory because writing to it would crash; graphs are never written to.
    """
    if array.flags.writeable:  # without a look at the filters, which threads share
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor of the host to a device, which neither side waits for.

    A copy from ordinary memory is queued at once only if it is small; from pinned memory, always.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
