"""The protocol of Jia et al. (2024) for the equivariant transformer."""

from collections.abc import Sequence
from typing import Any

from gnnpre.backbones import TorchMDNet
from gnnpre.objectives import Objective

from ._jia2024_objectives import published_objectives
from ._protocol import Protocol, assemble, choose_objective, plateau

__all__ = ["jia2024_torchmdnet", "published_torchmdnet"]


def jia2024_torchmdnet(
    objective: str | Objective = "forces",
    *,
    ratio: Sequence[float] = (1, 500, 500),
    pooling: str = "sum",
    pretraining_epochs: int = 100,
    pretraining_batch_size: int = 32,
    finetuning_epochs: int = 200,
    finetuning_batch_size: int = 32,
    random_state: Any = None,
) -> Protocol:
    """Pre-train and fine-tune the equivariant transformer as Jia et al. (2024) published it.

    Parameters
    ----------
    objective : {"forces", "denoising", "denoising_head"} or Objective
        Objective of pre-training, as in :func:`jia2024_cgcnn`.
    ratio : sequence of three floats
        Weights of energy, forces and stress for ``"forces"``.
    pooling : {"sum", "mean"}
        Pooling in fine-tuning and of the baseline.
    pretraining_epochs : int
        Epochs of pre-training.
    pretraining_batch_size : int
        Crystals in a batch of pre-training.
    finetuning_epochs : int
        Epochs of fine-tuning and of the baseline.
    finetuning_batch_size : int
        Crystals in a batch of fine-tuning and of the baseline.
    random_state : int, RandomState instance or None
        Seed of all estimators.

    Returns
    -------
    Protocol
        The unfitted estimators.

    Raises
    ------
    ValueError
        If ``objective`` or ``ratio`` is none of these.

    See Also
    --------
    jia2024_cgcnn : The same with CGCNN, and the meaning of the words for sources.

    Notes
    -----
    Graphs, losses, ratios, noise, splits, AdamW and clip are those of :func:`jia2024_cgcnn`. Its
    own are these; *second branch* is a working branch of the second paper
    (manavramprasad/MatDeepLearn_dev, branch EAD_featurization).

    ===============  ===========================================================================
    source           setting
    ===============  ===========================================================================
    branch           128 channels, 8 layers, 8 heads, 50 trained exponential radial functions,
                     SiLU, neighbours embedded, plain sums, LayerNorm at the end
    branch           the sum over atoms, a perceptron of 2 layers of 128 with SiLU, one output
    derived          1,759,461 parameters
    paper            100 epochs of pre-training; 10 and 200 in branch
    branch           batches of 32; AdamW at 2e-4, down to 1e-6
    branch           ``"denoising_head"``: two gated equivariant blocks on each atom; their
                     width, and which version gave table 3: not found
    second branch    fine-tuning: 200 epochs, batches of 32, 2e-4 down to 1e-6
    not found        those for this paper; its baseline
    ===============  ===========================================================================

    Differences from the published code, besides those of :func:`jia2024_cgcnn` in graphs and
    losses:

    - 105,216 weights of the first layer that act on vectors of zero do not exist, which is the
      same function, and the two embeddings of elements have a bias each: 1,654,501 parameters.
    - An atom's own images are among the neighbours that its embedding sees.
    - ``"denoising_head"`` has no second head for an energy and no term for it in the loss.
    - In denoising, edges stay those of the clean crystal; here the difference is small.

    References
    ----------
    S. Jia et al., "Derivative-based pre-training of graph neural networks for materials property
    predictions", Digital Discovery (2024).

    Examples
    --------
    >>> from gnnpre import jia2024_torchmdnet
    >>> jia2024_torchmdnet("denoising").pretraining.objective.target
    'noise'
    """
    readout = {"head_channels": 128, "head_layers": 2}
    # One hidden block and the one that gives the vector.
    named = published_objectives(ratio, readout, per_atom={"head_layers": 1})
    training = {"learning_rate": 2e-4, "schedule": plateau(1e-6)}
    return assemble(
        published_torchmdnet(),
        choose_objective(objective, named),
        pretraining={
            "max_epochs": pretraining_epochs,
            "batch_size": pretraining_batch_size,
            **training,
        },
        scratch={
            "pooling": pooling,
            "max_epochs": finetuning_epochs,
            "batch_size": finetuning_batch_size,
            **readout,
            **training,
        },
        finetuning={},
        random_state=random_state,
    )


def published_torchmdnet() -> TorchMDNet:
    """Return the transformer of both papers."""
    return TorchMDNet(
        hidden_channels=128,
        n_layers=8,
        n_heads=8,
        n_radial=50,
        trainable_radial=True,
        vector_cutoff=False,
        aggregation="sum",
        vector_norm=None,
        element_start="normal",
    )
