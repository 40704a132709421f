"""Estimators that can fine-tune with the objective of pre-training as a second loss."""

from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre._validation import check_number
from gnnpre.graphs import CrystalGraphs
from gnnpre.objectives import Objective, ObjectiveModel, PropertyTargets, Targets
from gnnpre.training import restore_net, split_train_valid

from ._pretrained import PretrainedWeights
from ._replay import join_property, load_frames, property_weights
from ._supervised import SupervisedEstimator

__all__ = ["ReplayingEstimator"]


class ReplayingEstimator(SupervisedEstimator):
    """Base class: ``strategy="replay"`` trains on the property and on frames of pre-training."""

    def _fit_from(
        self,
        source: PretrainedWeights | None,
        graphs: CrystalGraphs,
        targets: Targets,
        objective: Objective,
        groups: Any,
        seed: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        if source is None or not isinstance(objective, PropertyTargets):
            return super()._fit_from(source, graphs, targets, objective, groups, seed)
        if self.strategy != "replay":
            return super()._fit_from(source, graphs, targets, objective, groups, seed)
        most = int(np.ceil(self.replay_ratio * len(graphs)))
        frames = load_frames(self.replay, source, most, seed)
        mixture = frames.mixture(objective, self.replay_weight)
        joint, joint_targets = join_property(frames, mixture, graphs, targets)
        train, valid = split_train_valid(len(graphs), self.validation_fraction, groups, seed)
        transferred: list[str] = []
        start: dict[str, Tensor] = {}

        def prepare(model: ObjectiveModel) -> None:
            transferred.extend(frames.load_into(model, source, self.transfer))
            state = {k: v.detach().clone() for k, v in model.state_dict().items()}
            start.update(property_weights(state))

        self._fit_model(
            joint,
            joint_targets,
            source.backbone,
            mixture,
            groups=None,
            seed=seed,
            prepare=prepare,
            run={"transfer": self.transfer, "source": source.fingerprint},
            # Frames are trained on; the property alone validates.
            split=(np.concatenate([train, np.arange(len(graphs), len(joint))]), valid),
        )
        self._keep_property(objective, targets)
        self._finish(source, transferred, start, graphs, targets, (train, valid))
        return train, valid

    def _keep_property(self, objective: Objective, targets: Targets) -> None:
        """Put a net that predicts the property alone in the place of that of the mixture."""
        spec = replace(self.spec_, objective=objective, layout=objective.layout(targets))
        weights = property_weights(self.net_.module_.state_dict())
        net = restore_net(spec, weights, self._training_settings())
        net.history.extend(self.net_.history)
        self.net_, self.spec_ = net, spec

    def _check_start(self) -> None:
        super()._check_start()
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
