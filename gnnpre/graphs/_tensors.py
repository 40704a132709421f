"""From NumPy arrays to tensors that share their memory."""

import warnings

import numpy as np
import torch
from torch import Tensor

__all__ = ["share_memory"]


def share_memory(array: np.ndarray) -> Tensor:
    """Return a tensor on the memory of ``array``, which may be a read-only memory map.

    torch warns of read-only memory because writing to it would crash; graphs are never written to.
    """
    if array.flags.writeable:  # without a look at the filters, which threads share
        return torch.from_numpy(array)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
