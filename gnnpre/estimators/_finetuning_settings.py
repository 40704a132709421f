"""Parameters of fine-tuning, and their checks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gnnpre._validation import check_bool, check_choice, check_number
from gnnpre.backbones import Backbone
from gnnpre.objectives import Objective
from gnnpre.training import TrainingSettings

from ._embedding import check_embedding
from ._epoch_scoring import check_epoch_scoring, score_callbacks
from ._kernel_head import make_features
from ._pretrainer import Pretrainer
from ._settings import check_backbone

__all__ = ["FineTuningSettings"]

TRANSFERS = ("backbone", "matching")
# Strategies that protect or replay what a backbone has learnt before.
NEED_PRETRAINED = ("head", "frozen_then_full", "layerwise", "replay", "kernel", "blended")


@dataclass(frozen=True)
class FineTuningSettings:
    """Parameters of an estimator that learns properties; a classifier has not all of them."""

    training: TrainingSettings
    backbone: Backbone | None
    pretrained: Any
    pretraining: Any
    transfer: str
    strategy: str
    diagnose: bool
    validation_fraction: Any
    random_state: Any
    callbacks: Any
    embedding_layer: int
    embedding_pooling: str
    replay: Any = None
    epoch_scoring: Any = None
    replay_weight: float = 1.0
    replay_ratio: float = 1.0
    calibration_fraction: Any = 0.0
    kernel_features: Any = ()

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> "FineTuningSettings":
        """Read the parameters of an estimator."""
        names = {name for name in cls.__dataclass_fields__ if name in parameters}
        training = TrainingSettings.from_parameters(parameters)
        return cls(training=training, **{name: parameters[name] for name in names})

    def check(self) -> None:
        """Raise ValueError or TypeError for the first setting that is not as expected."""
        self.training.validate()
        check_choice("transfer", self.transfer, TRANSFERS)
        check_bool("diagnose", self.diagnose)
        check_embedding(self.embedding_layer, self.embedding_pooling)
        self._check_start()
        self._check_pretraining()
        self._check_replay()
        self._check_scoring()
        self._check_kernel()

    def _check_start(self) -> None:
        set_names = [
            name
            for name in ("backbone", "pretrained", "pretraining")
            if getattr(self, name) is not None
        ]
        if len(set_names) > 1:
            raise ValueError(
                f"{' and '.join(set_names)} are both given: a pre-trained model brings its own "
                "backbone, and weights can start from one of them only. Leave all but one at None."
            )
        check_backbone(self.backbone)
        if self.pretrained is self.pretraining is None and self.strategy in NEED_PRETRAINED:
            raise ValueError(
                f"strategy={self.strategy!r} spares a backbone that was pre-trained; without "
                "pretrained or pretraining it would spare random weights. Pass a pre-trained "
                "model, or set strategy='full'."
            )

    def _check_pretraining(self) -> None:
        if self.pretraining is None:
            return
        if not isinstance(self.pretraining, Pretrainer):
            raise TypeError(
                f"pretraining is of type {type(self.pretraining).__name__}; expected an unfitted "
                "Pretrainer."
            )
        # Pre-training inside fit sees the crystals of fit alone, and y is the property.
        objective = self.pretraining._checked_settings().objective
        if objective.needs_labels:
            raise ValueError(
                f"pretraining has the objective {type(objective).__name__}, which learns from "
                "labels that fit does not have here. Use a label-free objective, or fit it "
                "beforehand and pass it as pretrained=."
            )

    def _check_replay(self) -> None:
        if self.strategy != "replay" and self.replay is not None:
            raise ValueError(
                f"replay={str(self.replay)!r} has no effect with strategy={self.strategy!r}: set "
                "strategy='replay', or leave replay at None."
            )
        if self.strategy == "replay" and self.replay is None:
            raise ValueError(
                "strategy='replay' needs frames to replay: set replay to the path of an extended "
                "XYZ file, or of a folder with graphs.safetensors and labels.safetensors."
            )
        check_number("replay_weight", self.replay_weight)
        check_number("replay_ratio", self.replay_ratio)

    def _check_scoring(self) -> None:
        check_epoch_scoring(self.epoch_scoring)
        if self.epoch_scoring is not None and self.strategy == "replay":
            raise ValueError(
                "epoch_scoring does not work with strategy='replay', which validates on two sets "
                "of crystals: leave it out."
            )

    def with_scores(self, objective: Objective, valid: np.ndarray, classes: Any) -> Any:
        """Return the user's callbacks, with that of ``epoch_scoring`` before them."""
        if self.epoch_scoring is None:
            return self.callbacks
        if not len(valid):
            raise ValueError(
                f"epoch_scoring={self.epoch_scoring!r} scores the validation crystals, but "
                f"validation_fraction={self.validation_fraction!r} holds none out. Set it to 0.1, "
                "for example."
            )
        scores = score_callbacks(self.epoch_scoring, objective, classes)
        # The user's callbacks are checked, whatever they are, before training.
        return [*scores, *self.callbacks] if self.callbacks else scores

    def _check_kernel(self) -> None:
        make_features(self.kernel_features)
        if self.strategy != "kernel":
            return
        for name in ("callbacks", "epoch_scoring"):
            if getattr(self, name):
                raise ValueError(
                    f"{name} is set, but strategy='kernel' has no epochs: leave it at None."
                )
