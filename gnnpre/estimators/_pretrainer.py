"""The estimator that pre-trains a backbone."""

from collections.abc import Sequence
from typing import Any, ClassVar

from sklearn.base import clone

from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.backbones import CGCNN, Backbone
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import ForceField, Objective, Targets

from ._embedding import EmbeddingMixin
from ._inputs import add_sample_weight, as_graphs

__all__ = ["Pretrainer"]


class Pretrainer(EmbeddingMixin):
    """Pre-train a backbone on crystals by an objective.

    A fitted pre-trainer predicts what its objective speaks of, embeds crystals
    (:meth:`transform`), and gives its weights to a :class:`PropertyRegressor`.

    Parameters
    ----------
    backbone : Backbone, optional
        Config of the network; ``CGCNN()`` by default.
    objective : Objective, optional
        Config of what is learnt; ``ForceField()`` by default.
    max_epochs : int
        Passes through the training set.
    batch_size : int
        Most crystals in a batch.
    max_edges : int, optional
        Most edges in a batch, so that large crystals come in smaller batches; no limit by
        default.
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
    checkpoint_epochs : list or tuple of int, optional
        Epochs after which the model is kept too, such as ``(12, 25, 50, 100, 200)``: what
        :meth:`save` would write of a training that ended there, in ``checkpoint_dir``. See the
        notes.
    resume : bool
        Go on from the state in ``checkpoint_dir`` where there is one; the weights at the end are
        those of an uninterrupted training. A finished training is not repeated. Needs a
        ``random_state``. Callbacks of your own are resumed if they have ``state()`` (JSON-able)
        and ``load_state(state)``; others start anew.
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
        Losses of each epoch.
    graph_settings_ : GraphSettings
        How the graphs were built.
    elements_ : list of int
        Atomic numbers seen in training.
    checkpoints_ : dict of int to str
        Files of the ``checkpoint_epochs``, as :meth:`load` and ``PropertyRegressor(pretrained=)``
        read them; empty where none were asked for.

    See Also
    --------
    PropertyRegressor : Fine-tunes what was pre-trained.

    Notes
    -----
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
        max_epochs: int = 100,
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
        verbose: int = 0,
    ) -> None:
        self.backbone = backbone
        self.objective = objective
        self.max_epochs = max_epochs
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
        self._training_settings()
        backbone, objective = self._configs()
        graphs = as_graphs(X, None)
        targets = self._targets(graphs, y, sample_weight, objective)
        objective.check_graphs(graphs)
        self._fit_model(
            graphs,
            targets,
            backbone,
            objective,
            groups=groups,
            seed=self._draw_seed(),
        )
        self.checkpoints_ = dict(self.net_.checkpoints_)
        self._warn_unreached()
        return self

    def _warn_unreached(self) -> None:
        epochs = () if self.checkpoint_epochs is None else self.checkpoint_epochs
        if missing := sorted(set(epochs) - set(self.checkpoints_)):
            warn_user(
                f"Training stopped after {len(self.history_)} epochs: there is no checkpoint of "
                f"{', '.join(map(str, missing))}. patience and callbacks decide when it stops.",
                TrainingWarning,
            )

    def _configs(self) -> tuple[Backbone, Objective]:
        """Copy the configs, so that a later change of the parameters changes no model."""
        for name, kind in (("backbone", Backbone), ("objective", Objective)):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise TypeError(
                    f"{name} is {value!r}; expected a {kind.__name__} config such as "
                    f"{'CGCNN()' if kind is Backbone else 'ForceField()'}."
                )
        backbone = CGCNN() if self.backbone is None else clone(self.backbone)
        objective = ForceField() if self.objective is None else clone(self.objective)
        return backbone, objective

    def _targets(
        self, graphs: CrystalGraphs, y: Any, sample_weight: Any, objective: Objective
    ) -> Targets:
        if y is None and objective.needs_labels:
            raise ValueError(
                f"y is None, but {type(objective).__name__} learns from labels. This estimator "
                "requires y to be passed, or an objective that needs none."
            )
        targets = objective.make_targets(graphs, y)
        return add_sample_weight(targets, sample_weight)

    def predict(self, X: Any) -> Any:
        """Predict what the objective speaks of.

        Parameters
        ----------
        X : CrystalGraphs of shape (n,), or n structures
            The crystals; structures become graphs as those of the training did.

        Returns
        -------
        object
            Energy, forces and stress (``FrameLabels``) for ``ForceField``, properties (an array)
            for ``PropertyTargets``, displacements (a list of arrays) for ``Denoising``, a dict with
            what each part predicts for ``Mixture``.

        Raises
        ------
        ValueError
            If the graphs were built with other settings, or hold an element out of range.
        """
        return self._predict(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Give minus the loss on a data set, so that more is better.

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
        """
        graphs = self._graphs_to_predict(X)
        targets = self._targets(graphs, y, sample_weight, self.spec_.objective)
        return -self._loss(graphs, targets)["loss"]

    def _extra_state(self) -> dict[str, Any]:
        return {"checkpoints_": self.checkpoints_}

    def _set_extra_state(self, state: dict[str, Any]) -> None:
        # JSON's keys are strings.
        self.checkpoints_ = {int(key): path for key, path in state.get("checkpoints_", {}).items()}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.objective is None or self.objective.needs_labels
        return tags
