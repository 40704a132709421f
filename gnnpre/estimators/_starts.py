"""Where the weights of a fine-tuned network start: four ways, one small class each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from torch import Tensor

from gnnpre._progress_label import progress_label
from gnnpre.backbones import CGCNN, Backbone
from gnnpre.graphs import is_on_disk
from gnnpre.objectives import Mixture, Objective, ObjectiveModel, PropertyTargets, Targets
from gnnpre.training import TrainingSettings, restore_net

from ._fit_data import FitData
from ._network import Task, TrainedNetwork
from ._pretrained import PretrainedWeights, read_pretrained
from ._pretrainer import Pretrainer
from ._replay import ReplayedFrames, join_property, property_weights, read_frames

__all__ = ["FromPretrained", "FromScratch", "PretrainedWithinFit", "Start", "WithReplay"]


class Start:
    """Base class; its defaults are those of random weights."""

    @property
    def pretrained(self) -> PretrainedWeights | None:
        """The pre-trained model, once there is one."""
        return None

    def within_fit(self, data: FitData) -> "Start":
        """Return the start once the crystals of this fit are at hand."""
        return self

    def make_task(self, data: FitData, objective: Objective) -> Task:
        """Return the data and configs to train on."""
        raise NotImplementedError

    def load_into(self, model: ObjectiveModel) -> list[str]:
        """Copy weights into a new model, and return their names."""
        return []

    def initial_weights(self, model: ObjectiveModel) -> dict[str, Tensor]:
        """Return a copy of the weights of the property's model, for the diagnosis."""
        return {name: value.detach().clone() for name, value in model.state_dict().items()}

    def property_network(
        self,
        network: TrainedNetwork,
        objective: Objective,
        targets: Targets,
        settings: TrainingSettings,
    ) -> TrainedNetwork:
        """Return the network that predicts the property."""
        return network


@dataclass(frozen=True)
class FromScratch(Start):
    """Random weights of a backbone, ``CGCNN()`` by default."""

    backbone: Backbone | None

    def make_task(self, data: FitData, objective: Objective) -> Task:
        """Return the data and configs to train on."""
        backbone = CGCNN() if self.backbone is None else clone(self.backbone)
        return _task(data, backbone, objective)


@dataclass(frozen=True)
class FromPretrained(Start):
    """Weights of a pre-trained model: its backbone, or all that match."""

    weights: PretrainedWeights
    transfer: str

    @property
    def pretrained(self) -> PretrainedWeights:
        """The pre-trained model."""
        return self.weights

    def within_fit(self, data: FitData) -> "FromPretrained":
        """Return the same start: everything is at hand."""
        return self

    def make_task(self, data: FitData, objective: Objective) -> Task:
        """Return the data and configs to train on."""
        run = {"transfer": self.transfer, "source": self.weights.digest}
        task = _task(data, self.weights.backbone, objective, run)
        return replace(task, pretrained_elements=self.weights.elements)

    def load_into(self, model: ObjectiveModel) -> list[str]:
        """Copy weights into a new model, and return their names."""
        return self.weights.load_into(model, self.transfer)


@dataclass(frozen=True)
class PretrainedWithinFit(Start):
    """An unfitted pre-trainer, which is fitted on the crystals of this fit alone."""

    pretraining: Pretrainer
    transfer: str

    @property
    def pretrained(self) -> PretrainedWeights | None:
        """The model that the pre-trainer goes on from, whose graphs it reads."""
        source = self.pretraining.pretrained
        return None if source is None else read_pretrained(source)

    def within_fit(self, data: FitData) -> FromPretrained:
        """Fit a clone of the pre-trainer; the parameter itself stays unfitted."""
        pretrainer = clone(self.pretraining)
        # Repeatable if the fit is: the seed comes from its random_state.
        if pretrainer.random_state is None:
            pretrainer.set_params(random_state=data.seed)
        with progress_label("pre-training"):
            network = pretrainer._fit_rows(data.graphs, groups=data.groups, rows=data.rows.used)
        return FromPretrained(PretrainedWeights.of_network(network), self.transfer)


