"""Pooling of values of atoms to values of crystals."""

import torch
from torch import Tensor

__all__ = ["pool_atoms"]


def pool_atoms(values: Tensor, crystal: Tensor, n_atoms: Tensor, pooling: str) -> Tensor:
    """Pool values of atoms over each crystal: ``(N, C) -> (n, C)``, or ``(n, 3 C)``.

    Parameters
    ----------
    values : Tensor of shape (N, C)
        Values of the atoms.
    crystal : Tensor of shape (N,)
        Crystal of each atom.
    n_atoms : Tensor of shape (n,)
        Atoms of each crystal.
    pooling : {"sum", "mean", "max", "cumulants"}
        Cumulants are the mean, the variance and the third central moment.

    Returns
    -------
    Tensor of shape (n, C) or (n, 3 C)
        Values of the crystals.
    """
    if pooling == "max":
        return _maximum(values, crystal, len(n_atoms))
    total = _sum(values, crystal, len(n_atoms))
    if pooling == "sum":
        return total
    sizes = n_atoms[:, None].to(values.dtype)
    mean = total / sizes
    if pooling == "mean":
        return mean
    # index_select: the gradient of an index by a tensor sorts it first, on a GPU.
    centred = values - mean.index_select(0, crystal)
    square = centred * centred
    moments = [_sum(moment, crystal, len(n_atoms)) / sizes for moment in (square, square * centred)]
    return torch.cat([mean, *moments], dim=1)


def _sum(values: Tensor, crystal: Tensor, n: int) -> Tensor:
    # index_add, as segment_reduce has no second derivative.
    return values.new_zeros((n, *values.shape[1:])).index_add(0, crystal, values)


def _maximum(values: Tensor, crystal: Tensor, n: int) -> Tensor:
    lowest = values.new_full((n, values.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, crystal[:, None].expand_as(values), values, "amax")
