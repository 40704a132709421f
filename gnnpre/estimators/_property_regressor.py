"""The estimator that learns properties of crystals, from scratch or from a pre-trained model."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from gnnpre._labels import as_floats, rows_text
from gnnpre._validation import check_number
from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import PropertyTargets

from ._diagnosis import predict_rows
from ._finetuning import FineTuned
from ._inputs import add_sample_weight, warn_of_other_order
from ._outlier_check import warn_of_outlying_labels
from ._parameters import document
from ._pretrainer import Pretrainer
from ._property_estimator import PropertyEstimator
from ._uncertainty import Calibration, LastLayer, TrainingCloud, last_layer_features

__all__ = ["PropertyRegressor"]


@document
class PropertyRegressor(RegressorMixin, PropertyEstimator):
    """Learn one or many properties of crystals, from scratch or from a pre-trained backbone.

    Parameters
    ----------
    {starts}
    strategy : {"full", "head", "frozen_then_full", "layerwise", "replay"}
        How a pre-trained backbone takes part in training; the notes say which is best when.
        ``"full"``: like all other weights, as in the papers. ``"head"``: not at all, only the
        readout is trained. ``"frozen_then_full"``: not at first, then its layers join one by one,
        from the last to the first, so that a random readout does not disturb it. ``"layerwise"``:
        all of it, the slower the nearer a layer is to the input. ``"replay"``: all of it, with
        the objective of pre-training as a second loss on frames of its own, so that little is
        forgotten.
    {strategies}
    replay : str or Path, optional
        Frames for ``strategy="replay"``: an extended XYZ file, or a folder with
        ``graphs.safetensors`` and, for objectives with labels, ``labels.safetensors``
        (``CrystalGraphs.save``, ``FrameLabels.save``).
    replay_weight : float
        Weight of that second loss.
    replay_ratio : float
        Maximum number of frames, drawn once, for each crystal of ``fit``.
    {diagnosis}
    {readout}
    loss : {"l1", "huber", "mse"}
        Loss of each property.
    huber_delta : float
        Where the Huber loss turns linear, in units of the (standardised) property.
    standardize : bool
        Learn each property minus its mean, divided by its standard deviation, both of the
        training crystals. The papers do without.
    {optimiser}
    calibration_fraction : float or splitter
        Fraction of the crystals that is neither trained nor validated on (whole groups if ``fit``
        gets groups), for ``predict(X, return_std=True)``, :meth:`predict_interval` and
        :meth:`distance`; 0 for none of these.
    {validation}
    {resume}

    Attributes
    ----------
    {fitted}
    history_ : list of dict
        Losses of each epoch, in units of the standard deviation of the properties where these
        are standardised.
    transferred_ : list of str
        Names of the weights that were copied from a pre-trained model.
    diagnosis_ : dict
        Result of the comparison: mean absolute errors on the inner validation set before the
        first step (``"zero_epochs"``), of a Gaussian process on the embeddings before it
        (``"frozen_probe"``) and of the fitted model (``"final"``), that on the training crystals
        (``"training"``), and the names of weights that training did not move (``"unmoved"``).
        Errors are in the unit of the property, or, of several, in standard deviations. They are
        missing if fewer than ten crystals validate; all is empty without a pre-trained model.
    uncertainty_ : dict
        Scales and scores of errors on the crystals of ``calibration_fraction``.
    y_ndim_ : int
        Whether ``fit`` got one property as ``(n,)`` (1), or columns (2).

    See Also
    --------
    Pretrainer : Pre-trains the models for ``pretrained``.

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
            Their properties. In several columns NaN marks missing values; one column must be
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
        warn_of_other_order(X, y=y, groups=groups, sample_weight=sample_weight)
        values = _check_complete(y)
        warn_of_outlying_labels(values, y)
        learnt = {"y_ndim_": values.ndim}
        self._finetune(X, values, self._objective(), groups, sample_weight, learnt)
        return self

    def _keep(self, fitted: FineTuned, learnt: Mapping[str, Any]) -> None:
        super()._keep(fitted, learnt)
        self.uncertainty_ = fitted.uncertainty

    def _objective(self) -> PropertyTargets:
        names = PropertyTargets().get_params()
        return PropertyTargets(**{name: getattr(self, name) for name in names})

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the properties of crystals.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the training did.
        return_std : bool
            Whether to return standard deviations too: those of a Bayesian linear model on the
            last layer's features, scaled to the errors on the crystals of ``calibration_fraction``.

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            The properties in their own units, with as many axes as the ``y`` of ``fit``.
        std : ndarray of the same shape
            Only if ``return_std``.

        Raises
        ------
        ValueError
            If the graphs were built with other settings, or hold an element out of range; if
            there was no ``calibration_fraction`` and standard deviations are asked for.
        """
        values, std = self._values_and_std(X, return_std)
        return (self._like_y(values), self._like_y(std)) if return_std else self._like_y(values)

    def predict_interval(self, X: Any, confidence: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
        """Predict intervals that contain the property with some probability (split conformal).

        The probability holds on average over crystals drawn as those of ``fit`` were,
        whatever the model (V. Vovk, A. Gammerman and G. Shafer, "Algorithmic Learning in a Random
        World", 2005). Intervals are wider where standard deviations are larger.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.
        confidence : float
            The probability, between 0 and 1.

        Returns
        -------
        lower, upper : ndarray of shape (n,) or (n, k)
            Ends of the intervals.

        Raises
        ------
        ValueError
            If there was no ``calibration_fraction``, or too few crystals in it for this
            confidence.
        """
        check_number("confidence", confidence, high=1.0, high_included=False)
        quantiles = Calibration(**self._uncertainty("calibration")).quantiles(confidence)
        with_std = "last_layer" in self.uncertainty_
        values, std = self._values_and_std(X, with_std)
        half = quantiles * (std if with_std else np.ones_like(values))
        return self._like_y(values - half), self._like_y(values + half)

    def distance(self, X: Any) -> np.ndarray:
        """Return how far crystals are from those of the training, in the space of embeddings.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.

        Returns
        -------
        ndarray of shape (n,)
            Mahalanobis distances in units of the median over the training crystals: about 1 for
            crystals like those, above 2 or 3 where a prediction is an extrapolation.

        Raises
        ------
        ValueError
            If there was no ``calibration_fraction``.
        """
        cloud = TrainingCloud(**self._uncertainty("cloud"))
        return cloud.distance(self.embed(X))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination, averaged over properties.

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
            labelled = np.isfinite(true[:, column])
            pair = true[labelled, column], predicted[labelled, column]
            scores.append(r2_score(*pair, sample_weight=weights[labelled]))
        return float(np.mean(scores))

    def _values_and_std(self, X: Any, with_std: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return predictions ``(n, k)``, and their standard deviations where they are asked for."""
        layer = LastLayer(**self._uncertainty("last_layer")) if with_std else None
        values, stds = [], []
        for graphs in self._stream_to_predict(X):
            values.append(self._predict_values(graphs))
            if layer is not None:
                stds.append(layer.std(last_layer_features(self._model(), graphs)))
        return np.concatenate(values), np.concatenate(stds or values)

    def _predict_values(self, graphs: CrystalGraphs) -> np.ndarray:
        everything = np.arange(len(graphs))
        return predict_rows(self._model(), self.spec_.objective, graphs, everything)

    def _like_y(self, values: np.ndarray) -> np.ndarray:
        return values[:, 0] if self.y_ndim_ == 1 else values

    def _uncertainty(self, name: str) -> dict[str, Any]:
        """Return one entry of ``uncertainty_``, or raise ValueError with the way to get it."""
        check_is_fitted(self, "net_")
        if not self.uncertainty_:
            raise ValueError(
                "This model was fitted with calibration_fraction=0 and does not know how sure it "
                "is: set calibration_fraction, to 0.1 for example, and fit it again."
            )
        if name not in self.uncertainty_:
            raise ValueError(
                "pooling='max' of a late readout is not linear in its last layer, which standard "
                "deviations need. Use another pooling, readout='early', or predict_interval."
            )
        entry: dict[str, Any] = self.uncertainty_[name]
        return entry

    def _learnt_state(self) -> dict[str, Any]:
        state = {"uncertainty_": self.uncertainty_, "y_ndim_": self.y_ndim_}
        return {**super()._learnt_state(), **state}

    def _set_learnt_state(self, state: dict[str, Any]) -> None:
        super()._set_learnt_state(state)
        self.uncertainty_, self.y_ndim_ = state["uncertainty_"], state["y_ndim_"]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _check_complete(y: Any) -> np.ndarray:
    """Return ``y`` as numbers; raise ValueError if its only column has missing values."""
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
