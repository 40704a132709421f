"""Documentation of the parameters that several estimators share, written once.

A docstring refers to a group of parameters by a line of its own, ``{optimiser}``, and
:func:`document` replaces that line. Signatures are written out in each class: scikit-learn, editors
and type checkers read those.
"""

import re
from textwrap import indent
from typing import TypeVar

__all__ = ["document"]

T = TypeVar("T")

GROUPS = {
    "starts": """\
backbone : Backbone, optional
    Config of the network; ``CGCNN()`` by default. A pre-trained model brings its own, so it
    cannot be passed together with one.
pretrained : str, Path or FrozenEstimator, optional
    Model whose backbone to start from: ``"gnnpre-1"`` or another name of
    :func:`gnnpre.list_pretrained`; a file or folder that an estimator's ``save`` wrote; or
    ``sklearn.frozen.FrozenEstimator`` around a fitted :class:`Pretrainer`,
    :class:`PropertyRegressor` or :class:`PropertyClassifier`. Its weights are copied in each
    ``fit``, never changed.
pretraining : Pretrainer, optional
    Unfitted, with an objective that needs no labels: it is fitted within each ``fit``, on
    the crystals of that fit alone. Embeddings of ``gnnpre-1-forces`` among ``kernel_features``
    come from other crystals all the same.
transfer : {"backbone", "matching"}
    Weights to copy from a pre-trained model: its backbone, or all weights whose name and
    shape fit, the readout's too (as in the papers).""",
    "strategies": """\
frozen_epochs : float
    Fraction of the epochs over which the layers join, for ``"frozen_then_full"``.
layer_decay : float
    Learning rate of each layer as a fraction of the next one's, for ``"layerwise"``.""",
    "kernel": """\
kernel_features : sequence of {"composition", "fingerprint", "force_field"} or transformers
    Features for kernel machines (``strategy="kernel"`` and, of :class:`PropertyRegressor`,
    ``"blended"``) beside the embeddings and the properties of crystals among the objectives of
    the pre-trained model: statistics of the elements
    (:class:`~gnnpre.fingerprints.Composition`), cumulants of
    :class:`~gnnpre.fingerprints.EAD`, embeddings of the force field in the package
    (``gnnpre-1-forces``), or your own transformers from crystals to a table, such as
    ``FoundationFeatures("chgnet")``.""",
    "diagnosis": """\
backbone_lr_scale : float
    Learning rate of the backbone as a fraction of that of the readout. Of a model of this package
    0.1 to 0.3 was better on elastic moduli, which it has been trained on, and 1 on phonons, which
    it has not.
diagnose : bool
    Compare the fine-tuned model, on the inner validation set, with the pre-trained one before
    its first step and with a kernel machine on frozen embeddings, and warn where it is worse;
    see ``diagnosis_``.""",
    "readout": """\
pooling : {"mean", "sum", "max", "attention", "cumulants"}
    Over atoms: mean for intensive properties, sum for those that grow with the cell, max for
    those of one atom; attention learns weights for a mean; cumulants (mean, variance, third
    central moment of the features) need ``readout="early"``.
readout : {"late", "early"}
    Values of atoms that are pooled, or a perceptron on pooled features (as in the papers).
head_channels : int, optional
    Width of the hidden layers of the readout; that of the backbone by default.
head_layers : int
    Hidden layers of the readout.""",
    "optimiser": """\
max_epochs : int
    Passes through the training set.
max_time : float or str, optional
    Time of the training, in seconds or as text (``"10min"``, ``"1h 30min"``), after which it ends
    even if epochs are left. A schedule comes to its end at that time, too. How far a training
    gets depends on the machine, and so do its weights: without ``max_time`` they are
    reproducible. The training alone is counted: building graphs, and all that follows the last
    epoch, take further time.
batch_size : int
    Maximum number of crystals in a batch.
max_edges : int, optional
    Maximum number of edges in a batch, so that large crystals come in smaller batches; no
    limit by default.
learning_rate : float
    Largest learning rate of AdamW.
weight_decay : float
    Weight decay of AdamW.
schedule : {"cosine", "plateau"}, CosineSchedule, PlateauSchedule or None
    How the learning rate changes; None keeps it constant.
gradient_clip : float, optional
    Largest norm of the gradient of all weights.
ema_decay : float or None
    Decay, per step, of an average of the weights that validation and the result use; None for
    no average.""",
    "validation": """\
validation_fraction : float or splitter
    Fraction of the crystals to validate on (whole groups if ``fit`` gets groups), 0 for none,
    or a scikit-learn splitter whose first split is taken.
patience : int, optional
    Epochs without a better validation loss after which training stops; never by default.
restore_best : bool
    Keep the weights of the lowest validation loss, not the last ones.
device : str
    ``"auto"`` (a GPU if there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
dtype : {"float32", "float64"}
    Precision of the network.
compile : bool, "auto" or "cuda_graphs"
    Whether sums over neighbours are computed by kernels, with the same results but for
    rounding. On a CPU they are in C, compiled at first use (about a second) and cached in the
    user's folder: two to four times faster. On a GPU they are in Triton, which compiles them at
    first use (minutes, in all) and caches them. ``"auto"``: on a CPU with a C compiler (cc,
    gcc or clang on the path, or the one that the environment variable CC names), on a GPU
    where Triton is installed. True: the same, with a warning where that is missing. False:
    never. ``"cuda_graphs"``: as ``"auto"``, and a GPU records whole training steps, whose
    kernels then start together; batches are filled up to a few sizes. Meant for small batches,
    and **not measured on a card yet**; where steps cannot be recorded, a warning names the reason.
random_state : int, RandomState instance or None
    Seed of weights, batches and the validation split; equal seeds give equal weights on a
    CPU. Global random states are neither used nor changed.
callbacks : list, optional
    Callbacks of skorch, or pairs of name and callback. At the end of an epoch they see the
    weights that validation uses: averaged ones with ``ema_decay``.
checkpoint_dir : str, optional
    Folder for the state of the training after each epoch, one file for each set of
    parameters and data.""",
    "epoch_scoring": """\
epoch_scoring : str, callable, list or dict, optional
    Scorers that see the validation crystals after each epoch, in the unit of the labels: names
    of scikit-learn (``"neg_mean_absolute_error"``), callables ``(estimator, X, y)``, a list of
    these, or a dict from names to them. Scores are columns ``valid_NAME`` of ``history_``. They
    decide nothing. As scorers of ``cross_validate`` they get no ``sample_weight``, unlike the
    validation loss, but crystals of weight 0 are left out.""",
    "resume": """\
resume : bool
    Continue from the state in ``checkpoint_dir`` if there is one; the weights at the end are
    those of an uninterrupted training. A finished training is not repeated, and one that a
    callback has stopped stays so, whatever callbacks there are now. Needs a ``random_state``.
    Callbacks of your own are resumed if they have ``state()``
    (JSON-serializable) and ``load_state(state)``; others start anew.
embedding_layer : int
    Layer whose features :meth:`transform` returns: 0 to the number of layers, -1 for the
    final ones.
embedding_pooling : {"mean", "sum", "max", "cumulants"}
    Pooling of these features over the atoms.
n_processes : int, "auto" or None
    Processes that share each batch, for larger trainings: on this machine, started for the
    training (one GPU each, if ``device`` is one). The result is that of one process but for
    rounding. ``"auto"`` starts several only where the training is long enough to gain from it.
    None: one process, or all those that ``torchrun`` started; 1: one in any case.
verbose : int
    0 for silence, 1 for a progress bar, 2 for a table of the losses of all parts.""",
    "fitted": """\
net_ : CrystalNet
    The skorch net.
graph_settings_ : GraphSettings
    How the graphs were built.
elements_ : list of int
    Atomic numbers seen in training, pre-training included.""",
}

PLACEHOLDER = re.compile(r"^( *)\{(\w+)\}$", re.MULTILINE)


def document(cls: type[T]) -> type[T]:
    """Replace the lines ``{group}`` of a class's docstring by the parameters of that group.

    Parameters
    ----------
    cls : type
        The class.

    Returns
    -------
    type
        The same class.

    Raises
    ------
    KeyError
        If there is no such group.
    """
    if cls.__doc__:  # None under `python -OO`
        cls.__doc__ = PLACEHOLDER.sub(lambda match: indent(GROUPS[match[2]], match[1]), cls.__doc__)
    return cls
