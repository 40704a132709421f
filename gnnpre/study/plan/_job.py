"""One job of a study, and the key that names it by all that decides its result."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gnnpre._version import __version__

__all__ = ["Job"]


@dataclass(frozen=True, eq=False)
class Job:
    """One training, or one evaluation, and all that it needs to know."""

    kind: str
    strategy: str
    role: str
    backbone: str | None
    parameters: Mapping[str, Any]
    data: str | None = None
    seed: int | None = None
    fold: int | None = None
    member: int | None = None
    needs: tuple["Job", ...] = ()
    #: Objects to work with, which ``parameters`` describe.
    tools: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def key(self) -> str:
        """The name of the job's files."""
        names = {name: getattr(self, name) for name in ("kind", "strategy", "backbone", "member")}
        needs = [job.key for job in self.needs]
        described = {**names, "needs": needs, "gnnpre": __version__, **self.parameters}
        # The version of gnnpre is in the key: another one may compute other numbers.
        text = json.dumps(described, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def describe(self) -> dict[str, Any]:
        """Return the entry of the job in ``study.json``."""
        names = ("key", "kind", "data", "backbone", "strategy", "role", "seed", "fold", "member")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        texts = [self.kind, self.data, self.backbone, self.strategy]
        numbers = [(name, getattr(self, name)) for name in ("seed", "fold", "member")]
        texts += [f"{name} {number}" for name, number in numbers if number is not None]
        return " ".join(text for text in texts if text is not None)
