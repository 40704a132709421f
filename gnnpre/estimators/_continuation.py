"""Pre-training that starts from a pre-trained model: its backbone, and the heads that go on."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from gnnpre._prefixes import select_prefix
from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.objectives import Mixture, MixtureModel, Objective, ObjectiveModel, select_targets
from gnnpre.training import predict_batches

from ._network import Task
from ._pretrained import PretrainedWeights

__all__ = ["Continuation", "objectives_by_name"]

# Parameters that decide the meaning of a head, beside the shapes of its weights.
HEAD_PARAMETERS = ("readout", "pooling")
# Name of an objective that is no part of a mixture.
SINGLE = ""


class Continuation:
    """Callable that loads a pre-trained model into the model of another pre-training.

    The backbone is always loaded. The head of an objective goes on where the pre-trained model has
    one of the same objective and shape. The labels may be others, so that statistics are those of
    the new training set, except for those that the model of an objective keeps
    (``kept_statistics``).

    Parameters
    ----------
    pretrained : PretrainedWeights
        The pre-trained model.
    task : Task
        The new training.
    """

    def __init__(self, pretrained: PretrainedWeights, task: Task) -> None:
        self.pretrained = pretrained
        self.task = task

    def __call__(self, model: ObjectiveModel) -> None:
        """Load weights into a new model, whose backbone has the pre-trained config."""
        self.pretrained.load_into(model, "backbone")
        pairs = _pairs(self.task.objective, self.pretrained.objective)
        loaded = [self._load_head(model, name, source) for name, source in pairs.items()]
        if pairs and not any(loaded):
            warn_user(
                "The pre-trained model has a head of this objective, but of another shape: only "
                "the backbone was loaded. readout, pooling, head_channels, head_layers and the "
                "number of outputs decide the shape.",
                TrainingWarning,
            )

    def _load_head(self, model: ObjectiveModel, name: str, source: str) -> bool:
        """Load the head of an objective if that of the source fits; return whether it does."""
        head = model if name == SINGLE else _models(model)[name]
        state = self.pretrained.state
        if source != SINGLE:
            state = select_prefix(f"parts.{source}", state)
        weights = {key: w for key, w in head.named_parameters() if not key.startswith("backbone.")}
        if not _fits(weights, state) or not self._means_the_same(name, source):
            return False
        names = [*weights, *head.kept_statistics]
        head.load_state_dict({**head.state_dict(), **{key: state[key] for key in names}})
        targets = self.task.targets
        train = self.task.train
        # Labels of crystals of no weight count for nothing.
        train = train[targets.weights[train] > 0]
        predict = partial(predict_batches, model, self.task.graphs, rows=train)
        if name != SINGLE:
            targets = select_targets(name, targets)
        head.correct_statistics(self.task.graphs, targets, train, predict)
        return True

    def _means_the_same(self, name: str, source: str) -> bool:
        new = objectives_by_name(self.task.objective)[name]
        learnt = objectives_by_name(self.pretrained.objective)[source]
        return all(getattr(new, p, None) == getattr(learnt, p, None) for p in HEAD_PARAMETERS)


def _pairs(objective: Objective, pretrained: Objective) -> dict[str, str]:
    """Return the objectives that a pre-trained model has learnt too, by their names in both.

    Those of two mixtures have the same name and class; else the first one of the class is taken.
    """
    new, learnt = objectives_by_name(objective), objectives_by_name(pretrained)
    are_mixtures = SINGLE not in new and SINGLE not in learnt
    pairs: dict[str, str] = {}
    for name, item in new.items():
        for source, learnt_item in learnt.items():
            is_named_so = source == name or not are_mixtures
            is_same = type(learnt_item) is type(item) and is_named_so
            if is_same and source not in pairs.values():
                pairs.setdefault(name, source)
    return pairs


def objectives_by_name(objective: Objective) -> dict[str, Objective]:
    """Return the objectives of a mixture by their names, or a single one under an empty name."""
    if isinstance(objective, Mixture):
        return {name: item for name, item, _ in objective.parts}
    return {SINGLE: objective}


def _models(model: ObjectiveModel) -> dict[str, ObjectiveModel]:
    if not isinstance(model, MixtureModel):
        raise TypeError(f"{type(model).__name__} is not the model of a mixture.")
    return model.models()


def _fits(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Return whether a state has all of these weights, in their shapes."""
    return bool(weights) and all(
        name in state and state[name].shape == weight.shape for name, weight in weights.items()
    )
