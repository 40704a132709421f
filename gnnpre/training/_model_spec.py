"""Everything that is needed to build a model, as one object that can be written as JSON."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gnnpre._validation import check_choice, check_number
from gnnpre.backbones import Backbone
from gnnpre.objectives import Objective, ObjectiveModel

from ._settings import DTYPES
from ._specs import from_spec, to_spec

__all__ = ["ModelSpec"]


@dataclass(frozen=True)
class ModelSpec:
    """Configs, cutoff and properties of the data: enough to build a model with fresh weights.

    Attributes
    ----------
    backbone : Backbone
        Config of the backbone.
    objective : Objective
        Config of the objective.
    cutoff : float
        Cutoff of the graphs in Å.
    mean_neighbors : float
        Mean number of neighbours of an atom in the training set.
    layout : dict
        Properties of the labels that the objective needs, JSON-serializable.
    dtype : {"float32", "float64"}
        Precision of the weights.
    """

    backbone: Backbone
    objective: Objective
    cutoff: float
    mean_neighbors: float
    layout: dict[str, Any]
    dtype: str

    def __call__(self) -> ObjectiveModel:
        """Build the model with fresh weights."""
        backbone = self.backbone.build(self.cutoff, self.mean_neighbors)
        return self.objective.build(backbone, self.layout).to(DTYPES[self.dtype])

    def check(self) -> None:
        """Check that cutoff, mean number of neighbours, layout and dtype are of their types.

        Raises
        ------
        ValueError
            If one is not; the message names it.
        """
        check_number("cutoff", self.cutoff)
        check_number("mean_neighbors", self.mean_neighbors)
        check_choice("dtype", self.dtype, DTYPES)
        if not isinstance(self.layout, Mapping):
            raise ValueError(f"layout={self.layout!r}; expected a dict.")

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON-serializable values."""
        return {
            "backbone": to_spec(self.backbone, "backbone"),
            "objective": to_spec(self.objective.saved_config(), "objective"),
            "cutoff": self.cutoff,
            "mean_neighbors": self.mean_neighbors,
            "layout": self.layout,
            "dtype": self.dtype,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], classes: Mapping[str, type]) -> "ModelSpec":
        """Read a spec that :meth:`to_dict` returned."""
        configs = {key: from_spec(values[key], classes) for key in ("backbone", "objective")}
        return cls(**{**values, **configs})
