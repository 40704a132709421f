"""A data set of a study, as declared."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gnnpre._validation import check_number

from ._checks import check_finetuning, check_name, check_text

__all__ = ["DataSet"]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A property to predict, and the crystals that have it.

    Parameters
    ----------
    name : str
        Name in tables, records and files. Without ``path`` and ``source`` the table of MatBench
        of this name: dielectric, jdft2d, log_gvrh, log_kvrh, mp_e_form, mp_gap, perovskites or
        phonons. It is read from ``data_home`` or downloaded.
    source : str, optional
        The MatBench table to read under another ``name``, so that one study may have several
        samples of it.
    path : str or Path, optional
        A file of your own: MatBench's JSON, or a table in Parquet or CSV as
        :func:`~gnnpre.datasets.read_parquet` and :func:`~gnnpre.datasets.read_structures` read
        them. ``~`` and environment variables such as ``$GNNPRE_DATA`` are expanded.
    target : str, optional
        Column of the file at ``path``; needed if it has several.
    unit : str, optional
        Unit of the property in the file at ``path``, for the tables.
    sample : int, optional
        Crystals to draw; all by default.
    sample_seed : int
        Seed of that draw.
    n_labels : int, optional
        Crystals that training and validation may see, of those that the protocol gives them; the
        test crystals stay the same. All by default.
    finetuning : mapping
        Settings of fine-tuning in which this data set differs, for all strategies alike.

    Examples
    --------
    >>> from gnnpre.study import DataSet
    >>> DataSet(name="gap_1000", source="mp_gap", sample=1000).sample_seed
    0
    """

    name: str
    source: str | None = None
    path: str | Path | None = None
    target: str | None = None
    unit: str | None = None
    sample: int | None = None
    sample_seed: int = 0
    n_labels: int | None = None
    finetuning: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # 1. each field by itself
        check_name("name of a data set", self.name)
        for name in ("sample", "n_labels"):
            if getattr(self, name) is not None:
                check_number(f"{name} of {self.name}", getattr(self, name), integer=True, low=4)
        check_number(f"sample_seed of {self.name}", self.sample_seed, integer=True, low=-1)
        check_finetuning(f"finetuning of data set {self.name}", self.finetuning)
        self._check_text()
        # 2. fields that exclude each other
        if self.path is None and (self.target or self.unit):
            raise ValueError(
                f"Data set {self.name!r} has target or unit but no path: a MatBench table has its "
                "own. Set path, the file that has them, or leave them out."
            )
        if self.path is not None and self.source is not None:
            raise ValueError(
                f"Data set {self.name!r} has path={str(self.path)!r} and source={self.source!r}; "
                "expected one of the two. Leave source out."
            )

    def _check_text(self) -> None:
        for name in ("source", "target", "unit"):
            if getattr(self, name) is not None:
                check_text(f"{name} of {self.name}", getattr(self, name))
        if self.path is not None and not isinstance(self.path, (str, Path)):
            raise TypeError(f"path of {self.name} is {self.path!r}; expected the path of a file.")
