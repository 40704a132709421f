"""Batches that are filled up to one of a few sizes, by crystals that no loss counts."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gnnpre.graphs import CrystalBatch

__all__ = ["BatchSize", "pad_batch", "pad_targets", "padded_size"]

# Edge of the cubic cells that fill up a batch, in Å, and the length of all their edges.
CELL = 10.0


class BatchSize(NamedTuple):
    """Numbers of crystals, atoms and edges."""

    crystals: int
    atoms: int
    edges: int


def padded_size(batch: CrystalBatch) -> BatchSize:
    """Return the size that a batch is filled up to: an eighth more of each, at most, and one."""
    crystals = _rounded_up(len(batch) + 1)
    # Each added crystal has an atom: a mean over none would be NaN.
    atoms = _rounded_up(len(batch.atomic_numbers) + crystals - len(batch))
    return BatchSize(crystals, atoms, _rounded_up(len(batch.edge_vectors) + 1))


def _rounded_up(count: int) -> int:
    step = 1 << max(3, count.bit_length() - 4)
    return -(-count // step) * step


def pad_batch(batch: CrystalBatch, size: BatchSize) -> CrystalBatch:
    """Add crystals of hydrogen, each atom of which sees images of itself alone.

    Parameters
    ----------
    batch : CrystalBatch
        The crystals.
    size : BatchSize
        Numbers to fill up to, from :func:`padded_size`.

    Returns
    -------
    CrystalBatch
        The crystals, and after them the added ones.
    """
    n, n_atoms = len(batch), len(batch.atomic_numbers)
    crystals, atoms = size.crystals - n, size.atoms - n_atoms
    edges = size.edges - len(batch.edge_vectors)
    device = batch.positions.device
    # 1. one atom for each crystal, and all that remain for the last
    counts = torch.ones(crystals, dtype=batch.n_atoms.dtype, device=device)
    counts[-1:].fill_(atoms - crystals + 1)
    of_atoms = n + torch.arange(atoms, device=device).clamp(max=crystals - 1)
    # 2. edges shared out among the atoms: a GPU sums those of one atom one after the other
    ends = n_atoms + torch.arange(edges, device=device) * atoms // edges
    along_x = torch.zeros(edges, 3, dtype=torch.int8, device=device)
    along_x[:, :1].fill_(1)
    cell = CELL * torch.eye(3, dtype=batch.cell.dtype, device=device)
    added = {
        "atomic_numbers": torch.ones(atoms, dtype=torch.int64, device=device),
        "positions": batch.positions.new_zeros(atoms, 3),
        "cell": cell.expand(crystals, 3, 3),
        "pbc": torch.ones(crystals, 3, dtype=torch.bool, device=device),
        "n_atoms": counts,
        "edge_index": ends.expand(2, edges),
        "edge_shift": along_x.to(batch.edge_shift.dtype),
        "edge_vectors": CELL * along_x.to(batch.edge_vectors.dtype),
        "batch": of_atoms,
    }
    along = {name: int(name == "edge_index") for name in added}
    return CrystalBatch(
        **{name: torch.cat([getattr(batch, name), x], along[name]) for name, x in added.items()}
    )


def pad_targets(
    targets: Mapping[str, Tensor],
    batch: CrystalBatch,
    size: BatchSize,
    left_out: Mapping[str, float],
) -> dict[str, Tensor]:
    """Add targets of the added crystals and atoms, which no loss counts.

    Parameters
    ----------
    targets : mapping of str to Tensor
        Targets with a row for each crystal, or for each atom, of which there are more.
    batch : CrystalBatch
        The crystals, before others were added.
    size : BatchSize
        Numbers to fill up to.
    left_out : mapping of str to float
        Values that a loss leaves out, by name; NaN for other names.

    Returns
    -------
    dict of str to Tensor
        The targets.
    """
    lengths = {len(batch.atomic_numbers): size.atoms, len(batch): size.crystals}
    # Losses are multiplied by weights, so that NaN would spread.
    fills = {"sample_weight": 0.0, **left_out}
    padded = {}
    for name, values in targets.items():
        shape = (lengths[len(values)] - len(values), *values.shape[1:])
        # Codes, such as those of sources, which only float targets tell whether to count.
        fill = fills.get(name, torch.nan if values.is_floating_point() else 0)
        padded[name] = torch.cat([values, values.new_full(shape, fill)])
    return padded
