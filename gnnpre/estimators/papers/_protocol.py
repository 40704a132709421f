"""Published protocols: their form, and the settings that those of both papers share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from gnnpre.backbones import Backbone
from gnnpre.graphs import StructureToGraph
from gnnpre.objectives import Denoising, Objective
from gnnpre.training import PlateauSchedule

from .._pretrainer import Pretrainer
from .._property_regressor import PropertyRegressor

__all__ = ["Protocol", "assemble", "choose_objective", "plateau"]

# Of what is left without the papers' test part: 0.8/0.05/0.15, and 0.6/0.2/0.2 in fine-tuning.
PRETRAINING_VALIDATION = 0.05 / 0.85
FINETUNING_VALIDATION = 0.25


@dataclass(frozen=True, eq=False)
class Protocol:
    """Unfitted estimators with the settings of a published study.

    Functions such as :func:`jia2024_cgcnn` make it. It holds ordinary estimators: change
    them with ``set_params``, put them in pipelines.

    Parameters
    ----------
    graphs : StructureToGraph
        First step of every pipeline of the study.
    pretraining : Pretrainer
        The pre-training.
    scratch : PropertyRegressor
        The baseline: the same network, trained on the property alone.
    finetuning : mapping of str to object
        Parameters in which fine-tuning differs from ``scratch``.

    See Also
    --------
    jia2024_cgcnn : The CGCNN of the first paper.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from gnnpre import jia2024_cgcnn
    >>> protocol = jia2024_cgcnn("forces", ratio=(1, 500, 500), random_state=0)
    >>> pretraining = make_pipeline(protocol.graphs, protocol.pretraining)

    After ``pretraining.fit(frames, labels)[-1].save("forces.gnnpre")``:

    >>> model = make_pipeline(protocol.graphs, protocol.finetune("forces.gnnpre"))
    >>> baseline = make_pipeline(protocol.graphs, protocol.scratch)
    """

    graphs: StructureToGraph
    pretraining: Pretrainer
    scratch: PropertyRegressor
    finetuning: Mapping[str, Any]

    def finetune(self, pretrained: Any) -> PropertyRegressor:
        """Return the regressor that starts from a pre-trained model.

        Parameters
        ----------
        pretrained : str, Path, Pretrainer or FrozenEstimator
            A file or folder that ``Pretrainer.save`` wrote or ``checkpoint_epochs`` left, or a
            fitted pre-trainer, which is frozen here.

        Returns
        -------
        PropertyRegressor
            Unfitted: :attr:`scratch` with ``pretrained`` and the changes in :attr:`finetuning`.

        Examples
        --------
        >>> from gnnpre import jia2024_cgcnn
        >>> model = jia2024_cgcnn().finetune("forces.gnnpre")
        >>> model.pretrained, model.transfer
        ('forces.gnnpre', 'matching')
        """
        source = FrozenEstimator(pretrained) if isinstance(pretrained, Pretrainer) else pretrained
        start = {"backbone": None, "pretrained": source}
        regressor: PropertyRegressor = clone(self.scratch)
        return regressor.set_params(**start, **self.finetuning)


def choose_objective(objective: Any, named: Mapping[str, Objective]) -> Objective:
    """Return the objective of a name, or a copy of an objective."""
    if isinstance(objective, Objective):
        copy: Objective = clone(objective)
        return copy
    if not isinstance(objective, str) or objective not in named:
        raise ValueError(
            f"objective={objective!r}; expected one of {list(named)}, or an objective such as "
            "ForceField()."
        )
    return named[objective]


def assemble(
    backbone: Backbone,
    objective: Objective,
    *,
    pretraining: Mapping[str, Any],
    scratch: Mapping[str, Any],
    finetuning: Mapping[str, Any],
    random_state: Any,
) -> Protocol:
    """Build a protocol from its settings and those that all protocols share."""
    # The head of this denoising is not a readout, and there is nothing of it to transfer.
    other_head = isinstance(objective, Denoising) and objective.through == "head"
    common = {"weight_decay": 0.01, "gradient_clip": 10.0, "random_state": random_state}
    return Protocol(
        graphs=StructureToGraph(cutoff=8.0, max_neighbors=250, neighbor_cut="exact"),
        pretraining=Pretrainer(
            backbone,
            objective,
            validation_fraction=PRETRAINING_VALIDATION,
            **common,
            **pretraining,
        ),
        scratch=PropertyRegressor(
            clone(backbone),
            strategy="full",
            loss="l1",
            standardize=False,
            readout="early",
            validation_fraction=FINETUNING_VALIDATION,
            ema_decay=None,  # the papers average no weights
            **common,
            **scratch,
        ),
        finetuning={"transfer": "backbone" if other_head else "matching", **finetuning},
    )


def plateau(min_learning_rate: float) -> PlateauSchedule:
    """Return the schedule of the published code, which monitors the training loss."""
    return PlateauSchedule(
        factor=0.8,
        patience=10,
        threshold=2e-4,
        min_learning_rate=min_learning_rate,
        monitor="train_loss",
    )
