"""The estimator that learns properties of crystals, from scratch or from a pre-trained model."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from gnnpre._labels import columns_in_order
from gnnpre._row_order import warn_of_other_order
from gnnpre.backbones import Backbone
from gnnpre.graphs import CrystalGraphs, index_of
from gnnpre.objectives import PropertyTargets

from ._blended_head import BlendedHead
from ._finetuning import FineTuned
from ._inputs import add_sample_weight
from ._kernel_head import KernelHead
from ._outlier_check import warn_of_outlying_labels
from ._parameters import document
from ._pretrainer import Pretrainer
from ._property_estimator import PropertyEstimator
from ._property_forms import (
    form_of_objective,
    form_of_target,
    target_names,
)
from ._uncertain_predictions import UncertainPredictions

__all__ = ["PropertyRegressor"]


@document
class PropertyRegressor(RegressorMixin, UncertainPredictions, PropertyEstimator):
    """Learn one or many properties of crystals, from scratch or from a pre-trained backbone.

    Numbers of crystals are the default; ``target`` chooses numbers of atoms, vectors or tensors.

    Parameters
    ----------
    {starts}
    strategy : str
        How a pre-trained backbone takes part in training: ``"auto"``, ``"full"``, ``"blended"``,
        ``"kernel"``, ``"head"``, ``"frozen_then_full"``, ``"layerwise"`` or ``"replay"``; the notes
        say which is best when.
        ``"auto"``: ``"blended"`` with a pre-trained model, ``"full"`` without one; and ``"full"``
        for other targets than numbers of crystals, for stores on disk, more than 10,000 crystals,
        or fewer than ten labels. ``"full"``: all weights are trained, as in the papers.
        ``"kernel"``: the backbone is frozen; a Gaussian process (:class:`KernelRegressor`) on its
        embeddings takes the readout's place. It takes seconds for a thousand crystals, and has
        standard deviations without ``calibration_fraction``. Of the readout's parameters it reads
        ``pooling`` alone: ``"mean"``, or ``"sum"``, with which it learns values per atom.
        ``"blended"``: a network as with ``"full"`` and a machine as with ``"kernel"``, whose
        predictions are averaged with the weights :attr:`weights_`; the machine learns from the
        validation crystals as well.
        ``"head"``: the backbone is frozen, the readout alone is trained. ``"frozen_then_full"``:
        it is frozen at first, then its layers join one by one, from the last to the first, so that
        a random readout does not disturb it. ``"layerwise"``: all weights are trained, the slower
        the nearer a layer is to the input. ``"replay"``: all weights are trained, with the
        objective of pre-training as a second loss on its frames, so that little is forgotten.
    {strategies}
    replay : str or Path, optional
        Frames for ``strategy="replay"``: an extended XYZ file, or a folder with
        ``graphs.safetensors`` and, for objectives with labels, ``labels.safetensors``
        (``CrystalGraphs.save``, ``FrameLabels.save``).
    replay_weight : float
        Weight of that second loss.
    replay_ratio : float
        Maximum number of frames, drawn once, for each crystal of ``fit``.
    {kernel}
    target : {"crystal", "atom", "vector", "tensor"}
        Form of the property, and of y: numbers of a crystal ``(n,)`` or ``(n, k)``; one number
        for each atom, such as charges and magnetic moments, as a list of n arrays; a vector
        ``(n, 3)``; a symmetric matrix ``(n, 3, 3)`` or ``(n, 6)``, or elastic stiffness
        ``(n, 6, 6)`` or ``(n, 21)``, in Voigt's order (see :class:`TensorTargets`). Vectors and
        tensors turn with the crystal, and need a backbone with vectors (:class:`TorchMDNet`).
    {diagnosis}
    {readout}
    loss : {"l1", "huber", "mse"}
        Loss of each property.
    huber_delta : float
        Where the Huber loss turns linear, in units of the (standardised) property.
    standardize : bool
        Learn each property minus its mean, divided by its standard deviation, both of the
        training crystals. The papers do without. Means of atoms are those of their element, and
        of tensors the mean isotropic one.
    bounds : tuple of (float or None, float or None), optional
        Least and largest possible value, such as ``(0, None)`` for a band gap. Predictions and
        the ends of intervals are clipped, which never makes an error larger; standard deviations
        are scaled to the errors of clipped predictions. Labels out of bounds are an error.
    {optimiser}
    calibration_fraction : float or splitter
        Fraction of the crystals that is neither trained nor validated on (whole groups if ``fit``
        gets groups), for ``predict(X, return_std=True)``, :meth:`predict_interval` and
        :meth:`distance`; 0 for none of these, but that ``strategy="kernel"`` has them in any case.
    {validation}
    {epoch_scoring}
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
        With ``strategy="blended"`` these are of the network alone; in place of ``"frozen_probe"``
        there are ``"kernel"``, the error of the blend's own kernel machine, with each validation
        crystal left out, and ``"blend"``, that of the weighted mean. Errors are in the unit of
        the property, or, of several, in standard deviations, and crystals count in them by their
        ``sample_weight``. They are missing if fewer than ten crystals validate; all is empty
        without a pre-trained model.
    kernel_ : object or None
        The kernel machine of ``strategy="kernel"`` and ``"blended"``, as ``kernel_.machine``.
    weights_ : dict of str to ndarray of shape (k,)
        Weights of the network (``"network"``) and of the kernel machine (``"kernel"``) in the
        predictions of each property: those of the least error on the validation crystals, drawn
        towards one half where these are few. One of the two has all the weight with other
        strategies than ``"blended"``.
    uncertainty_ : dict
        Scales and scores of errors on the crystals of ``calibration_fraction``; with
        ``strategy="kernel"`` and none of these, of each training crystal predicted from the others.
    y_ndim_ : int
        Whether ``fit`` got one property as ``(n,)`` (1), or columns (2).
    target_names_ : list of str or None
        Names of the columns, if y was a DataFrame.

    See Also
    --------
    Pretrainer : Pre-trains the models for ``pretrained``.

    Notes
    -----
    Which ``strategy`` for how many labels? With few, a fine-tuned network and a Gaussian process
    on the embeddings it started from err in different crystals. With 200 labels their mean was
    better than the network on all of ten data sets, and than the process on five of them: the
    average gain over training from scratch was 40 % by the mean, 39 % by the process alone, in 1/25
    of the time of that training, and 22 % by the network (``benchmarks/pretrained_gain.py``). So
    begin with ``"auto"``, or with ``"kernel"``, which costs seconds. Of networks alone,
    pre-trained on a force field, ``"full"`` was best on 50, 200 and 600 labels of MatBench's
    phonons (a sixth to a quarter below training from scratch), ``"frozen_then_full"`` and
    ``"layerwise"`` came near it at 50 labels, and ``"head"`` stayed behind
    (``benchmarks/strategies.py``). Take one of the two gentler ones where fine-tuning is worse than
    training from scratch; ``"replay"`` where the model has to keep its forces, or meets crystals
    unlike those of ``fit``.

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
        strategy: str = "auto",
        frozen_epochs: float = 0.25,
        layer_decay: float = 0.7,
        replay: Any = None,
        replay_weight: float = 1.0,
        replay_ratio: float = 1.0,
        kernel_features: Sequence[Any] = ("composition", "fingerprint", "force_field"),
        target: str = "crystal",
        backbone_lr_scale: float = 1.0,
        diagnose: bool = True,
        pooling: str = "mean",
        readout: str = "late",
        head_channels: int | None = None,
        head_layers: int = 1,
        loss: str = "l1",
        huber_delta: float = 0.1,
        standardize: bool = True,
        bounds: Any = None,
        max_epochs: int = 100,
        max_time: float | str | None = None,
        batch_size: int = 32,
        max_edges: int | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        schedule: Any = "cosine",
        gradient_clip: float | None = 10.0,
        ema_decay: float | None = 0.99,
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
        self.replay = replay
        self.replay_weight = replay_weight
        self.replay_ratio = replay_ratio
        self.kernel_features = kernel_features
        self.target = target
        self.backbone_lr_scale = backbone_lr_scale
        self.diagnose = diagnose
        self.pooling = pooling
        self.readout = readout
        self.head_channels = head_channels
        self.head_layers = head_layers
        self.loss = loss
        self.huber_delta = huber_delta
        self.standardize = standardize
        self.bounds = bounds
        self.max_epochs = max_epochs
        self.max_time = max_time
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
        self.epoch_scoring = epoch_scoring
        self.resume = resume
        self.embedding_layer = embedding_layer
        self.embedding_pooling = embedding_pooling
        self.n_processes = n_processes
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
            complete. Other forms with other values of ``target``: of atoms, NaN marks missing
            values, and None a crystal that has none.
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
        # The containers still have their indexes here; arrays made of them have not.
        warn_of_other_order(X, y=y, groups=groups, sample_weight=sample_weight)
        form = form_of_target(self.target)
        objective = form.make_objective(self.get_params(deep=False))
        values = form.check_labels(y)
        names = target_names(y)
        if isinstance(objective, PropertyTargets):
            warn_of_outlying_labels(values, y)
        learnt = {"y_ndim_": np.ndim(values), "target_names_": names}
        self._finetune(X, values, objective, groups, sample_weight, learnt)
        return self

    def _keep(self, fitted: FineTuned, learnt: Mapping[str, Any]) -> None:
        super()._keep(fitted, learnt)
        self.uncertainty_ = fitted.uncertainty

    @property
    def weights_(self) -> dict[str, np.ndarray]:
        """Weights of the network and of the kernel machine in predictions, for each property."""
        check_is_fitted(self, "net_")
        if isinstance(self.kernel_, BlendedHead):
            network = self.kernel_.shares
        else:
            network = np.full(self.spec_.layout.get("n_outputs", 1), 0.0 if self.kernel_ else 1.0)
        return {"network": network, "kernel": 1 - network}

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the properties of crystals.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the training did.
        return_std : bool
            Whether to return standard deviations too: those of a Bayesian linear model on the
            last layer's features, scaled to the errors on the crystals of ``calibration_fraction``;
            with a kernel machine those of the Gaussian process, scaled likewise.

        Returns
        -------
        ndarray of shape (n,) or (n, k), or DataFrame
            The properties in their own units, with as many axes as the ``y`` of ``fit``. If that
            was a DataFrame, this is one with its columns, and with the index of X where X has one.
            With ``target="atom"`` an object array of n arrays; with ``"vector"`` and ``"tensor"``
            an array of the shape of y.
        std : the same
            Only if ``return_std``.

        Raises
        ------
        ValueError
            If the graphs were built with other settings, or hold an element out of range; if
            standard deviations are asked for and there was no ``calibration_fraction``, unless
            ``strategy="kernel"``, which has them in any case.
        """
        if return_std:
            values, std = self._values_and_std(X, return_std)
            return self._like_y(values, X), self._like_y(std, X)
        return self._like_y(self._predict(X), X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the coefficient of determination, averaged over properties.

        Of values of atoms it is taken over all atoms, of vectors and tensors in the Frobenius
        norm, where 0 is as good as the mean isotropic tensor.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.
        y : array-like of shape (n,) or (n, k)
            Their properties; missing ones (NaN) are left out. Columns of a DataFrame are
            compared by their names, if the ``y`` of ``fit`` had names.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals.

        Returns
        -------
        float
            R^2; 1 is perfect, 0 as good as the mean.
        """
        warn_of_other_order(X, y=y, sample_weight=sample_weight)
        graphs, objective = self._graphs_to_predict(X), self.spec_.objective
        y = columns_in_order(y, self.target_names_)
        # y is checked as in fit, and rows without a label are known as such.
        form = form_of_objective(objective)
        targets = objective.make_targets(graphs, form.stack_rows(y))
        targets = add_sample_weight(targets, sample_weight)
        return form.score(targets, self._predict(graphs))

    def _predict_by_kernel(
        self, kernel: KernelHead | BlendedHead, graphs: CrystalGraphs
    ) -> np.ndarray:
        values, _ = self._predict_with_kernel(kernel, graphs)
        clipped: np.ndarray = self._bounds().clip(values)
        return clipped

    def _like_y(self, values: np.ndarray, X: Any) -> Any:
        """Return predictions of crystals in the form of y; those of atoms are in it already."""
        if self.y_ndim_ == 1 and values.ndim == 2:
            return values[:, 0]
        if self.target_names_ is None:
            return values
        import pandas as pd

        return pd.DataFrame(values, columns=self.target_names_, index=index_of(X))

    def _learnt_state(self) -> dict[str, Any]:
        names = ("uncertainty_", "y_ndim_", "target_names_")
        return {**super()._learnt_state(), **{name: getattr(self, name) for name in names}}

    def _set_learnt_state(self, state: dict[str, Any]) -> None:
        super()._set_learnt_state(state)
        self.uncertainty_, self.y_ndim_ = state["uncertainty_"], state["y_ndim_"]
        self.target_names_ = state["target_names_"]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Columns of y are properties, learnt by one network.
        tags.target_tags.multi_output = True
        return tags
