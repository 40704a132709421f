"""The estimator that learns properties of crystals, from scratch or from a pre-trained model."""

from typing import Any, cast

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnpre._labels import as_floats, rows_text
from gnnpre.backbones import Backbone
from gnnpre.objectives import PropertyTargets

from ._calibrated import CalibratedRegressor
from ._inputs import add_sample_weight
from ._pretrainer import Pretrainer

__all__ = ["PropertyRegressor"]


class PropertyRegressor(RegressorMixin, CalibratedRegressor):
    """Learn one or many properties of crystals, from scratch or from a pre-trained backbone.

    Parameters
    ----------
    backbone : Backbone, optional
        Config of the network; ``CGCNN()`` by default. A pre-trained model brings its own, so it
        cannot be given together with one.
    pretrained : str, Path or FrozenEstimator, optional
        What to start from: a file or folder that ``Pretrainer.save`` wrote, or
        ``sklearn.frozen.FrozenEstimator`` around a fitted :class:`Pretrainer`. Its weights are
        copied in each ``fit``, never changed.
    pretraining : Pretrainer, optional
        Unfitted, with an objective that needs no labels: it is fitted within each ``fit``, on
        the crystals of that fit alone.
    transfer : {"backbone", "matching"}
        What a pre-trained model gives: its backbone, or all weights whose name and shape fit, the
        readout's too (the papers' form).
    strategy : {"full", "head", "frozen_then_full", "layerwise", "replay"}
        How a pre-trained backbone takes part in training; see the notes for which is best when.
        ``"full"``: as all else, which is what the papers do. ``"head"``: not at all, the readout
        is trained alone. ``"frozen_then_full"``: not at first, then its layers join one by one,
        from the last to the first, so that a random readout does not disturb it. ``"layerwise"``:
        all of it, the slower the nearer a layer is to the input. ``"replay"``: all of it, with
        the objective of pre-training as a second loss on frames of its own, which keeps what was
        learnt.
    frozen_epochs : float
        Part of the epochs over which the layers join, for ``"frozen_then_full"``.
    layer_decay : float
        Learning rate of each layer as a part of the next one's, for ``"layerwise"``.
    replay : str or Path, optional
        Frames for ``strategy="replay"``: an extended XYZ file, or a folder with
        ``graphs.safetensors`` and, for objectives with labels, ``labels.safetensors``
        (``CrystalGraphs.save``, ``FrameLabels.save``).
    replay_weight : float
        Weight of that second loss.
    replay_ratio : float
        Most frames that are replayed, drawn once, for each crystal of ``fit``.
    backbone_lr_scale : float
        Learning rate of the backbone as a part of that of the readout.
    diagnose : bool
        Compare the fine-tuned model, on the inner validation set, with the pre-trained one before
        its first step and with a linear model on frozen embeddings, and warn where it is worse;
        see ``diagnosis_``.
    pooling : {"mean", "sum", "max", "attention", "cumulants"}
        Over atoms: mean for intensive properties, sum for those that grow with the cell, max for
        those of one atom; attention learns weights for a mean; cumulants (mean, variance, third
        central moment of the features) need ``readout="early"``.
    readout : {"late", "early"}
        Values of atoms that are pooled, or the papers' perceptron on pooled features.
    head_channels : int, optional
        Width of the hidden layers of the readout; that of the backbone by default.
    head_layers : int
        Hidden layers of the readout.
    loss : {"l1", "huber", "mse"}
        Loss of each property.
    huber_delta : float
        Where the Huber loss turns linear, in units of the (standardised) property.
    standardize : bool
        Learn each property less its mean, over its standard deviation, both of the training
        part. The papers do without.
    max_epochs : int
        Passes through the training set.
    batch_size : int
        Most crystals in a batch.
    max_edges : int, optional
        Most edges in a batch; no limit by default.
    learning_rate : float
        Largest learning rate of AdamW.
    weight_decay : float
        Weight decay of AdamW.
    schedule : {"cosine", "plateau"}, CosineSchedule, PlateauSchedule or None
        How the learning rate changes; None keeps it.
    gradient_clip : float, optional
        Largest norm of the gradient of all weights.
    ema_decay : float, optional
        Decay, per step, of an average of the weights that validation and the result use; no
        average by default.
    calibration_fraction : float or splitter
        Part of the crystals that is neither trained nor validated on (whole groups where ``fit``
        gets groups), for ``predict(X, return_std=True)``, :meth:`predict_interval` and
        :meth:`distance`; 0 for none of these.
    validation_fraction : float or splitter
        Part of the crystals that validates (whole groups where ``fit`` gets groups), 0 for none,
        or a scikit-learn splitter whose first split is taken.
    patience : int, optional
        Epochs without a better validation loss after which training stops; never by default.
    restore_best : bool
        Keep the weights of the lowest validation loss, not the last ones.
    device : str
        ``"auto"`` (a GPU where there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    dtype : {"float32", "float64"}
        Precision.
    compile : bool or "auto"
        Whether sums over neighbours are made by kernels in C, compiled at first use (about a
        second) and kept in the user's cache: two to four times faster, and the same results but
        for rounding. ``"auto"``: on a CPU with a C compiler (cc, gcc or clang on the path, or the
        one that the environment variable CC names). True: the same, with a warning where there is
        none; on a GPU, ``torch.compile``, which takes half a minute. False: never.
    random_state : int, RandomState instance or None
        Seed of weights, batches and the validation split; equal seeds give equal weights on a
        CPU. Global random states are neither used nor changed.
    callbacks : list, optional
        Callbacks of skorch, or pairs of name and callback.
    checkpoint_dir : str, optional
        Folder that keeps the state of the training after each epoch, one file for each set of
        parameters and data.
    resume : bool
        Go on from the state in ``checkpoint_dir`` where there is one, as in :class:`Pretrainer`.
    embedding_layer : int
        Layer whose features :meth:`transform` gives: 0 to the number of layers, -1 for the end.
    embedding_pooling : {"mean", "sum", "max", "cumulants"}
        What it gives of the atoms' features.
    verbose : int
        0 for silence, 1 for a progress bar.

    Attributes
    ----------
    net_ : CrystalNet
        The skorch net.
    history_ : list of dict
        Losses of each epoch, in units of the standard deviation of the properties where these
        are standardised.
    transferred_ : list of str
        Names of the weights that a pre-trained model gave.
    diagnosis_ : dict
        What the comparison gave: ``"zero_epochs"``, ``"frozen_probe"`` and ``"final"``, mean
        absolute errors in units of the standard deviation, and
        ``"unmoved"``, names of weights that training did not move. Errors are missing where
        fewer than ten crystals validate; empty without a pre-trained model.
    graph_settings_ : GraphSettings
        How the graphs were built.
    elements_ : list of int
        Atomic numbers seen in training, pre-training included.
    uncertainty_ : dict
        What was learnt from the crystals of ``calibration_fraction``.
    y_ndim_ : int
        Whether ``fit`` got one property as ``(n,)`` (1), or columns (2).

    See Also
    --------
    Pretrainer : Makes what ``pretrained`` takes.

    Notes
    -----
    Which ``strategy`` for how many labels? From a force field, on 50, 200 and 600 labels of
    MatBench's phonons, ``"full"`` was best at each size (a sixth to a quarter below training from
    scratch), ``"frozen_then_full"`` and ``"layerwise"`` came near it at 50 labels, and ``"head"``
    stayed behind. On jdft2d, where that pre-training did not help, the two gentler ones did no
    worse (``benchmarks/strategies.py``). So begin with ``"full"`` at any size; take ``"head"``,
    which is cheaper, where :attr:`diagnosis_` says that a frozen probe is better; one of the
    gentler ones where fine-tuning is worse than training from scratch; ``"replay"`` where the
    model has to keep its forces, or meets crystals unlike those of ``fit``.

    Examples
    --------
    >>> from gnnpre import CGCNN, PropertyRegressor
    >>> from gnnpre.datasets import make_emt_property
    >>> structures, y = make_emt_property(12, random_state=0)
    >>> regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0)
    >>> regressor.fit(structures, y).predict(structures[:2]).shape
    (2,)
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        *,
        pretrained: Any = None,
        pretraining: Pretrainer | None = None,
        transfer: str = "backbone",
        strategy: str = "full",
        frozen_epochs: float = 0.25,
        layer_decay: float = 0.7,
        replay: Any = None,
        replay_weight: float = 1.0,
        replay_ratio: float = 1.0,
        backbone_lr_scale: float = 1.0,
        diagnose: bool = True,
        pooling: str = "mean",
        readout: str = "late",
        head_channels: int | None = None,
        head_layers: int = 1,
        loss: str = "l1",
        huber_delta: float = 0.1,
        standardize: bool = True,
        max_epochs: int = 100,
        batch_size: int = 32,
        max_edges: int | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        schedule: Any = "cosine",
        gradient_clip: float | None = 10.0,
        ema_decay: float | None = None,
        calibration_fraction: Any = 0.0,
        validation_fraction: Any = 0.1,
        patience: int | None = None,
        restore_best: bool = True,
        device: str = "auto",
        dtype: str = "float32",
        compile: bool | str = "auto",
        random_state: Any = None,
        callbacks: Any = None,
        checkpoint_dir: str | None = None,
        resume: bool = False,
        embedding_layer: int = -1,
        embedding_pooling: str = "mean",
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.pretrained = pretrained
        self.pretraining = pretraining
        self.transfer = transfer
        self.strategy = strategy
        self.frozen_epochs = frozen_epochs
        self.layer_decay = layer_decay
        self.replay = replay
        self.replay_weight = replay_weight
        self.replay_ratio = replay_ratio
        self.backbone_lr_scale = backbone_lr_scale
        self.diagnose = diagnose
        self.pooling = pooling
        self.readout = readout
        self.head_channels = head_channels
        self.head_layers = head_layers
        self.loss = loss
        self.huber_delta = huber_delta
        self.standardize = standardize
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.max_edges = max_edges
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.gradient_clip = gradient_clip
        self.ema_decay = ema_decay
        self.calibration_fraction = calibration_fraction
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.restore_best = restore_best
        self.device = device
        self.dtype = dtype
        self.compile = compile
        self.random_state = random_state
        self.callbacks = callbacks
        self.checkpoint_dir = checkpoint_dir
        self.resume = resume
        self.embedding_layer = embedding_layer
        self.embedding_pooling = embedding_pooling
        self.verbose = verbose

    def fit(
        self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None
    ) -> "PropertyRegressor":
        """Learn properties of crystals.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the pre-trained model did, or with
            the defaults of ``StructureToGraph``.
        y : array-like of shape (n,) or (n, k)
            Their properties. In several columns NaN marks what is missing; one column must be
            complete.
        groups : array-like of shape (n,), optional
            Crystals of one group are never on both sides of the validation split.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals in the loss.

        Returns
        -------
        PropertyRegressor
            This estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, a crystal or a property is not as expected; the message names it.
        """
        values = _complete(y)
        self._fit_supervised(X, values, self._objective(), groups, sample_weight)
        self.y_ndim_ = values.ndim
        return self

    def _objective(self) -> PropertyTargets:
        names = PropertyTargets().get_params()
        return PropertyTargets(**{name: getattr(self, name) for name in names})

    def _validation_error(
        self, predicted: np.ndarray, true: dict[str, np.ndarray], rows: np.ndarray
    ) -> float:
        unit = cast(torch.Tensor, self._model().unit).cpu().numpy()
        return float(np.nanmean(np.abs(predicted - true["properties"][rows]) / unit))

    def _probe(
        self,
        train_table: np.ndarray,
        valid_table: np.ndarray,
        true: dict[str, np.ndarray],
        train: np.ndarray,
    ) -> np.ndarray:
        values = true["properties"][train]
        columns = []
        for column in values.T:
            known = np.isfinite(column)
            ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 7)))
            columns.append(ridge.fit(train_table[known], column[known]).predict(valid_table))
        return np.stack(columns, axis=1)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the properties of crystals.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the training did.
        return_std : bool
            Whether to give standard deviations too: those of a Bayesian linear model on the last
            layer's features, scaled to the errors on the crystals of ``calibration_fraction``.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            The properties in their own units, in the form that ``fit`` got them in.
        std : ndarray of the same shape
            Where ``return_std`` asks for it.

        Raises
        ------
        ValueError
            If the graphs were built with other settings, or hold an element out of range; if
            there was no ``calibration_fraction`` and standard deviations are asked for.
        """
        values, std = (self._like_y(part) for part in self._values_and_std(X, return_std))
        return (values, std) if return_std else values

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Give the coefficient of determination, averaged over properties.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.
        y : array-like of shape (n,) or (n, k)
            Their properties; missing ones (NaN) are left out.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals.

        Returns
        -------
        float
            R^2; 1 is perfect, 0 as good as the mean.
        """
        graphs = self._graphs_to_predict(X)
        targets = add_sample_weight(self.spec_.objective.make_targets(graphs, y), sample_weight)
        true = targets.crystal["properties"].numpy()
        predicted = np.asarray(self.predict(graphs)).reshape(len(graphs), -1)
        if true.shape != predicted.shape:
            raise ValueError(
                f"y has {true.shape[1]} columns; this estimator was fitted on {predicted.shape[1]}."
            )
        weights = targets.crystal.get("sample_weight", torch.ones(len(true))).numpy()
        scores = []
        for column in range(true.shape[1]):
            known = np.isfinite(true[:, column])
            pair = true[known, column], predicted[known, column]
            scores.append(r2_score(*pair, sample_weight=weights[known]))
        return float(np.mean(scores))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _complete(y: Any) -> np.ndarray:
    """Return ``y`` as numbers, refused where its only column has missing values."""
    if y is None:
        raise ValueError("y is None: this estimator requires y to be passed, shape (n,) or (n, k).")
    # The objective checks the shape, when it is clear how many crystals X has.
    values = as_floats("y", y, n_dims=None)
    missing = np.flatnonzero(np.isnan(values))
    if len(missing) and values.ndim and values.size == len(values):
        raise ValueError(
            f"y is missing (NaN) for {len(missing)} of {len(values)} crystals, the first at "
            f"{rows_text(missing, y)}: leave them out. Only y of several columns may have gaps."
        )
    return values
