"""Networks of a study and their pre-trainings, as declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gnnpre._validation import check_choice, check_number
from gnnpre.backbones import Backbone
from gnnpre.estimators import Pretrainer
from gnnpre.graphs import StructureToGraph
from gnnpre.objectives import Objective
from gnnpre.pretrained import list_pretrained

from ._checks import (
    PRETRAINING,
    as_names,
    check_finetuning,
    check_name,
    check_settings,
    check_type,
    set_field,
)

__all__ = ["Network", "Pretraining"]

LEAK_LEVELS = ("structure", "prototype", "composition")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A backbone of a study, with settings of its own.

    Parameters
    ----------
    name : str
        Name in tables and records.
    backbone : Backbone, optional
        The config; needed unless ``model`` is set.
    model : str, optional
        Name of a model in the package, such as ``"gnnpre-1"``: the network has its config and its
        graphs. Its weights are used by strategies whose ``pretraining`` is that name.
    graphs : StructureToGraph, optional
        How its graphs are built; by default as the study says, or as those of the model.
    pretraining : mapping
        Settings of every pre-training in which this network differs.
    finetuning : mapping
        Settings of fine-tuning, and of training from scratch, in which it differs.

    Examples
    --------
    >>> from gnnpre import TorchMDNet
    >>> from gnnpre.study import Network
    >>> Network(name="et", backbone=TorchMDNet(64), finetuning={"learning_rate": 5e-4}).name
    'et'
    """

    name: str
    backbone: Backbone | None = None
    model: str | None = None
    graphs: StructureToGraph | None = None
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    finetuning: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name("name of a backbone", self.name)
        if self.model is not None:
            self._take_model()
        check_type(f"backbone of {self.name}", self.backbone, Backbone, "CGCNN()")
        if self.graphs is not None:
            check_type(f"graphs of {self.name}", self.graphs, StructureToGraph, "cutoff=5.0")
        check_settings(f"pretraining of {self.name}", self.pretraining, PRETRAINING)
        check_finetuning(f"finetuning of {self.name}", self.finetuning)

    def _take_model(self) -> None:
        """Take config and graphs from the model in the package."""
        check_choice(f"model of {self.name}", self.model, tuple(list_pretrained()))
        if self.backbone is not None or self.graphs is not None:
            raise ValueError(
                f"Network {self.name!r} has model={self.model!r}, which has a backbone and graphs "
                "of its own: leave backbone and graphs out."
            )
        pretrainer = Pretrainer.load(str(self.model))
        set_field(self, "backbone", pretrainer.spec_.backbone)
        set_field(self, "graphs", StructureToGraph(**pretrainer.graph_settings_.to_dict()))


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A pre-training, done once for each backbone and shared by all evaluations that use it.

    Parameters
    ----------
    name : str
        Name that strategies call it by.
    objective : Objective
        The pre-training objective.
    sources : sequence of str
        Paths of files of frames (extended XYZ; frames with large forces or stresses are left
        out) or of tables (MatBench's JSON, Parquet, CSV), or names of MatBench tables. ``~`` and
        environment variables such as ``$GNNPRE_DATA`` are expanded in paths. Labels come with
        them: energies, forces and stresses of frames, columns of tables. A label that a source
        lacks is missing (NaN) there.
    targets : sequence of str, optional
        Columns that ``PropertyTargets`` learns; all columns of the sources by default.
    max_structures : int, optional
        Crystals to draw; all by default.
    random_state : int
        Seed of that draw, of weights and of the validation split.
    drop_leaks : sequence of str
        Data sets of the study; crystals that occur in one of them are left out.
    leak_level : {"structure", "prototype", "composition"}
        Level at which two crystals count as the same; see
        :func:`gnnpre.model_selection.drop_leaks`.
    settings : mapping
        Parameters of the ``Pretrainer``, on top of those common to all pre-trainings.

    Examples
    --------
    >>> from gnnpre import EAD, FingerprintTargets
    >>> from gnnpre.study import Pretraining
    >>> Pretraining(name="ead", objective=FingerprintTargets(EAD()), sources=["phonons"]).sources
    ('phonons',)
    """

    name: str
    objective: Objective
    sources: Sequence[str]
    targets: Sequence[str] | None = None
    max_structures: int | None = None
    random_state: int = 0
    drop_leaks: Sequence[str] = ()
    leak_level: str = "structure"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # 1. names and lists
        check_name("name of a pre-training", self.name)
        check_type(f"objective of {self.name}", self.objective, Objective, "ForceField()")
        for name in ("sources", "drop_leaks"):
            set_field(self, name, as_names(f"{name} of {self.name}", getattr(self, name)))
        if not self.sources:
            raise ValueError(
                f"sources of {self.name} is empty; expected at least one, such as 'frames.extxyz'."
            )
        if self.targets is not None:
            set_field(self, "targets", as_names(f"targets of {self.name}", self.targets))
        # 2. numbers and settings
        if self.max_structures is not None:
            check_number(f"max_structures of {self.name}", self.max_structures, integer=True)
        check_number(f"random_state of {self.name}", self.random_state, integer=True, low=-1)
        check_choice(f"leak_level of {self.name}", self.leak_level, LEAK_LEVELS)
        check_settings(f"settings of {self.name}", self.settings, PRETRAINING)
