"""The content of a study's folder."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._record import DataSummary, Failure, Method, Record

if TYPE_CHECKING:
    import pandas as pd

    from ._overlap import Audit

__all__ = ["SCRATCH", "StudyResults"]

#: Strategy that the improvement of the others is taken against.
SCRATCH = "scratch"
#: Rows of a backbone are in this order, and by name within it; those without backbone come first.
ROLES = ("baseline", "kernel", "scratch", "pretrained", "ensemble", "blend")


@dataclass(frozen=True, eq=False, repr=False)
class StudyResults:
    """Records, failures and declaration of a study; made by :func:`read_results`.

    Parameters
    ----------
    folder : Path
        Where they were read.
    study : mapping
        The declaration, as ``study.json`` has it.
    data : mapping of str to DataSummary
        The data sets by name: target, unit and formulas.
    records : tuple of Record
        The finished jobs, evaluations and pre-trainings.
    failures : tuple of Failure
        The jobs that raised.
    audits : tuple of Audit
        For each data set and pre-training the crystals that were seen.
    all_seen : tuple of Record
        Of results on unseen crystals: the records that have none among their test crystals.

    See Also
    --------
    write_report : Tables and plots of a folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gnnpre.study import StudyResults
    >>> StudyResults(Path("runs"), {"name": "small", "protocol": "papers"}, {}, (), ())
    StudyResults('small', records=0, failures=0)
    """

    folder: Path
    study: Mapping[str, Any]
    data: Mapping[str, DataSummary]
    records: tuple[Record, ...]
    failures: tuple[Failure, ...]
    audits: tuple["Audit", ...] = ()
    all_seen: tuple[Record, ...] = ()

    @property
    def name(self) -> str:
        """The name of the study."""
        return str(self.study.get("name", self.folder.name))

    @property
    def protocol(self) -> str:
        """Protocol of the study: ``"papers"`` or ``"matbench"``."""
        return str(self.study.get("protocol", "unknown"))

    @property
    def evaluations(self) -> list[Record]:
        """Records of declared evaluations, without those of an ensemble's members."""
        declared = self._declared()
        return [r for r in declared if r.kind == "evaluation" and r.member is None]

    @property
    def pretrainings(self) -> list[Record]:
        """Records of declared pre-trainings."""
        return [record for record in self._declared() if record.kind == "pretraining"]

    @property
    def strays(self) -> list[Record]:
        """Records of no declared job: of an older declaration of the study, say."""
        declared = set(map(id, self._declared()))
        return [record for record in self.records if id(record) not in declared]

    @property
    def declared_failures(self) -> list[Failure]:
        """Failures of declared jobs, without those of an older declaration of the study."""
        keys = {job["key"] for job in self.jobs}
        return [failure for failure in self.failures if not keys or failure.key in keys]

    def _declared(self) -> list[Record]:
        keys = {job["key"] for job in self.jobs}
        return [record for record in self.records if not keys or record.key in keys]

    @property
    def jobs(self) -> list[Mapping[str, Any]]:
        """The declared jobs; empty if ``study.json`` does not list them."""
        return list(self.study.get("jobs") or [])

    @property
    def data_names(self) -> list[str]:
        """Names of the declared data sets, in their order; all where no job is listed."""
        declared = [job["data"] for job in self.jobs if job.get("data")]
        # The folder keeps the summaries of data sets that are not declared any more.
        return list(dict.fromkeys(declared if self.jobs else self.data))

    @property
    def backbones(self) -> list[str]:
        """Names of the backbones."""
        return list(dict.fromkeys(m.backbone for m in self.methods if m.backbone is not None))

    @property
    def network_strategies(self) -> list[str]:
        """Strategies of the methods that have a backbone."""
        return list(dict.fromkeys(m.strategy for m in self.methods if m.backbone is not None))

    @property
    def methods(self) -> list[Method]:
        """Backbone and strategy of each row: baselines first, ensembles last."""
        roles = {r.method: r.role for r in self.evaluations}
        for job in self.jobs:
            if job.get("kind") == "evaluation" and job.get("member") is None:
                roles.setdefault(Method(job.get("backbone"), job["strategy"]), job.get("role"))
        return sorted(roles, key=lambda m: _row_order(m, roles[m]))

    def of(self, data: str, method: Method) -> list[Record]:
        """Return the evaluations of one cell of the tables.

        Parameters
        ----------
        data : str
            Name of the data set.
        method : Method
            Backbone and strategy.

        Returns
        -------
        list of Record
            In the order of their seeds and folds.
        """
        records = [r for r in self.evaluations if r.data == data and r.method == method]
        return sorted(records, key=lambda r: (r.run or 0, r.seed or 0))

    def to_frame(self) -> "pd.DataFrame":
        """Return the evaluations as a tidy table, one row for each record.

        Returns
        -------
        DataFrame
            Columns ``key``, ``data``, ``backbone``, ``strategy``, ``role``, ``seed``, ``fold``,
            ``member``, ``mae``, ``validation_mae``, ``n_test`` and ``seconds``; the members of
            ensembles too, but no :attr:`strays`, which an average would mix in.

        Examples
        --------
        >>> from pathlib import Path
        >>> from gnnpre.study import StudyResults
        >>> StudyResults(Path("runs"), {}, {}, (), ()).to_frame().columns[:2].tolist()
        ['key', 'data']
        """
        import pandas as pd

        columns = ("role", "seed", "fold", "member", "mae", "validation_mae")
        rows = [
            {
                **{"key": r.key, "data": r.data, **r.method._asdict()},
                **{name: getattr(r, name) for name in columns},
                **{"n_test": len(r.targets), "seconds": r.seconds},
            }
            for r in self._declared()
            if r.kind == "evaluation"
        ]
        names = ("key", "data", "backbone", "strategy", *columns, "n_test", "seconds")
        return pd.DataFrame(rows, columns=list(names))

    def __repr__(self) -> str:
        return (
            f"StudyResults({self.name!r}, records={len(self.records)}, "
            f"failures={len(self.failures)})"
        )


def _row_order(method: Method, role: str | None) -> tuple[str, int, str, str]:
    rank = ROLES.index(role) if role in ROLES else _rank_by_name(method)
    # By the value of the numbers in a name: epoch_3 before epoch_12.
    pieces = re.split(r"(\d+)", method.strategy)
    padded = "".join(piece.zfill(20) if piece.isdigit() else piece for piece in pieces)
    return method.backbone or "", rank, padded, method.strategy


def _rank_by_name(method: Method) -> int:
    """Place a method that no record tells the role of."""
    if method.backbone is None:
        return ROLES.index("baseline")
    name = method.strategy
    return ROLES.index(name) if name in ROLES else ROLES.index("pretrained")