@dataclass(frozen=True)
class WithReplay(Start):
    """A pre-trained model whose objective stays as a second loss, on frames of its own.

    Parameters
    ----------
    source : FromPretrained or PretrainedWithinFit
        Start of the weights.
    path : str or Path
        The frames.
    weight : float
        Weight of their loss.
    ratio : float
        Number of frames per crystal of the training.
    frames : ReplayedFrames, optional
        The frames, once they are read.
    """

    source: "FromPretrained | PretrainedWithinFit"
    path: Any
    weight: float
    ratio: float
    frames: ReplayedFrames | None = None

    @property
    def pretrained(self) -> PretrainedWeights | None:
        """The pre-trained model, once there is one."""
        return self.source.pretrained

    def within_fit(self, data: FitData) -> "WithReplay":
        """Read the frames, as many as the crystals of the training ask for."""
        if is_on_disk(data.graphs):
            raise ValueError(
                "strategy='replay' joins crystals and frames in memory, and X is a store on disk. "
                "Read it first: fit(store.load(), y)."
            )
        source = self.source.within_fit(data)
        # Frames in proportion to the crystals: neither loss drowns the other.
        limit = int(np.ceil(self.ratio * len(data.rows.used)))
        frames = read_frames(self.path, source.weights, limit, data.seed)
        return replace(self, source=source, frames=frames)

    def make_task(self, data: FitData, objective: Objective) -> Task:
        """Return crystals and frames joined: frames are trained on, the property alone validates.

        The only start that copies graphs: both come to lie in one set.
        """
        frames, task = self._frames(), self._source().make_task(data, objective)
        mixture: Mixture = frames.mixture(_as_property(objective), self.weight)
        joint, joint_targets = join_property(frames, mixture, data.graphs, data.targets)
        # Frames lie behind the crystals, whose row numbers stay as they were.
        added = np.arange(len(data.graphs), len(joint))
        return replace(
            task,
            graphs=joint,
            targets=joint_targets,
            rows=np.concatenate([task.rows, added]),
            train=np.concatenate([task.train, added]),
            objective=mixture,
        )

    def load_into(self, model: ObjectiveModel) -> list[str]:
        """Copy weights into a new model, and return those that the property got."""
        return self._frames().load_into(model, self._source().weights, self.source.transfer)

    def initial_weights(self, model: ObjectiveModel) -> dict[str, Tensor]:
        """Return a copy of the weights of the property's model within the mixture's."""
        return property_weights(super().initial_weights(model))

    def property_network(
        self,
        network: TrainedNetwork,
        objective: Objective,
        targets: Targets,
        settings: TrainingSettings,
    ) -> TrainedNetwork:
        """Return a network that predicts the property alone."""
        record = network.record
        spec = replace(record.spec, objective=objective, layout=objective.layout(targets))
        # The heads of the frames are dropped; the history keeps their losses.
        net = restore_net(spec, property_weights(network.net.module_.state_dict()), settings)
        net.history.extend(network.net.history)
        return TrainedNetwork(net, replace(record, spec=spec))

    def _frames(self) -> ReplayedFrames:
        if self.frames is None:
            raise RuntimeError("within_fit() reads the frames and comes first.")
        return self.frames

    def _source(self) -> FromPretrained:
        if not isinstance(self.source, FromPretrained):
            raise RuntimeError("within_fit() fits the pre-trainer and comes first.")
        return self.source


def _task(
    data: FitData, backbone: Backbone, objective: Objective, run: Mapping[str, Any] | None = None
) -> Task:
    """Return the task of learning the labels of a fit."""
    rows = data.rows
    return Task(
        data.graphs, data.targets, rows.used, rows.train, rows.valid, backbone, objective, run or {}
    )


def _as_property(objective: Objective) -> PropertyTargets:
    if not isinstance(objective, PropertyTargets):
        raise TypeError("strategy='replay' is available only for PropertyRegressor.")
    return objective
