"""The protocol of Jia et al. (2024) for CGCNN: pre-training on force fields and by denoising."""

from collections.abc import Sequence
from typing import Any

from gnnpre.backbones import CGCNN
from gnnpre.objectives import Objective

from ._jia2024_objectives import published_objectives
from ._protocol import Protocol, assemble, choose_objective, plateau

__all__ = ["jia2024_cgcnn"]


def jia2024_cgcnn(
    objective: str | Objective = "forces",
    *,
    ratio: Sequence[float] = (1, 500, 500),
    smearing_width: float = 0.2,
    pooling: str = "sum",
    pretraining_epochs: int = 100,
    pretraining_batch_size: int = 50,
    finetuning_epochs: int = 200,
    finetuning_batch_size: int = 32,
    random_state: Any = None,
) -> Protocol:
    """Pre-train and fine-tune CGCNN as Jia et al. (2024) published it.

    Parameters
    ----------
    objective : {"forces", "denoising", "denoising_head"} or Objective
        Objective of pre-training: energy, forces and stress; the derivative that leads back from
        noise; the same by a head on each atom; or an objective of your own.
    ratio : sequence of three floats
        Weights of energy, forces and stress for ``"forces"``. The paper has (1, 0, 0), (0, 1, 0),
        (0, 1, 1), (1, 1, 1) and (1, 500, 500).
    smearing_width : float
        Standard deviation of the Gaussians of distances as a part of the cutoff: 0.2, or 0.05.
    pooling : {"sum", "mean"}
        Pooling in fine-tuning and of the baseline: the paper's table 4 has the mean.
    pretraining_epochs : int
        Epochs of pre-training. With ``checkpoint_epochs`` one run covers all of the paper's.
    pretraining_batch_size : int
        Crystals in a batch of pre-training.
    finetuning_epochs : int
        Epochs of fine-tuning and of the baseline.
    finetuning_batch_size : int
        Crystals in a batch of fine-tuning and of the baseline, which depends on the data set.
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
    jia2024_torchmdnet : The same with the equivariant transformer.
    average_improvement : The paper's measure.

    Notes
    -----
    Where each value is from. *Release*: the configuration that the authors released
    (Fung-Lab/MatDeepLearn_dev, branch pretraining_with_forces). *Branch*: their working branch in
    the same repository (pretraining_proj/forces_and_denoising), which alone has configurations of
    fine-tuning. *Paper*: its text. *Derived*: calculated from those. *Not found*: looked for in
    all of them.

    ===============  ===========================================================================
    source           graphs and network
    ===============  ===========================================================================
    release          neighbours within 8 Å, the nearest 250
    release          50 Gaussians of width 0.2 (``smearing_width``)
    branch           width 0.05 where edges are made on the fly; which of the two gave the
                     paper's numbers: not found
    release          one-hot elements, a layer of 100 with SiLU; 4 layers of messages, their
                     mean, without batch norm and envelope
    release          pooling, a perceptron of 3 layers of 150 with SiLU, one output
    release          the sum over atoms (``pooling``)
    paper            the mean in fine-tuning, for table 4
    derived          271,501 parameters
    ===============  ===========================================================================

    ===============  ===========================================================================
    source           pre-training
    ===============  ===========================================================================
    release          L1, the mean over all components; total energies (eV) as they are
    derived          stress in eV/Å^3, positive in tension
    paper            the five values of ``ratio``; (1, 1, 1) or (1, 500, 500) is best on 9 of 11
                     data sets
    release          noise of 0.1 Å, drawn anew at each visit
    derived          ``-dE/dr`` learns the noise itself, which makes crystals maxima of E
    release, paper   100 epochs; 12, 25, 50, 100 and 200 in table 5
    release          batches of 50; 30 for denoising in branch
    release          AdamW at 0.002, weight decay 0.01; gradients clipped at a norm of 10
    release          times 0.8 after 10 epochs without 2e-4 of progress of the loss of training,
                     down to 1e-5; no warm-up, no average of weights
    release          0.8/0.05/0.15 of the frames for training, validation and test: of what
                     ``fit`` gets 1/17 validates, so hold 15 % out yourself
    release          weights of the best epoch; seed 12345678
    ===============  ===========================================================================

    ===============  ===========================================================================
    source           fine-tuning
    ===============  ===========================================================================
    branch           200 epochs; AdamW, its rate and schedule, and clip as above
    branch           batches of 32 for jdft2d, phonons, mp_e_form and mp_gap, of 128 for
                     dielectric, log_gvrh, log_kvrh and perovskites (``finetuning_batch_size``)
    not found        batches for the 2D, MOF and surface sets
    branch           L1 of the property as it is, not standardised
    branch           all weights are transferred, the readout's too
    not found        what ``"denoising_head"`` of CGCNN is, whose class is in no branch, and
                     what it transfers; here the backbone
    branch           0.6/0.2/0.2 for training, validation and test: of what ``fit`` gets a
                     quarter validates, so hold 20 % out yourself
    branch           five seeds, each with a split and, from scratch, a start of its own
    not found        the baseline's settings; here those of fine-tuning
    ===============  ===========================================================================

    Differences from the published code:

    - Every periodic image within 8 Å is a neighbour. The code looked two cells far at most, and
      missed some where planes of the lattice are less than 4 Å apart.
    - In denoising, edges stay those of the clean crystal, where the code built the graph anew: see
      the notes of ``Denoising``, for a network without envelope the difference is large.
    - ``"denoising_head"`` is a perceptron of the width above on each atom, with three outputs.
    - Losses of an epoch are means over entries, not over batches.

    References
    ----------
    S. Jia et al., "Derivative-based pre-training of graph neural networks for materials property
    predictions", Digital Discovery (2024).

    Examples
    --------
    >>> from gnnpre import jia2024_cgcnn
    >>> protocol = jia2024_cgcnn(ratio=(0, 1, 1), random_state=0)
    >>> protocol.pretraining.objective.forces, protocol.pretraining.learning_rate
    (1, 0.002)
    >>> protocol.scratch.set_params(batch_size=128).batch_size
    128
    """
    backbone = CGCNN(
        hidden_channels=100,
        n_layers=4,
        n_radial=50,
        smearing_width=smearing_width,
        envelope=None,
        aggregation="mean",
        activation="softplus",
        element_start="uniform",
        batch_norm=False,
    )
    readout = {"head_channels": 150, "head_layers": 3}
    named = published_objectives(ratio, readout, per_atom=readout)
    training = {"learning_rate": 2e-3, "schedule": plateau(1e-5)}
    return assemble(
        backbone,
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
