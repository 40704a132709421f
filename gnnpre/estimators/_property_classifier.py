"""The estimator that learns classes of crystals, from scratch or from a pre-trained model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from gnnpre._row_order import warn_of_other_order
from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import ClassTargets

from ._blended_head import BlendedHead
from ._inputs import check_classes, weights_in_order
from ._kernel_head import KernelHead
from ._parameters import document
from ._pretrainer import Pretrainer
from ._property_estimator import PropertyEstimator

__all__ = ["PropertyClassifier"]


@document
class PropertyClassifier(ClassifierMixin, PropertyEstimator):
    """Learn classes of crystals, from scratch or from a pre-trained backbone.

    Two classes or more, with any labels that scikit-learn takes. The network computes one score
    for each class, and learns by the cross entropy.

    Parameters
    ----------
    {starts}
    strategy : {"auto", "full", "head", "frozen_then_full", "layerwise", "kernel"}
        How a pre-trained backbone takes part in training; see :class:`PropertyRegressor`. Here
        ``"auto"`` is ``"full"``.
    {strategies}
    {kernel}
    {diagnosis}
    class_weight : {"balanced"}, dict or None
        Weights of the classes in the loss: one each by label (1 for those that the dict lacks),
        or inverse to their numbers in the training crystals.
    {readout}
    {optimiser}
    {validation}
    {epoch_scoring}
    {resume}

    Attributes
    ----------
    classes_ : ndarray of shape (k,)
        The labels, sorted.
    {fitted}
    history_ : list of dict
        Cross entropies of each epoch.
    kernel_ : KernelHead or None
        The kernel machine of ``strategy="kernel"``, as ``kernel_.machine``.
    transferred_ : list of str
        Names of the weights that were copied from a pre-trained model.
    diagnosis_ : dict
        Result of the comparison: cross entropies on the inner validation set before the first
        step (``"zero_epochs"``), of a kernel classifier on the embeddings before it
        (``"frozen_probe"``) and of the fitted model (``"final"``), that on the training crystals
        (``"training"``), and the names of weights that training did not move (``"unmoved"``).
        Crystals count by their ``sample_weight`` and ``class_weight``, as in the loss. Errors are
        missing if fewer than ten crystals validate; all is empty without a pre-trained model.

    See Also
    --------
    PropertyRegressor : The same for properties that are numbers.

    Examples
    --------
    >>> from gnnpre import CGCNN, PropertyClassifier
    >>> from gnnpre.datasets import make_emt_property
    >>> structures, y = make_emt_property(12, random_state=0)
    >>> labels = ["hard" if modulus > 100 else "soft" for modulus in y]
    >>> classifier = PropertyClassifier(CGCNN(8, 1), max_epochs=1, random_state=0)
    >>> classifier.fit(structures, labels).predict_proba(structures[:2]).shape
    (2, 2)
    >>> classifier.classes_
    array(['hard', 'soft'], dtype='<U4')
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        *,
        pretrained: Any = None,
        pretraining: Pretrainer | None = None,
        transfer: str = "backbone",
        strategy: str = "auto",
        frozen_epochs: float = 0.25,
        layer_decay: float = 0.7,
        kernel_features: Sequence[Any] = ("composition", "fingerprint", "force_field"),
        backbone_lr_scale: float = 1.0,
        diagnose: bool = True,
        class_weight: Any = None,
        pooling: str = "mean",
        readout: str = "late",
        head_channels: int | None = None,
        head_layers: int = 1,
        max_epochs: int = 100,
        max_time: float | str | None = None,
        batch_size: int = 32,
        max_edges: int | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        schedule: Any = "cosine",
        gradient_clip: float | None = 10.0,
        ema_decay: float | None = 0.99,
        validation_fraction: Any = 0.1,
        patience: int | None = None,
        restore_best: bool = True,
        device: str = "auto",
        dtype: str = "float32",
        compile: bool | str = "auto",
        random_state: Any = None,
        callbacks: Any = None,
        checkpoint_dir: str | None = None,
        epoch_scoring: Any = None,
        resume: bool = False,
        embedding_layer: int = -1,
        embedding_pooling: str = "mean",
        n_processes: int | str | None = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.pretrained = pretrained
        self.pretraining = pretraining
        self.transfer = transfer
        self.strategy = strategy
        self.frozen_epochs = frozen_epochs
        self.layer_decay = layer_decay
        self.kernel_features = kernel_features
        self.backbone_lr_scale = backbone_lr_scale
        self.diagnose = diagnose
        self.class_weight = class_weight
        self.pooling = pooling
        self.readout = readout
        self.head_channels = head_channels
        self.head_layers = head_layers
        self.max_epochs = max_epochs
        self.max_time = max_time
        self.batch_size = batch_size
        self.max_edges = max_edges
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.gradient_clip = gradient_clip
        self.ema_decay = ema_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.restore_best = restore_best
        self.device = device
        self.dtype = dtype
        self.compile = compile
        self.random_state = random_state
        self.callbacks = callbacks
        self.checkpoint_dir = checkpoint_dir
        self.epoch_scoring = epoch_scoring
        self.resume = resume
        self.embedding_layer = embedding_layer
        self.embedding_pooling = embedding_pooling
        self.n_processes = n_processes
        self.verbose = verbose

    def fit(
        self, X: Any, y: Any, groups: Any = None, sample_weight: Any = None
    ) -> "PropertyClassifier":
        """Learn classes of crystals.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.
        y : array-like of shape (n,)
            Their labels, of two classes or more.
        groups : array-like of shape (n,), optional
            Crystals of one group are never on both sides of the validation split.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals in the loss.

        Returns
        -------
        PropertyClassifier
            This estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, a crystal or a label is not as expected; the message names it.
        """
        warn_of_other_order(X, y=y, groups=groups, sample_weight=sample_weight)
        labels = check_classes(y)
        # The network learns numbers; the labels come back in predict.
        classes, numbers = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y has one class only, {classes.tolist()[0]!r}; a classifier needs at least two. "
                "In cross-validation, StratifiedKFold keeps all classes in every fold."
            )
        if isinstance(self.strategy, str) and self.strategy in ("replay", "blended"):
            raise ValueError(f"strategy={self.strategy!r} is available only for PropertyRegressor.")
        objective = self._objective(classes)
        self._finetune(X, numbers, objective, groups, sample_weight, {"classes_": classes})
        return self

    def _objective(self, classes: np.ndarray) -> ClassTargets:
        return ClassTargets(
            len(classes),
            class_weight=weights_in_order(self.class_weight, classes),
            readout=self.readout,
            pooling=self.pooling,
            head_channels=self.head_channels,
            head_layers=self.head_layers,
        )

    def _predict_by_kernel(
        self, kernel: KernelHead | BlendedHead, graphs: CrystalGraphs
    ) -> np.ndarray:
        if isinstance(kernel, BlendedHead):  # fit refuses it, but a damaged file may have one
            raise TypeError("Classes are not blended: the file of this model is damaged.")
        return kernel.predict_proba(graphs, len(self.classes_))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the training did.

        Returns
        -------
        ndarray of shape (n, k)
            Probabilities, in the order of ``classes_``.
        """
        return np.asarray(self._predict(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.

        Returns
        -------
        ndarray of shape (n, k)
            Natural logarithms, in the order of ``classes_``; minus infinity of a probability of 0.
        """
        with np.errstate(divide="ignore"):
            logarithms: np.ndarray = np.log(self.predict_proba(X))
        return logarithms

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class of crystals.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.

        Returns
        -------
        ndarray of shape (n,)
            Labels.
        """
        check_is_fitted(self, "net_")
        # Equal probabilities go to the class that comes first in classes_.
        labels: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of crystals whose class is predicted.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.
        y : array-like of shape (n,)
            Their labels.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals.

        Returns
        -------
        float
            The accuracy.
        """
        warn_of_other_order(X, y=y, sample_weight=sample_weight)
        return float(super().score(X, y, sample_weight))

    def _learnt_state(self) -> dict[str, Any]:
        # JSON has no dtypes: int8 classes come back as int8.
        classes = {"dtype": self.classes_.dtype.str, "labels": self.classes_.tolist()}
        return {**super()._learnt_state(), "classes_": classes}

    def _set_learnt_state(self, state: dict[str, Any]) -> None:
        super()._set_learnt_state(state)
        classes = state["classes_"]
        self.classes_ = np.array(classes["labels"], dtype=np.dtype(classes["dtype"]))
