"""Fine-tuning that keeps the objective of pre-training as a second loss, on frames of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from gnnpre.graphs import CrystalGraphs, FrameLabels, StructureToGraph
from gnnpre.objectives import (
    ForceField,
    Mixture,
    Objective,
    ObjectiveModel,
    PropertyTargets,
    Targets,
)

from ._pretrained import PretrainedWeights

__all__ = ["PROPERTY", "Replay", "join_property", "load_frames", "property_weights"]

#: Name of the part of the mixture that learns the property; those that are replayed follow.
PROPERTY = "property"


@dataclass(frozen=True)
class Replay:
    """Frames to replay, and what was learnt from them."""

    graphs: CrystalGraphs
    labels: FrameLabels | None
    parts: dict[str, tuple[Objective, float, str]]  # objective, weight, where its weights are

    def mixture(self, objective: PropertyTargets, weight: float) -> Mixture:
        """Give the objective of fine-tuning."""
        replayed = [(name, part, weight * own) for name, (part, own, _) in self.parts.items()]
        return Mixture([(PROPERTY, objective, 1.0), *replayed])

    def load_into(
        self, model: ObjectiveModel, source: PretrainedWeights, transfer: str
    ) -> list[str]:
        """Copy the backbone, what the property takes over, and heads and scales of the parts."""
        current = model.state_dict()
        names = [name for name in current if name.startswith("backbone.")]
        current |= {name: source.weights[name] for name in names}
        own = f"parts.{PROPERTY}."
        for name in [n for n in current if n.startswith(f"{own}head.")]:
            found = source.weights.get(name.removeprefix(own))
            if transfer == "matching" and found is not None and found.shape == current[name].shape:
                current[name] = found
                names.append(name.removeprefix(own))
        for part, (_, _, place) in self.parts.items():
            start = f"parts.{part}."
            for name in [n for n in current if n.startswith(start)]:
                current[name] = source.state[place + name.removeprefix(start)]
        model.load_state_dict(current)
        return names


def load_frames(path: Any, source: PretrainedWeights, most: int, seed: int) -> Replay:
    """Read frames, at most so many of them, as graphs like those of pre-training."""
    parts = _parts_of(source.objective)
    if not isinstance(path, (str, Path)):
        raise TypeError(
            f"replay is of type {type(path).__name__}; expected the path of an extended XYZ file, "
            "or of a folder with graphs.safetensors and labels.safetensors. An array would be "
            "sliced by cross-validation."
        )
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"replay={str(path)!r}: there is no such file or folder.")
    graphs, labels = _read_folder(path) if path.is_dir() else (None, None)
    if graphs is None:
        from gnnpre.datasets import read_frames

        structures, labels = read_frames(path)
        chosen = _choose(len(structures), most, seed)
        settings = source.graphs.to_dict()
        graphs = StructureToGraph(**settings).transform([structures[i] for i in chosen])
    else:
        if difference := graphs.settings.difference(source.graphs):
            raise ValueError(f"replay={str(path)!r} holds graphs of other settings: {difference}.")
        chosen = _choose(len(graphs), most, seed)
        graphs = graphs[chosen]
    needed = any(part.needs_labels for part, _, _ in parts.values())
    if needed and labels is None:
        raise ValueError(
            f"replay={str(path)!r} has no labels.safetensors, which the objective of pre-training "
            f"({type(source.objective).__name__}) learns from."
        )
    return Replay(graphs, labels[chosen] if needed and labels is not None else None, parts)


def _choose(n: int, most: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def _read_folder(path: Path) -> tuple[CrystalGraphs, FrameLabels | None]:
    labels = path / "labels.safetensors"
    graphs = CrystalGraphs.load(path / "graphs.safetensors")
    return graphs, FrameLabels.load(labels) if labels.exists() else None


def _parts_of(objective: Objective) -> dict[str, tuple[Objective, float, str]]:
    """Give the parts that can be replayed beside a property, under names of their own."""
    if isinstance(objective, Mixture):
        parts = {f"replay_{n}": (p, w, f"parts.{n}.") for n, p, w in objective.parts}
    else:
        parts = {"replay": (objective, 1.0, "")}
    for part, _, _ in parts.values():
        if part.needs_labels and not isinstance(part, ForceField):
            raise ValueError(
                f"strategy='replay' cannot replay {type(part).__name__}: frames in a file have "
                "energies, forces and stresses, or no labels at all."
            )
    return parts


def join_property(
    replay: Replay, mixture: Mixture, graphs: CrystalGraphs, targets: Targets
) -> tuple[CrystalGraphs, Targets]:
    """Put the crystals with a property and the frames together; neither has the other's labels."""
    joint = CrystalGraphs.concatenate([graphs, replay.graphs.to(graphs.device)])
    y = targets.crystal["properties"].cpu().numpy()
    missing = np.full((len(replay.graphs), y.shape[1]), np.nan)
    labels = None
    if replay.labels is not None:
        frames = FrameLabels(
            replay.labels.n_atoms,
            energy=replay.labels.energy,
            forces=replay.labels.forces,
            stress=replay.labels.stress,
        )
        labels = FrameLabels.concatenate([FrameLabels(graphs.atom_counts), frames])
    crystal: dict[str, Tensor] = {}
    atom: dict[str, Tensor] = {}
    for name, part, _ in mixture.parts:
        own = part.make_targets(joint, np.concatenate([y, missing]) if name == PROPERTY else labels)
        crystal |= {f"{name}.{key}": value for key, value in own.crystal.items()}
        atom |= {f"{name}.{key}": value for key, value in own.atom.items()}
    if "sample_weight" in targets.crystal:
        weights = targets.crystal["sample_weight"]
        ones = weights.new_ones(len(replay.graphs))
        crystal["sample_weight"] = weights.new_tensor([*weights.tolist(), *ones.tolist()])
    return joint, Targets(joint.atom_counts, crystal, atom)


def property_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the model of the property out of the state of the mixture."""
    start = f"parts.{PROPERTY}."
    return {
        key.removeprefix(start): value
        for key, value in state.items()
        if key.startswith(("backbone.", start))
    }
