"""Frames of pre-training that are replayed beside a property, as a second loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre._prefixes import add_prefix
from gnnpre.graphs import CrystalGraphs, FrameLabels, StructureToGraph
from gnnpre.objectives import (
    SOURCE,
    ForceField,
    Mixture,
    Objective,
    ObjectiveModel,
    PropertyTargets,
    Targets,
)

from ._pretrained import PretrainedWeights

__all__ = ["PROPERTY", "ReplayedFrames", "join_property", "property_weights", "read_frames"]

#: Name under which the mixture learns the property; those that are replayed follow.
PROPERTY = "property"


@dataclass(frozen=True)
class ReplayedPart:
    """One objective of pre-training, with its weight and the prefix of its weights' names."""

    objective: Objective
    weight: float
    prefix: str


@dataclass(frozen=True)
class ReplayedFrames:
    """Frames to replay, and the objectives that were learnt from such frames."""

    graphs: CrystalGraphs
    labels: FrameLabels | None
    objectives: dict[str, ReplayedPart]

    def mixture(self, objective: PropertyTargets, weight: float) -> Mixture:
        """Return the objective of fine-tuning: the property and the replayed objectives."""
        replayed = [
            (name, item.objective, weight * item.weight) for name, item in self.objectives.items()
        ]
        return Mixture([(PROPERTY, objective, 1.0), *replayed])

    def load_into(
        self, model: ObjectiveModel, source: PretrainedWeights, transfer: str
    ) -> list[str]:
        """Copy the backbone, the readout where it fits, and heads and scales of the objectives.

        Parameters
        ----------
        model : ObjectiveModel
            Model of the mixture.
        source : PretrainedWeights
            The pre-trained model.
        transfer : {"backbone", "matching"}
            Whether the property gets the pre-trained readout too.

        Returns
        -------
        list of str
            Names of the weights that the property got.
        """
        # 1. the backbone
        current = model.state_dict()
        names = [name for name in current if name.startswith("backbone.")]
        current |= {name: source.weights[name] for name in names}
        property_prefix = f"parts.{PROPERTY}."
        for name in [n for n in current if n.startswith(f"{property_prefix}head.")]:
            short = name.removeprefix(property_prefix)
            weight = source.weights.get(short)
            fits = weight is not None and weight.shape == current[name].shape
            if transfer == "matching" and weight is not None and fits:
                current[name] = weight
                names.append(short)
        # 3. heads and statistics of the replayed objectives
        for key, item in self.objectives.items():
            prefix = f"parts.{key}."
            for name in [n for n in current if n.startswith(prefix)]:
                current[name] = source.state[item.prefix + name.removeprefix(prefix)]
        model.load_state_dict(current)
        return names


def read_frames(path: Any, source: PretrainedWeights, limit: int, seed: int) -> ReplayedFrames:
    """Read frames as graphs like those of pre-training.

    Parameters
    ----------
    path : str or Path
        An extended XYZ file, or a folder with saved graphs and labels.
    source : PretrainedWeights
        The pre-trained model.
    limit : int
        Maximum number of frames; which ones is drawn by ``seed``.
    seed : int
        Seed of the draw.

    Returns
    -------
    ReplayedFrames
        The frames.

    Raises
    ------
    TypeError, FileNotFoundError, ValueError
        If there are no such frames, or they do not suit the pre-trained model.
    """
    # 1. the objectives of pre-training, and the files
    objectives = _replayable(source.objective)
    if not isinstance(path, (str, Path)):
        raise TypeError(
            f"replay is of type {type(path).__name__}; expected the path of an extended XYZ file, "
            "or of a folder with graphs.safetensors and labels.safetensors. An array would be "
            "sliced by cross-validation."
        )
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"replay={str(path)!r}: there is no such file or folder.")
    # 2. at most so many frames, drawn by the seed
    needs_labels = any(item.objective.needs_labels for item in objectives.values())
    if path.is_dir():
        graphs, labels = _read_folder(path, source)
        if needs_labels and labels is None:
            raise ValueError(
                f"replay={str(path)!r} has no labels.safetensors, which the objective of "
                f"pre-training ({type(source.objective).__name__}) learns from."
            )
        rows = _draw(len(graphs), limit, seed)
        graphs = graphs[rows]
    else:
        from gnnpre.datasets import read_frames as read_extxyz

        structures, labels = read_extxyz(path)
        rows = _draw(len(structures), limit, seed)
        to_graph = StructureToGraph(**source.graph_settings.to_dict())
        graphs = to_graph.transform([structures[row] for row in rows])
    frame_labels = labels[rows] if needs_labels and labels is not None else None
    return ReplayedFrames(graphs, frame_labels, objectives)


