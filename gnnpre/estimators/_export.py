"""A trained model of properties as a program of PyTorch, without gnnpre."""

from typing import Any

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from gnnpre.graphs import CrystalBatch
from gnnpre.objectives import ForceField, Mixture, Objective, ObjectiveModel

__all__ = ["export_model"]

# Sizes of the example that is traced: all are dynamic, and different so that none is mistaken.
N_CRYSTALS, N_ATOMS, N_EDGES = 3, 7, 23


class TensorsToLabels(nn.Module):
    """A model with tensors as arguments; the parts of a batch that no backbone reads are zero.

    Parameters
    ----------
    model : ObjectiveModel
        The model.
    """

    def __init__(self, model: ObjectiveModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, atomic_numbers: Tensor, n_atoms: Tensor, edge_index: Tensor, edge_vectors: Tensor
    ) -> Tensor:
        """Return the predictions of n crystals with N atoms and E edges."""
        n, total, n_edges = n_atoms.shape[0], atomic_numbers.shape[0], edge_vectors.shape[0]
        crystals = torch.arange(n, device=n_atoms.device)
        # Positions, cells and shifts are there through the edge vectors alone.
        batch = CrystalBatch(
            atomic_numbers=atomic_numbers,
            positions=edge_vectors.new_zeros(total, 3),
            cell=edge_vectors.new_zeros(n, 3, 3),
            pbc=torch.zeros(n, 3, dtype=torch.bool, device=n_atoms.device),
            n_atoms=n_atoms,
            edge_index=edge_index,
            edge_shift=torch.zeros(n_edges, 3, dtype=torch.int8, device=n_atoms.device),
            edge_vectors=edge_vectors,
            batch=torch.repeat_interleave(crystals, n_atoms, output_size=total),
        )
        (labels,) = self.model.predict(batch).values()
        return labels


def export_model(estimator: Any) -> "torch.export.ExportedProgram":
    """Export a fitted estimator of properties as a program of PyTorch, with dynamic sizes.

    ``torch.export.save`` writes the program to a file, which runs where PyTorch is installed and
    gnnpre is not, and which PyTorch's compilers take. It computes the network; the neighbours of
    the atoms are its input.

    Parameters
    ----------
    estimator : PropertyRegressor, PropertyClassifier or Pretrainer
        The fitted estimator; its objective may not be one that takes derivatives of energies.

    Returns
    -------
    torch.export.ExportedProgram
        ``program.module()(atomic_numbers, n_atoms, edge_index, edge_vectors)`` for n crystals with
        N atoms and E edges: atomic numbers ``(N,)``, the number of atoms of each crystal ``(n,)``,
        and edges from source (row 0) to target (row 1) ``(2, E)``, all int64; and
        ``r[source] + shift @ cell - r[target]`` in Å, ``(E, 3)``, in the precision of the network.
        It returns properties ``(n, k)`` in their own units, tensors ``(n, ...)``, values of all
        atoms ``(N,)``, or scores of classes ``(n, k)``, the logarithms of probabilities but for a
        constant.

    Raises
    ------
    ValueError
        If the model predicts forces, stresses or several labels, or by a kernel machine.
    NotFittedError
        If the estimator is not fitted.

    See Also
    --------
    PropertyRegressor.save : Write a model that gnnpre reads.

    Examples
    --------
    >>> from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
    >>> from gnnpre.datasets import make_emt_property
    >>> from gnnpre.estimators import export_model
    >>> structures, y = make_emt_property(12, random_state=0)
    >>> regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=1).fit(structures, y)
    >>> program = export_model(regressor)  # doctest: +SKIP
    >>> batch = StructureToGraph().transform(structures).batch()
    >>> tensors = batch.atomic_numbers, batch.n_atoms, batch.edge_index, batch.edge_vectors
    >>> program.module()(*tensors).shape  # doctest: +SKIP
    torch.Size([12, 1])
    """
    check_is_fitted(estimator, "net_")
    if not hasattr(torch.compiler, "is_exporting"):
        raise ImportError(f"export_model needs PyTorch 2.7 or later; this is {torch.__version__}.")
    _check_objective(estimator.spec_.objective)
    if getattr(estimator, "kernel_", None) is not None:
        raise ValueError(
            "A kernel machine takes part in the predictions of this model, which no program of "
            "the network holds. Fit it with strategy='full', and export that."
        )
    model = estimator.net_.module_
    dynamic = {"atomic_numbers": 0, "n_atoms": 0, "edge_index": 1, "edge_vectors": 0}
    sizes = {name: {axis: torch.export.Dim.DYNAMIC} for name, axis in dynamic.items()}
    was_training = model.training
    try:
        # strict: lengths stay symbols where Python's len() would make numbers of them.
        return torch.export.export(
            TensorsToLabels(model).eval(), _example(estimator), dynamic_shapes=sizes, strict=True
        )
    finally:
        model.train(was_training)


def _check_objective(objective: Objective) -> None:
    if isinstance(objective, (ForceField, Mixture)) or not objective.needs_labels:
        raise ValueError(
            f"The model learnt {type(objective).__name__}, which has no single label that a "
            "program without derivatives could compute. Export a PropertyRegressor or "
            "PropertyClassifier, or a Pretrainer of PropertyTargets, AtomTargets, TensorTargets "
            "or ClassTargets."
        )


def _example(estimator: Any) -> tuple[Tensor, ...]:
    """Return tensors of some crystals on the device of the network and in its precision."""
    like = next(estimator.net_.module_.parameters())
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([1, 2, N_ATOMS - 3])
    target = torch.randint(N_ATOMS, (N_EDGES,), generator=generator).sort().values
    source = torch.randint(N_ATOMS, (N_EDGES,), generator=generator)
    tensors = (
        torch.full((N_ATOMS,), int(estimator.elements_[0])),
        sizes,
        torch.stack([source, target]),
        torch.randn((N_EDGES, 3), generator=generator).to(like.dtype),
    )
    return tuple(tensor.to(like.device) for tensor in tensors)
