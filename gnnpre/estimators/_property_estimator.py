"""Base class of the estimators that learn properties or classes of crystals."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from gnnpre._validation import check_choice
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Objective
from gnnpre.training import STRATEGIES, TrainingSettings

from ._base import CrystalEstimator
from ._blended_head import BlendedHead
from ._files import ModelFile, check_recorded_paths
from ._finetuning import FineTuned, finetune
from ._finetuning_settings import FineTuningSettings
from ._kernel_head import KernelHead
from ._kernel_strategy import fit_kernel
from ._network import FitInterrupted
from ._pretrainer import Pretrainer

__all__ = ["PropertyEstimator"]


class PropertyEstimator(CrystalEstimator):
    """Base class: ``fit`` calls :func:`finetune` and sets the fitted attributes."""

    transferred_: list[str]
    diagnosis_: dict[str, Any]
    kernel_: KernelHead | BlendedHead | None

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
        check_choice("strategy", settings.strategy, STRATEGIES)
        try:
            if settings.strategy == "kernel":
                fitted = fit_kernel(settings, X, y, objective, groups, sample_weight)
            else:
                classes = learnt.get("classes_")
                fitted = finetune(settings, X, y, objective, groups, sample_weight, classes)
        except FitInterrupted as interrupt:
            # The best weights so far are kept, without diagnosis and uncertainty.
            self._keep(FineTuned(interrupt.network, [], {}, {}), learnt)
            raise
        self._keep(fitted, learnt)

    def _keep(self, fitted: FineTuned, learnt: Mapping[str, Any]) -> None:
        """Set the fitted attributes."""
        self._set_network(fitted.network)
        self.transferred_, self.diagnosis_ = fitted.transferred, fitted.diagnosis
        self.kernel_ = fitted.kernel
        for name, value in learnt.items():
            setattr(self, name, value)

    def _predict(self, X: Any) -> Any:
        """Return predictions of the network, of the kernel machine in its place, or of both."""
        check_is_fitted(self, "net_")
        if self.kernel_ is None:
            return super()._predict(X)
        kernel = self.kernel_
        # Batch by batch: embeddings of all crystals are small, their graphs are not.
        tables = [self._predict_by_kernel(kernel, graphs) for graphs in self._stream_to_predict(X)]
        return np.concatenate(tables)

    def _predict_by_kernel(
        self, kernel: KernelHead | BlendedHead, graphs: CrystalGraphs
    ) -> np.ndarray:
        """Return properties, or probabilities of classes, ``(n, k)``."""
        raise NotImplementedError

    def _learnt_state(self) -> dict[str, Any]:
        state: dict[str, Any] = {"transferred_": self.transferred_, "diagnosis_": self.diagnosis_}
        if self.kernel_ is not None:
            state["kernel_"], _ = self.kernel_.to_state()
        return state

    def _learnt_arrays(self) -> dict[str, np.ndarray]:
        return {} if self.kernel_ is None else self.kernel_.to_state()[1]

    def _set_learnt_arrays(self, model: ModelFile) -> None:
        # Files of models without a kernel machine have no such entry.
        self.kernel_ = None
        if "kernel_" not in model.learnt:
            return
        settings = TrainingSettings.from_parameters(self.get_params(deep=False))
        values = model.learnt["kernel_"]
        inputs = values, model.arrays, model.classes, settings
        if "shares" in values:
            self.kernel_ = BlendedHead.from_state(*inputs, self.spec_.objective)
        else:
            self.kernel_ = KernelHead.from_state(*inputs)

    def _set_learnt_state(self, state: dict[str, Any]) -> None:
        self.transferred_, self.diagnosis_ = state["transferred_"], state["diagnosis_"]
