"""What the estimators that learn from labels of crystals share: where they start from."""

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone
from torch import Tensor

from gnnpre._validation import check_bool, check_choice
from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.backbones import CGCNN, Backbone
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Objective, ObjectiveModel, Targets
from gnnpre.training import predict_batches

from ._doctor import compare_starts, unmoved_weights, warn_of_failure
from ._embedding import EmbeddingMixin
from ._inputs import add_sample_weight, as_graphs
from ._pretrained import PretrainedWeights, find_pretrained, fit_pretraining
from ._pretrainer import Pretrainer

__all__ = ["SupervisedEstimator"]

TRANSFERS = ("backbone", "matching")
# Strategies that are about a backbone that knows something already.
NEED_PRETRAINED = ("head", "frozen_then_full", "layerwise", "replay")


class SupervisedEstimator(EmbeddingMixin):
    """Base class: from scratch or from a pre-trained backbone, by one of several strategies."""

    # Used by scikit-learn's metadata routing where it is enabled: requested by default.
    __metadata_request__fit: ClassVar[dict[str, bool]] = {"groups": True, "sample_weight": True}
    __metadata_request__score: ClassVar[dict[str, bool]] = {"sample_weight": True}
    _loadable: ClassVar[tuple[type, ...]] = (Pretrainer,)
    #: Fitted attributes that a file keeps.
    _kept: ClassVar[tuple[str, ...]] = ("transferred_", "diagnosis_")

    def _fit_supervised(
        self, X: Any, y: Any, objective: Objective, groups: Any, sample_weight: Any
    ) -> None:
        """Find where to start from, and train on the labels."""
        self._training_settings()
        self._check_start()
        check_bool("diagnose", self.diagnose)
        seed = self._draw_seed()
        fixed = None if self.pretrained is None else find_pretrained(self.pretrained)
        graphs = as_graphs(X, None if fixed is None else fixed.graphs)
        targets = add_sample_weight(objective.make_targets(graphs, y), sample_weight)
        graphs, targets, groups, held_out = self._hold_out(graphs, targets, groups, seed)
        source = fixed
        if self.pretraining is not None:
            source = fit_pretraining(self.pretraining, graphs, groups, seed)
        split = self._fit_from(source, graphs, targets, objective, groups, seed)
        self._calibrate(graphs[split[0]], *held_out)

    def _hold_out(
        self, graphs: CrystalGraphs, targets: Targets, groups: Any, seed: int
    ) -> tuple[CrystalGraphs, Targets, Any, tuple[CrystalGraphs, Targets]]:
        """Set crystals aside that only tell how sure the model is; none by default."""
        none = np.empty(0, dtype=np.int64)
        return graphs, targets, groups, (graphs[none], targets)

    def _calibrate(self, trained: CrystalGraphs, graphs: CrystalGraphs, targets: Targets) -> None:
        """Learn from the crystals that were held out."""

    def _fit_from(
        self,
        source: PretrainedWeights | None,
        graphs: CrystalGraphs,
        targets: Targets,
        objective: Objective,
        groups: Any,
        seed: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        transferred: list[str] = []
        start: dict[str, Tensor] = {}

        def prepare(model: ObjectiveModel) -> None:
            if source is not None:
                transferred.extend(source.load_into(model, self.transfer))
                start.update({k: v.detach().clone() for k, v in model.state_dict().items()})

        if source is None:
            backbone = CGCNN() if self.backbone is None else clone(self.backbone)
        else:
            backbone = source.backbone
        run = {} if source is None else {"transfer": self.transfer, "source": source.fingerprint}
        split = self._fit_model(
            graphs,
            targets,
            backbone,
            objective,
            groups=groups,
            seed=seed,
            prepare=prepare,
            run=run,
        )
        self._finish(source, transferred, start, graphs, targets, split)
        return split

    def _finish(
        self,
        source: PretrainedWeights | None,
        transferred: list[str],
        start: dict[str, Tensor],
        graphs: CrystalGraphs,
        targets: Targets,
        split: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Keep what was transferred, and compare with where it came from."""
        self.transferred_ = transferred
        self.diagnosis_: dict[str, Any] = {}
        if source is None:
            return
        self.elements_ = sorted({*self.elements_, *source.elements})
        self._check_transfer()
        if self.diagnose:
            self.diagnosis_ = self._diagnose(start, graphs, targets, *split)
            warn_of_failure(self.diagnosis_)

    def _diagnose(
        self,
        start: dict[str, Tensor],
        graphs: CrystalGraphs,
        targets: Targets,
        train: np.ndarray,
        valid: np.ndarray,
    ) -> dict[str, Any]:
        model, true = self._model(), {n: v.cpu().numpy() for n, v in targets.crystal.items()}
        unmoved = unmoved_weights(model, start)

        def error() -> float:
            parts = predict_batches(model, graphs[valid])
            predicted = self.spec_.objective.collect(parts, graphs.atom_counts[valid])
            return self._validation_error(predicted, true, valid)

        def probe(train_table: np.ndarray, valid_table: np.ndarray) -> float:
            predicted = self._probe(train_table, valid_table, true, train)
            return self._validation_error(predicted, true, valid)

        errors = compare_starts(
            model, start, graphs, train, valid, error=error, embed=self._embed, probe=probe
        )
        return {**errors, "unmoved": unmoved}

    @abstractmethod
    def _validation_error(
        self, predicted: np.ndarray, true: dict[str, np.ndarray], rows: np.ndarray
    ) -> float:
        """Compare predictions with the targets of some crystals."""

    @abstractmethod
    def _probe(
        self,
        train_table: np.ndarray,
        valid_table: np.ndarray,
        true: dict[str, np.ndarray],
        train: np.ndarray,
    ) -> np.ndarray:
        """Predict from embeddings by a linear model, in the form that the network predicts in."""

    def _check_transfer(self) -> None:
        head = [name for name in self.transferred_ if name.startswith("head.")]
        if self.transfer == "matching" and not head:
            warn_user(
                "transfer='matching', but no weight of the pre-trained readout has the shape of "
                "this one: only the backbone was transferred. head_channels, head_layers and the "
                "number of outputs decide the shapes.",
                TrainingWarning,
            )

    def _check_start(self) -> None:
        check_choice("transfer", self.transfer, TRANSFERS)
        starts = ("backbone", "pretrained", "pretraining")
        given = [name for name in starts if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} are both given: a pre-trained model brings its own "
                "backbone, and there is one place to start from. Leave all but one at None."
            )
        if self.backbone is not None and not isinstance(self.backbone, Backbone):
            raise TypeError(f"backbone is {self.backbone!r}; expected a config such as CGCNN().")
        scratch = self.pretrained is None and self.pretraining is None
        if scratch and self.strategy in NEED_PRETRAINED:
            raise ValueError(
                f"strategy={self.strategy!r} spares a backbone that was pre-trained; without "
                "pretrained or pretraining it would spare random weights. Give a pre-trained "
                "model, or set strategy='full'."
            )

    def _extra_state(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._kept}

    def _set_extra_state(self, state: dict[str, Any]) -> None:
        for name in self._kept:
            setattr(self, name, state[name])
