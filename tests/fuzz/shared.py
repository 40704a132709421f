"""What all cases share: made once in the parent, before it forks."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnpre import (
    CGCNN,
    CrystalGraphs,
    Denoising,
    ForceField,
    FrameLabels,
    Pretrainer,
    PropertyClassifier,
    PropertyRegressor,
    StructureToGraph,
    TorchMDNet,
)
from gnnpre.datasets import make_emt_frames, make_emt_property, to_extxyz
from gnnpre.inspection import report

#: Settings of a training that takes some 20 ms.
QUICK = {"max_epochs": 1, "batch_size": 4, "random_state": 0, "validation_fraction": 0.25}


@dataclass(frozen=True)
class Shared:
    """Crystals, labels, fitted models and files."""

    folder: Path

    @cached_property
    def frames(self) -> tuple[list[Any], FrameLabels]:
        """Frames with energies, forces and stresses."""
        return make_emt_frames(8, max_atoms=4, random_state=0)

    @cached_property
    def crystals(self) -> tuple[list[Any], np.ndarray]:
        """Crystals with a property."""
        return make_emt_property(8, max_atoms=4, random_state=0)

    @cached_property
    def graphs(self) -> CrystalGraphs:
        """Graphs of the crystals."""
        return StructureToGraph(cutoff=4.0).fit_transform(self.crystals[0])

    @cached_property
    def frame_graphs(self) -> CrystalGraphs:
        """Graphs of the frames."""
        return StructureToGraph(cutoff=4.0).fit_transform(self.frames[0])

    @cached_property
    def models(self) -> dict[str, Any]:
        """Fitted estimators."""
        labels, y = self.frames[1], self.crystals[1]
        return {
            "regressor": PropertyRegressor(CGCNN(4, 1), **QUICK).fit(self.graphs, y),
            "transformer": PropertyRegressor(TorchMDNet(8, 1, n_heads=2), **QUICK).fit(
                self.graphs, y
            ),
            "classifier": PropertyClassifier(CGCNN(4, 1), **QUICK).fit(
                self.graphs, y > np.median(y)
            ),
            "forces": Pretrainer(CGCNN(4, 1), ForceField(), **QUICK).fit(self.frame_graphs, labels),
            "noise": Pretrainer(CGCNN(4, 1), Denoising(), **QUICK).fit(self.graphs),
        }

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Files of each kind that gnnpre writes."""
        for name, model in self.models.items():
            model.save(self.folder / f"{name}.gnnpre")
        self.graphs.save(self.folder / "graphs.safetensors")
        self.frames[1].save(self.folder / "labels.safetensors")
        to_extxyz(self.folder / "f.extxyz", *self.frames)
        states = self.folder / "states"
        self.resumable(states).fit(self.graphs, self.crystals[1])
        (state,) = states.glob("*.safetensors")
        state.rename(self.folder / state.name)
        states.rmdir()
        return {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}

    def resumable(self, states: Path) -> PropertyRegressor:
        """Return the regressor whose state is among the files."""
        settings = {**QUICK, "checkpoint_dir": str(states), "resume": True}
        return PropertyRegressor(CGCNN(4, 1), **settings)

    def prepare(self) -> "Shared":
        """Make everything, kernels included, so that no child has to."""
        torch.set_num_threads(1)
        assert self.files
        for name in ("regressor", "transformer"):
            self.models[name].predict(self.graphs)
        self.models["forces"].predict(self.frame_graphs)
        # Matplotlib looks for fonts once.
        report(self.models["regressor"], *self.crystals, self.folder / "report.html").unlink()
        return self
