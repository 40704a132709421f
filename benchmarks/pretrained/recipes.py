"""Settings of the trainings. A card repeats them, and `make pretrained` runs them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnnpre import (
    EAD,
    WACSF,
    FingerprintTargets,
    ForceField,
    Mixture,
    Pretrainer,
    PropertyTargets,
    TorchMDNet,
)
from gnnpre.fingerprints import Fingerprint

from .start import StartFrom

__all__ = ["RECIPES", "Recipe"]

CUTOFF = 5.0
OPTIMISER = {
    "batch_size": 32,
    "learning_rate": 1e-3,
    "ema_decay": 0.999,
    "random_state": 0,
    "validation_fraction": 0.03,
}


@dataclass(frozen=True)
class Recipe:
    """One model: its network, objective, data and settings."""

    name: str
    summary: str
    data: str  # "structures" or "frames"
    backbone: Any
    objective: Any
    settings: dict[str, Any]
    groups: str  # column whose groups stay on one side of the validation split
    start: str | None = None  # another recipe, whose network it starts from
    is_released: bool = True  # or only the start of another one

    def pretrainer(self, folder: Path) -> Pretrainer:
        """Return the unfitted estimator, which resumes from states in a folder."""
        callbacks = [("start", StartFrom(folder / f"{self.start}.gnnpre"))] if self.start else None
        return Pretrainer(
            self.backbone,
            self.objective,
            callbacks=callbacks,
            checkpoint_dir=str(folder / "states" / self.name),
            resume=True,
            verbose=1,
            **self.settings,
        )


def mixture(name: str, fingerprint: Fingerprint) -> Mixture:
    """Return the objective of models of structures: a fingerprint, and properties."""
    return Mixture(
        [
            (name, FingerprintTargets(fingerprint), 1.0),
            ("formation_energy_eV_per_atom", PropertyTargets(), 0.5),
            ("band_gap_eV", PropertyTargets(), 0.5),
            ("log10_K_VRH_GPa", PropertyTargets(), 0.1),
            ("log10_G_VRH_GPa", PropertyTargets(), 0.1),
            ("log_refractive_index", PropertyTargets(), 0.05),
        ]
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="gnnpre-1-first",
            summary="The first training of gnnpre-1.",
            data="structures",
            backbone=TorchMDNet(128, 2),
            objective=mixture("ead", EAD()),
            settings={**OPTIMISER, "max_epochs": 16},
            groups="formula",
            is_released=False,
        ),
        Recipe(
            name="gnnpre-1",
            summary="The base model, to fine-tune on properties of crystals.",
            data="structures",
            backbone=TorchMDNet(128, 2),
            objective=mixture("wacsf", WACSF()),
            settings={**OPTIMISER, "learning_rate": 7e-4, "max_epochs": 14},
            groups="formula",
            start="gnnpre-1-first",
        ),
        Recipe(
            name="gnnpre-1-small",
            summary="A network of half the width, for fast fine-tuning and screening.",
            data="structures",
            backbone=TorchMDNet(64, 2),
            objective=mixture("ead", EAD()),
            settings={**OPTIMISER, "max_epochs": 9},
            groups="formula",
        ),
        Recipe(
            name="gnnpre-1-forces",
            summary="A rough force field (formation energy, forces, stress) for first relaxations.",
            data="frames",
            backbone=TorchMDNet(64, 2),
            objective=ForceField(2.0, 1.0, 10.0, reference_energies=None),
            settings={
                **OPTIMISER,
                "batch_size": 16,
                "learning_rate": 5e-4,
                "max_epochs": 40,
                "validation_fraction": 0.1,
            },
            groups="formula",
            start="gnnpre-1-small",
        ),
    )
}
