"""The estimator that pre-trains a backbone."""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from gnnpre._row_order import warn_of_other_order
from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.backbones import Backbone
from gnnpre.objectives import Objective

from ._base import CrystalEstimator
from ._files import check_recorded_paths, epoch_writer, saved_parameters
from ._network import FitInterrupted, TrainedNetwork
from ._parameters import document
from ._pretraining import PretrainingSettings, make_labelled_targets, pretrain

__all__ = ["Pretrainer"]


@document
class Pretrainer(CrystalEstimator):
    """Pre-train a backbone on crystals by an objective.

    A fitted pre-trainer predicts the labels of its objective, embeds crystals
    (:meth:`transform`), and is a start for the weights of a :class:`PropertyRegressor`.

    Parameters
    ----------
    backbone : Backbone, optional
        Config of the network; ``CGCNN()`` by default.
    objective : Objective, optional
        Config of the objective; ``ForceField()`` by default.
    pretrained : str, Path or FrozenEstimator, optional
        Model to go on from, whose backbone takes the place of ``backbone``: ``"gnnpre-1-forces"``
        or another name of :func:`gnnpre.list_pretrained`; a file or folder that an estimator's
        ``save`` wrote; or ``sklearn.frozen.FrozenEstimator`` around a fitted one. Its weights are
        copied in each ``fit``, never changed. See the notes.
    {optimiser}
    {validation}
    checkpoint_epochs : list or tuple of int, optional
        Epochs after which the model is saved too, such as ``(12, 25, 50, 100, 200)``: in
        ``checkpoint_dir``, as :meth:`save` would after a training that ended there. See the notes.
    {resume}

    Attributes
    ----------
    {fitted}
    history_ : list of dict
        Losses of each epoch.
    checkpoints_ : dict of int to str
        Files of the ``checkpoint_epochs``, as :meth:`load` and ``PropertyRegressor(pretrained=)``
        read them; empty where none were asked for.

    See Also
    --------
    PropertyRegressor : Fine-tunes a pre-trained model.

    Notes
    -----
    ``pretrained`` takes the backbone, and the head of each objective that the pre-trained model
    has learnt too, if it has the same shape. Means and spreads of labels are those of the new
    training set. A force field keeps its reference energies of the elements, to which those are
    added that best explain the difference from the new energies, such as the offsets of another
    code or of other pseudopotentials; with ``ForceField(reference_energies=None)`` nothing is
    added.

    ``checkpoint_epochs`` keeps, of one training, the models that trainings of fewer epochs would
    have ended with: with ``restore_best`` the best one so far, else that of the epoch; of averaged
    weights with ``ema_decay``. Only the cosine schedule, which looks at ``max_epochs``, has a
    learning rate in those epochs that a shorter training would not have had: use ``schedule=None``
    or ``"plateau"`` where the difference matters.

    Files are ``checkpoint_dir/<run>/epoch_0012.gnnpre``, with a folder for each set of parameters
    and data, the name of which is also that of the state to resume from. Each is written whole or
    not at all. A resumed training leaves the same weights in them as an uninterrupted one. Epochs
    that an early stop never reaches have no file, and ``fit`` warns of them.

    Examples
    --------
    >>> from gnnpre import CGCNN, ForceField, Pretrainer
    >>> from gnnpre.datasets import make_emt_frames
    >>> structures, labels = make_emt_frames(12, random_state=0)
    >>> pretrainer = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1, random_state=0)
    >>> pretrainer.fit(structures, labels).predict(structures[:2]).energy.shape
    (2,)
    """

    # Used by scikit-learn's metadata routing where it is enabled: requested by default.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True, "sample_weight": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"sample_weight": True}

    def __init__(
        self,
        backbone: Backbone | None = None,
        objective: Objective | None = None,
        *,
        pretrained: Any = None,
        max_epochs: int = 100,
        max_time: float | str | None = None,
        batch_size: int = 32,
        max_edges: int | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 0.01,
        schedule: Any = "cosine",
        gradient_clip: float | None = 10.0,
        ema_decay: float | None = None,
        validation_fraction: Any = 0.1,
        patience: int | None = None,
        restore_best: bool = True,
        device: str = "auto",
        dtype: str = "float32",
        compile: bool | str = "auto",
        random_state: Any = None,
        callbacks: Any = None,
        checkpoint_dir: str | None = None,
        checkpoint_epochs: Sequence[int] | None = None,
        resume: bool = False,
        embedding_layer: int = -1,
        embedding_pooling: str = "mean",
        n_processes: int | str | None = None,
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.objective = objective
        self.pretrained = pretrained
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
        self.checkpoint_epochs = checkpoint_epochs
        self.resume = resume
        self.embedding_layer = embedding_layer
        self.embedding_pooling = embedding_pooling
        self.n_processes = n_processes
        self.verbose = verbose

    def fit(
        self, X: Any, y: Any = None, groups: Any = None, sample_weight: Any = None
    ) -> "Pretrainer":
        """Pre-train on crystals.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs with the defaults of ``StructureToGraph``.
        y : object, optional
            The labels that the objective asks for: ``FrameLabels`` for ``ForceField``. Objectives
            without labels ignore it.
        groups : array-like of shape (n,), optional
            Crystals of one group are never on both sides of the validation split.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals in the loss.

        Returns
        -------
        Pretrainer
            This estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, a crystal or a label is not as expected; the message names it.
        """
        warn_of_other_order(X, y=y, groups=groups, sample_weight=sample_weight)
        self._fit_rows(X, y, groups, sample_weight)
        return self

    def _fit_rows(
        self,
        X: Any,
        y: Any = None,
        groups: Any = None,
        sample_weight: Any = None,
        rows: np.ndarray | None = None,
    ) -> TrainedNetwork:
        """Fit on some rows of X, all by default, without a copy of them."""
        settings = self._checked_settings()
        parameters = self.get_params(deep=False)
        make_writer = None
        if self.checkpoint_epochs is not None:
            make_writer = partial(epoch_writer, type(self).__name__, saved_parameters(parameters))
        try:
            network = pretrain(
                settings, X, y, groups, sample_weight, rows=rows, make_writer=make_writer
            )
        except FitInterrupted as interrupt:
            self._keep(interrupt.network)
            # Within the fit of another estimator, this network is not that of its labels.
            raise KeyboardInterrupt(*interrupt.args) from interrupt
        self._keep(network)
        self._warn_unreached()
        return network

    def _keep(self, network: TrainedNetwork) -> None:
        """Set the fitted attributes."""
        self._set_network(network)
        self.checkpoints_ = dict(network.net.checkpoints_)

    def _checked_settings(self) -> PretrainingSettings:
        """Return a copy of the parameters, after all checks that need no data."""
        settings = PretrainingSettings.from_parameters(self.get_params(deep=False))
        # Nested parameters exist once the objective is known to be sound.
        check_recorded_paths(self.get_params())
        return settings

    def _warn_unreached(self) -> None:
        epochs = () if self.checkpoint_epochs is None else self.checkpoint_epochs
        if missing := sorted(set(epochs) - set(self.checkpoints_)):
            warn_user(
                f"Training stopped after {len(self.history_)} epochs: there is no checkpoint of "
                f"{', '.join(map(str, missing))}. patience and callbacks decide when it stops.",
                TrainingWarning,
            )

    def predict(self, X: Any) -> Any:
        """Predict the labels of the objective.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the training did.

        Returns
        -------
        object
            Energy, forces and stress (``FrameLabels``) for ``ForceField``, properties (an array)
            for ``PropertyTargets``, displacements (a list of arrays) for ``Denoising``, a dict of
            the predictions of each objective for ``Mixture``.

        Raises
        ------
        ValueError
            If the graphs were built with other settings, or hold an element out of range.
        """
        return self._predict(X)

    def calculator(
        self, *, skin: float = 0.5, dtype: str = "float32", device: str = "auto", **kwargs: Any
    ) -> Any:
        """Return the fitted force field as a calculator of ASE.

        Parameters
        ----------
        skin : float
            Additional reach of the neighbour list in Å.
        dtype : {"float32", "float64"}
            Precision of the network.
        device : str
            Where it runs.
        **kwargs : dict
            Further parameters of :class:`~gnnpre.calculators.ForceFieldCalculator`.

        Returns
        -------
        gnnpre.calculators.ForceFieldCalculator
            The calculator, with weights of its own: a later ``fit`` does not change it.

        Raises
        ------
        ValueError
            If the objective has no forces, or a parameter is out of range.
        """
        # Calculators build on estimators: this is the one import the other way, at call time.
        calculators = import_module("gnnpre.calculators")
        return calculators.ForceFieldCalculator(
            self, skin=skin, dtype=dtype, device=device, **kwargs
        )

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the loss on a data set, so that more is better.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals.
        y : object, optional
            Their labels.
        sample_weight : array-like of shape (n,), optional
            Weights of the crystals.

        Returns
        -------
        float
            Minus the loss, which scales with the weights in the objective: a search over those
            needs a scorer of its own. Noise, where the objective has any, is the same each time.

        Raises
        ------
        ValueError
            If there is nothing to compare with: no label counts in the loss.
        """
        warn_of_other_order(X, y=y, sample_weight=sample_weight)
        graphs = self._graphs_to_predict(X)
        targets = make_labelled_targets(self.spec_.objective, graphs, y, sample_weight)
        return -self._loss(graphs, targets)["loss"]

    def _learnt_state(self) -> dict[str, Any]:
        return {"checkpoints_": self.checkpoints_}

    def _set_learnt_state(self, state: dict[str, Any]) -> None:
        # JSON's keys are strings.
        self.checkpoints_ = {int(key): path for key, path in state.get("checkpoints_", {}).items()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.objective is None or self.objective.needs_labels
        return tags
