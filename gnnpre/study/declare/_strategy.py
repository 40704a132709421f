"""Rows of the tables of a study, as declared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gnnpre._validation import check_choice, check_number
from gnnpre.training import seconds_of

from ._checks import (
    as_names,
    check_finetuning,
    check_name,
    check_settings,
    check_text,
    set_field,
)

__all__ = ["OF_KIND", "Recipe", "Strategy"]

KINDS = ("finetune", "blended", "kernel", "ensemble")
#: Settings of fine-tuning that kinds without one network have.
OF_KIND = {
    "kernel": ("kernel_features", "bounds", "dtype", "pooling"),
    "ensemble": ("kernel_features", "bounds", "max_epochs"),
}


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """A row of the tables for each backbone: where training starts from, and how it goes.

    Parameters
    ----------
    name : str
        Name of the row. Improvements of the others are relative to ``"scratch"``.
    pretraining : str, optional
        The pre-training to start from, or the name of a model in the package such as
        ``"gnnpre-1"`` for networks that are declared with it; random weights by default.
    kind : {"finetune", "blended", "kernel", "ensemble"}
        Train the network; or the network and a kernel machine on its frozen embeddings, blended
        (the default of ``PropertyRegressor(pretrained=...)``); or that machine alone
        (``strategy="kernel"``); or a ``PropertyEnsemble`` of both and of a kernel machine without
        a network. Kernel machines on a model of the package have the ``kernel_features`` of
        ``PropertyRegressor`` by default, ``"force_field"`` among them; those on a pre-training of
        the study have it if ``finetuning`` names it. Kernel machines and ensembles learn from
        training and validation crystals before they are tested, as they choose no epoch. The
        validation error of a blend or of an ensemble is that of predictions of crystals that each
        model had left out.
    epoch : int, optional
        Start from the weights of the pre-training after this epoch, one of its
        ``checkpoint_epochs``; by default from those at its end.
    members : int, optional
        Number of networks to train with different seeds; the prediction is their mean. A row
        that differs in nothing else is the first of them, and is trained once.
    of : sequence of str, optional
        Train nothing; predict the mean of the predictions of these strategies or baselines.
    max_time : float or str, optional
        Time that each fit of an ensemble should take, in seconds or as text (``"10min"``).
    finetuning : mapping
        Settings of fine-tuning in which this strategy differs; of kind ``"kernel"``
        ``kernel_features``, ``bounds``, ``dtype`` and ``pooling``, of an ensemble
        ``kernel_features``, ``bounds`` and ``max_epochs``. Other settings than
        ``transfer`` and ``strategy``, which are about pre-trained weights, change its budget: note
        that in ``notes`` of the study.
    backbones : sequence of str, optional
        Networks to use it with; all by default.
    data : sequence of str, optional
        Data sets to use it on; all by default.

    Examples
    --------
    >>> from gnnpre.study import Strategy
    >>> Strategy(name="forces_x5", pretraining="forces", members=5).kind
    'finetune'
    """

    name: str
    pretraining: str | None = None
    kind: str = "finetune"
    epoch: int | None = None
    members: int | None = None
    of: Sequence[str] | None = None
    max_time: float | str | None = None
    finetuning: Mapping[str, Any] = field(default_factory=dict)
    backbones: Sequence[str] | None = None
    data: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_name("name of a strategy", self.name)
        check_choice(f"kind of {self.name}", self.kind, KINDS)
        if self.pretraining is not None:
            check_text(f"pretraining of {self.name}", self.pretraining)
        for name, low in (("epoch", 0), ("members", 1)):
            if getattr(self, name) is not None:
                check_number(f"{name} of {self.name}", getattr(self, name), integer=True, low=low)
        for name in ("of", "backbones", "data"):
            if getattr(self, name) is not None:
                set_field(self, name, as_names(f"{name} of {self.name}", getattr(self, name)))
        self._check_time()
        check_finetuning(f"finetuning of {self.name}", self.finetuning)
        self._check_start()
        self._check_kind()
        self._check_of()

    def _check_time(self) -> None:
        try:
            seconds_of(self.max_time)
        except (TypeError, ValueError) as error:
            raise type(error)(f"Strategy {self.name!r}: {error}") from error

    def _check_of(self) -> None:
        if self.of is None:
            return
        if len(self.of) < 2:
            raise ValueError(
                f"of of {self.name} is {list(self.of)}; expected at least two strategies."
            )
        if self.pretraining or self.members or self.finetuning or self.name == "scratch":
            raise ValueError(
                f"Strategy {self.name!r} is the mean of {', '.join(self.of)} and trains nothing: "
                "leave pretraining, members and finetuning out, and do not call it scratch."
            )

    def _check_start(self) -> None:
        # Each kind of row has fields that mean nothing for it: an error, not silence.
        if self.pretraining is None and (self.kind != "finetune" or self.epoch is not None):
            setting = f"epoch={self.epoch}" if self.kind == "finetune" else f"kind={self.kind!r}"
            raise ValueError(
                f"Strategy {self.name!r} has {setting} but no pretraining; expected the name of "
                "one."
            )
        if self.name == "scratch" and (self.pretraining is not None or self.members is not None):
            raise ValueError(
                "Strategy 'scratch' has a pretraining or members; it is one training from random "
                "weights, which the others are compared with. Give this strategy another name."
            )

    def _check_kind(self) -> None:
        if self.max_time is not None and self.kind != "ensemble":
            raise ValueError(
                f"Strategy {self.name!r} has a max_time and kind={self.kind!r}; expected "
                "kind='ensemble'. Leave max_time out, or set max_epochs in finetuning."
            )
        if self.kind == "finetune":
            return
        if self.members is not None:
            raise ValueError(
                f"Strategy {self.name!r} has members={self.members} and kind={self.kind!r}; "
                "members are networks of kind 'finetune'. Leave members out."
            )
        if self.kind == "blended":
            if "strategy" in self.finetuning:
                raise ValueError(
                    f"Strategy {self.name!r} is of kind 'blended' and its finetuning has a "
                    "strategy. Leave one of them out."
                )
            return
        check_settings(f"finetuning of {self.name}", self.finetuning, OF_KIND[self.kind])


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An estimator of your own, for studies declared in Python.

    Parameters
    ----------
    make : callable
        Function from a :class:`RecipeContext` to a scikit-learn regressor that takes a list of
        structures. It is fitted on the training crystals alone. Part of the key of the job, so that
        a change is run anew, are the source of this function and of functions and classes of the
        same module that it uses, and the values of its defaults and of variables around it.
    needs : sequence of str
        Pre-trainings whose files the context lists.
    backbone : str, optional
        Network that was pre-trained, next to which the row stands in the tables.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from gnnpre import WACSF
    >>> from gnnpre.study import Recipe
    >>> recipe = Recipe(make=lambda context: make_pipeline(WACSF(pooling="mean"), Ridge()))
    """

    make: Callable[[Any], Any]
    needs: Sequence[str] = ()
    backbone: str | None = None

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise TypeError(f"make is {self.make!r}; expected a function of a RecipeContext.")
        set_field(self, "needs", as_names("needs of a recipe", self.needs))
        if self.needs and self.backbone is None:
            raise ValueError(
                f"A recipe needs={list(self.needs)} without backbone: there is one pre-training a "
                "backbone. Name the network."
            )
