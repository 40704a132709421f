"""The declaration of a study: plain objects, checked when they are made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gnnpre._validation import check_choice, check_number
from gnnpre.graphs import StructureToGraph
from gnnpre.pretrained import list_pretrained

from ._checks import (
    PRETRAINING,
    as_names,
    as_tuple,
    check_finetuning,
    check_known,
    check_name,
    check_settings,
    check_text,
    check_type,
    check_unique,
    set_field,
)
from ._data_set import DataSet
from ._networks import Network, Pretraining
from ._strategy import Recipe, Strategy

__all__ = ["BASELINES", "Study"]

#: Models without a network that stand in every table unless the study says otherwise.
BASELINES = (
    "mean",
    "ridge_composition",
    "forest_composition",
    "ridge_fingerprint",
    "forest_fingerprint",
    "svr",
    "kernel",
    "extra_trees",
)
#: Those that need an extra, and stand in tables of studies that ask for them.
OPTIONAL = ("svr_chgnet", "kernel_chgnet")
PROTOCOLS = ("papers", "matbench")
#: Type and example of what the lists of a study hold.
DECLARED = {
    "backbones": (Network, "Network(name='cgcnn', backbone=CGCNN())"),
    "strategies": (Strategy, "Strategy(name='scratch')"),
    "pretrainings": (Pretraining, "Pretraining(name='ead', objective=..., sources=[...])"),
}
SEEDS = {"papers": (111, 222, 333, 444, 555), "matbench": (0,)}


@dataclass(frozen=True, kw_only=True)
class Study:
    """Data sets x backbones x strategies x seeds, or folds.

    Parameters
    ----------
    name : str
        Title of the report.
    data : sequence of DataSet or str
        The data sets; a str is the name of a MatBench table.
    backbones : sequence of Network
        The networks.
    strategies : sequence of Strategy
        The rows of each network. ``"scratch"`` must be one of them where there are others.
    protocol : {"papers", "matbench"}
        ``"papers"``: for each seed a random split into 0.6, 0.2 and 0.2 for training, validation
        and test. ``"matbench"``: five folds by ``KFold(5, shuffle=True, random_state=18012019)``
        on the rows in their order, each tested once.
    seeds : sequence of int, optional
        Seeds of splits and weights; by default 111, 222, 333, 444 and 555, and for
        ``"matbench"`` 0.
    validation : float
        Part of a fold's training crystals that validates, for ``"matbench"``.
    graphs : StructureToGraph
        How graphs are built.
    pretrainings : sequence of Pretraining
        The pre-trainings that strategies name.
    pretraining : mapping
        Parameters of ``Pretrainer`` that all pre-trainings share.
    finetuning : mapping
        Parameters of ``PropertyRegressor`` that all rows share: the same budget and care.
    baselines : sequence of str
        Models without a network: ``"mean"``; ``"ridge_..."`` or ``"forest_..."`` on
        ``composition`` or ``fingerprint`` (EAD, pooled by cumulants); ``"svr"`` (support vector
        regression, its parameters and target transformation chosen by inner validation),
        ``"kernel"`` (a Gaussian process) and ``"extra_trees"`` on both tables side by side. All
        eight by default. ``"svr_chgnet"`` and ``"kernel_chgnet"`` have frozen features of CHGNet
        in place of EAD, and need ``pip install "gnnpre[chgnet]"``.
    estimators : mapping of str to Recipe
        Rows of your own.
    notes : sequence of str
        Remarks for readers of the report, such as how the study differs from a paper's.

    Raises
    ------
    ValueError
        If a name is unknown or used twice, or a setting is not as expected.

    See Also
    --------
    load_study : Read a study from a file.
    run_study : Run it.

    Examples
    --------
    >>> from gnnpre import CGCNN
    >>> from gnnpre.study import Network, Strategy, Study
    >>> study = Study(
    ...     name="small",
    ...     data=["jdft2d"],
    ...     backbones=[Network(name="cgcnn", backbone=CGCNN(32, 2))],
    ...     strategies=[Strategy(name="scratch")],
    ... )
    >>> study.seeds
    (111, 222, 333, 444, 555)
    """

    name: str
    data: Sequence[DataSet | str]
    backbones: Sequence[Network] = ()
    strategies: Sequence[Strategy] = ()
    protocol: str = "papers"
    seeds: Sequence[int] | None = None
    validation: float = 0.1
    graphs: StructureToGraph = field(default_factory=StructureToGraph)
    pretrainings: Sequence[Pretraining] = ()
    pretraining: Mapping[str, Any] = field(default_factory=dict)
    finetuning: Mapping[str, Any] = field(default_factory=dict)
    baselines: Sequence[str] = BASELINES
    estimators: Mapping[str, Recipe] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        # 1. text and numbers
        check_text("name", self.name)
        check_choice("protocol", self.protocol, PROTOCOLS)
        check_number("validation", self.validation, high=0.5)
        set_field(self, "seeds", _check_seeds(SEEDS[self.protocol], self.seeds))
        # 2. lists of declared objects
        data = as_tuple("data", self.data, "['jdft2d']")
        set_field(self, "data", tuple(_as_data_set(item) for item in data))
        for name, (declared_type, example) in DECLARED.items():
            items = as_tuple(name, getattr(self, name), f"[{example}]")
            for item in items:
                check_type(f"an item of {name}", item, declared_type, example)
            set_field(self, name, items)
        # 3. settings and names
        check_type("graphs", self.graphs, StructureToGraph, "StructureToGraph(cutoff=5.0)")
        check_settings("pretraining", self.pretraining, PRETRAINING)
        check_finetuning("finetuning", self.finetuning)
        for name in ("baselines", "notes"):
            set_field(self, name, as_names(name, getattr(self, name)))
        for name in self.baselines:
            check_choice("baselines", name, (*BASELINES, *OPTIONAL))
        for note in self.notes:
            check_text("a note", note)
        check_type("estimators", self.estimators, Mapping, "{'mine': Recipe(...)}")
        # 4. how all of these refer to each other
        self._check_names()
        self._check_references()

    def _check_names(self) -> None:
        if not self.data:
            raise ValueError("data is empty; expected a data set, such as 'jdft2d'.")
        for name in ("data_sets", "backbones", "strategies", "pretrainings"):
            check_unique(name, [item.name for item in getattr(self, name)])
        rows = [*self.strategy_names, *self.baselines, *self.estimators]
        check_unique("strategies, baselines and estimators", rows)
        for item in self.pretrainings:
            if item.name in list_pretrained():
                raise ValueError(
                    f"A pre-training has the name {item.name!r}, which is that of a model in the "
                    "package: choose another name."
                )
        for name, recipe in self.estimators.items():
            check_name("name of an estimator", name)
            check_type(f"estimator {name!r}", recipe, Recipe, "Recipe(make=function)")

    def _check_references(self) -> None:
        pretrainings = [item.name for item in self.pretrainings]
        backbones = [item.name for item in self.backbones]
        data = [item.name for item in self.data_sets]
        for row in self.strategies:
            starts = [*pretrainings, *list_pretrained()]
            check_known(f"pretraining of {row.name}", row.pretraining, starts)
            check_known(f"backbones of {row.name}", row.backbones, backbones)
            check_known(f"data of {row.name}", row.data, data)
            # A mean of means is not declared: "of" names rows that are trained, or baselines.
            trained = [strategy.name for strategy in self.strategies if strategy.of is None]
            check_known(f"of of {row.name}", row.of, [*trained, *self.baselines])
        for item in self.pretrainings:
            check_known(f"drop_leaks of {item.name}", item.drop_leaks, data)
        for name, recipe in self.estimators.items():
            check_known(f"needs of {name}", recipe.needs, pretrainings)
            check_known(f"backbone of {name}", recipe.backbone, backbones)
        if self.strategies and not self.backbones:
            raise ValueError("There are strategies but no backbones; expected one, such as CGCNN.")
        if self.strategies and "scratch" not in self.strategy_names:
            raise ValueError(
                f"strategies are {self.strategy_names}, without 'scratch', which improvements are "
                "taken against. Add Strategy(name='scratch'), in TOML [strategies.scratch]."
            )

    @property
    def data_sets(self) -> list[DataSet]:
        """The data sets, those declared by name included."""
        return [item for item in self.data if isinstance(item, DataSet)]

    @property
    def strategy_names(self) -> list[str]:
        """Names of the strategies."""
        return [item.name for item in self.strategies]


def _as_data_set(item: Any) -> DataSet:
    if isinstance(item, str):
        return DataSet(name=item)
    check_type("data", item, DataSet, "'jdft2d', or DataSet(name='jdft2d')")
    return item


def _check_seeds(default: Sequence[int], seeds: Any) -> tuple[int, ...]:
    values = as_tuple("seeds", default if seeds is None else seeds, "[111, 222]")
    for seed in values:
        check_number("seeds", seed, integer=True, low_included=True, high=2**31 - 1)
    check_unique("seeds", values)
    if not values:
        raise ValueError("seeds is empty; expected at least one, such as [111].")
    return values
