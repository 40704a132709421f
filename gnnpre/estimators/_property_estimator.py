"""Base class of the estimators that learn properties or classes of crystals."""

from collections.abc import Mapping
from typing import Any, ClassVar

from gnnpre.objectives import Objective

from ._base import CrystalEstimator
from ._files import check_recorded_paths
from ._finetuning import FineTuned, FineTuningSettings, finetune
from ._network import FitInterrupted
from ._pretrainer import Pretrainer

__all__ = ["PropertyEstimator"]


class PropertyEstimator(CrystalEstimator):
    """Base class: ``fit`` calls :func:`finetune` and sets the fitted attributes."""

    transferred_: list[str]
    diagnosis_: dict[str, Any]

    # Used by scikit-learn's metadata routing where it is enabled: requested by default.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True, "sample_weight": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"sample_weight": True}
    _loadable: ClassVar[tuple[type, ...]] = (Pretrainer,)

    def _finetune(
        self,
        X: Any,
        y: Any,
        objective: Objective,
        groups: Any,
        sample_weight: Any,
        learnt: Mapping[str, Any],
    ) -> None:
        """Fit, and set the fitted attributes, those of ``learnt`` too; after Ctrl-C as well."""
        check_recorded_paths(self.get_params())
        settings = FineTuningSettings.from_parameters(self.get_params(deep=False))
        try:
            classes = learnt.get("classes_")
            fitted = finetune(settings, X, y, objective, groups, sample_weight, classes)
        except FitInterrupted as interrupt:
            self._keep(FineTuned(interrupt.network, [], {}, {}), learnt)
            raise
        self._keep(fitted, learnt)

    def _keep(self, fitted: FineTuned, learnt: Mapping[str, Any]) -> None:
        """Set the fitted attributes."""
        self._set_network(fitted.network)
        self.transferred_, self.diagnosis_ = fitted.transferred, fitted.diagnosis
        for name, value in learnt.items():
            setattr(self, name, value)

    def _learnt_state(self) -> dict[str, Any]:
        return {"transferred_": self.transferred_, "diagnosis_": self.diagnosis_}

    def _set_learnt_state(self, state: dict[str, Any]) -> None:
        self.transferred_, self.diagnosis_ = state["transferred_"], state["diagnosis_"]