def _draw(n: int, limit: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(n)[:limit])


def _read_folder(path: Path, source: PretrainedWeights) -> tuple[CrystalGraphs, FrameLabels | None]:
    graphs = CrystalGraphs.load(path / "graphs.safetensors")
    if difference := graphs.settings.difference(source.graph_settings):
        raise ValueError(f"replay={str(path)!r} holds graphs of other settings: {difference}.")
    labels = path / "labels.safetensors"
    return graphs, FrameLabels.load(labels) if labels.exists() else None


def _replayable(objective: Objective) -> dict[str, ReplayedPart]:
    """Return the objectives of pre-training that frames can replay, by name."""
    if isinstance(objective, Mixture):
        items = {f"replay_{n}": ReplayedPart(o, w, f"parts.{n}.") for n, o, w in objective.parts}
    else:
        items = {"replay": ReplayedPart(objective, 1.0, "")}
    for item in items.values():
        if item.objective.needs_labels and not isinstance(item.objective, ForceField):
            raise ValueError(
                f"strategy='replay' cannot replay {type(item.objective).__name__}: frames in a "
                "file have energies, forces and stresses, or no labels at all."
            )
    return items


def join_property(
    frames: ReplayedFrames, mixture: Mixture, graphs: CrystalGraphs, targets: Targets
) -> tuple[CrystalGraphs, Targets]:
    """Join the crystals with a property and the frames; neither has the labels of the other.

    Parameters
    ----------
    frames : ReplayedFrames
        The frames.
    mixture : Mixture
        The objective of fine-tuning.
    graphs : CrystalGraphs
        The crystals with a property.
    targets : Targets
        Their properties.

    Returns
    -------
    graphs : CrystalGraphs
        The crystals, followed by the frames.
    targets : Targets
        Targets of all, missing where there is no label.
    """
    joint = CrystalGraphs.concatenate([graphs, frames.graphs.to(graphs.device)])
    y = targets.crystal["properties"].cpu().numpy()
    missing = np.full((len(frames.graphs), y.shape[1]), np.nan)
    labels = None
    if frames.labels is not None:
        sources = {key: column for key, column in frames.labels.info.items() if key == SOURCE}
        frame_labels = FrameLabels(
            frames.labels.n_atoms,
            energy=frames.labels.energy,
            forces=frames.labels.forces,
            stress=frames.labels.stress,
            info=sources,
        )
        # The crystals have no energies: any source will do.
        any_source = {key: np.repeat(names[:1], len(graphs)) for key, names in sources.items()}
        of_crystals = FrameLabels(graphs.atom_counts, info=any_source)
        labels = FrameLabels.concatenate([of_crystals, frame_labels])
    crystal: dict[str, Tensor] = {}
    atom: dict[str, Tensor] = {}
    for name, objective, _ in mixture.parts:
        y_joint = np.concatenate([y, missing]) if name == PROPERTY else labels
        learnt = objective.make_targets(joint, y_joint)
        crystal |= add_prefix(name, learnt.crystal)
        atom |= add_prefix(name, learnt.atom)
    if "sample_weight" in targets.crystal:
        weights = targets.crystal["sample_weight"]
        ones = weights.new_ones(len(frames.graphs))
        crystal["sample_weight"] = weights.new_tensor([*weights.tolist(), *ones.tolist()])
    return joint, Targets(joint.atom_counts, crystal, atom)


def property_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of the property's model within the state of the mixture's.

    Parameters
    ----------
    state : mapping of str to Tensor
        State of the model of the mixture.

    Returns
    -------
    dict of str to Tensor
        Weights of the backbone and of the property's readout.
    """
    prefix = f"parts.{PROPERTY}."
    return {
        key.removeprefix(prefix): value
        for key, value in state.items()
        if key.startswith(("backbone.", prefix))
    }
