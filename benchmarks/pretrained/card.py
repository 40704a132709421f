"""The model card, from the recipe, the data and the trained model."""

import subprocess
import time
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from gnnpre import CrystalGraphs, FrameLabels, Pretrainer
from gnnpre.graphs import as_crystals

from .recipes import Recipe
from .structures import DRAWN, LABELS, MOST_ATOMS, WHOLE

__all__ = ["git_commit", "make_card"]

MATERIALS_PROJECT = (
    "The Materials Project (A. Jain et al., APL Materials 1, 011002 (2013)), release 2025-02; "
    "labels as in MatBench (A. Dunn et al., npj Comput. Mater. 6, 138 (2020))"
)
MATTERSIM = "benchmark frames of MatterSim (H. Yang et al., arXiv:2405.04967), MIT"
ATTRIBUTIONS = {
    "mp_155k": ("CC-BY-4.0", MATERIALS_PROJECT),
    "mptrj": (
        "CC-BY-4.0",
        "MPtrj (B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023)), among the " + MATTERSIM,
    ),
    "alexandria": (
        "CC-BY-4.0",
        "Alexandria (J. Schmidt et al., Adv. Mater. 35, 2210788 (2023)), among the " + MATTERSIM,
    ),
    "mpf": ("MIT", MATTERSIM),
    "emmet": ("CC-BY-4.0", "The Materials Project, emmet (BSD, LBNL)"),
    "snap": ("BSD-3-Clause", "Training sets of SNAP potentials (Materials Virtual Lab)"),
    "mlearn": (
        "BSD-3-Clause",
        "mlearn (Y. Zuo et al., J. Phys. Chem. A 124, 731 (2020), Materials Virtual Lab)",
    ),
}
LIMITS = {
    "structures": [
        "Predictions of the properties it was trained on, as a replacement for computing them: "
        "they are a means of pre-training, for crystals of at most "
        f"{MOST_ATOMS} atoms near equilibrium, computed with PBE or PBE+U.",
        "Energies that are compared with each other, forces or relaxations: it is no force field.",
        "Crystals with elements that it has never seen (see below); `fit` warns of them.",
        "Benchmark results on crystals that it has seen: run `leak_audit` first.",
    ],
    "frames": [
        "Crystals near their equilibrium: there its forces err by more than the forces are large "
        "(see the rows of mptrj-random-1k and alexandria-random-1k), so that a relaxation ends in "
        "a place that DFT has to correct.",
        "Anything that needs an accuracy better than the errors above: small differences of "
        "energies, phase stability, phonons, elastic constants, barriers.",
        "Molecules, surfaces with adsorbates, charged cells or magnetism: none was trained on.",
        "Dynamics at high temperature without checks against DFT.",
        "Total energies of DFT: its energies are formation energies, from which the elements' "
        "energies are missing. Differences at one composition are those of DFT.",
        "Crystals with elements that it has never seen (see below); a warning names them.",
    ],
}

# What a network starts from.
STARTS = {
    "gnnpre-1": "backbone and readouts of a first training, of 16 epochs with EAD fingerprints in "
    "place of wACSF",
    "gnnpre-1-forces": "backbone and readout of the formation energy of gnnpre-1-small",
}


def make_card(
    recipe: Recipe,
    pretrainer: Pretrainer,
    graphs: CrystalGraphs,
    labels: FrameLabels,
    errors: list[dict[str, Any]],
    run_record: dict[str, Any],
) -> dict[str, Any]:
    """Return the metadata of the card."""
    n_weights = sum(weight.numel() for weight in pretrainer.net_.module_.parameters())
    settings = ", ".join(f"{name}={value}" for name, value in recipe.settings.items())
    starting = {"start": STARTS[recipe.name]} if recipe.start else {}
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        "license": "BSD-3-Clause, as gnnpre; the data have the licences above.",
        "created": time.strftime("%Y-%m-%d"),
        "network": {
            "backbone": _one_line(pretrainer.spec_.backbone),
            "cutoff": f"{pretrainer.graph_settings_.cutoff} Å",
            "weights": n_weights,
        },
        "training": {
            "objective": _one_line(pretrainer.spec_.objective),
            **starting,
            "settings": settings,
            "structures": f"{pretrainer.data_['n_train']:,} to train, "
            f"{pretrainer.data_['n_valid']:,} to validate (whole formulas)",
            "epochs": len(pretrainer.history_),
            "command": f"python -m benchmarks pretrained --only {recipe.name}",
            "commit": run_record["commit"],
            "CPU hours": run_record["cpu_hours"],
        },
        "data": _sources(recipe, labels),
        "excluded": _excluded(recipe),
        "errors": errors,
        "errors_note": _errors_note(recipe),
        "limits": LIMITS[recipe.data],
        "elements": _element_counts(graphs),
        "leak_keys": "with every training structure; see gnnpre.model_selection.leak_audit",
    }


def _one_line(value: Any) -> str:
    return " ".join(repr(value).split())


def git_commit() -> str:
    """Return the commit of this checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _sources(recipe: Recipe, labels: FrameLabels) -> list[dict[str, Any]]:
    if recipe.data == "structures":
        counts = {name: int(np.isfinite(labels.info[name]).sum()) for name in LABELS}
        return [
            {
                "name": "Materials Project",
                "n": len(labels),
                "labels": counts,
                "license": "CC-BY-4.0",
                "from": MATERIALS_PROJECT,
            }
        ]
    entries = []
    for name in dict.fromkeys(labels.info["file"].tolist()):
        rows = labels.info["file"] == name
        license_name, attribution = ATTRIBUTIONS[name.split("-")[0]]
        entries.append(
            {
                "name": name,
                "n": int(rows.sum()),
                "labels": {
                    "energies": int(np.isfinite(labels.energy[rows]).sum()),
                    "atoms with forces": int(
                        np.isfinite(labels.forces[np.repeat(rows, labels.n_atoms)])
                        .all(axis=1)
                        .sum()
                    ),
                    "stresses": int(np.isfinite(labels.stress[rows]).all(axis=(1, 2)).sum()),
                },
                "license": license_name,
                "from": attribution,
            }
        )
    return entries


def _excluded(recipe: Recipe) -> list[str]:
    reserved = [
        f"every formula of {', '.join(WHOLE)}",
        f"every formula of 2,000 rows, drawn by seed 0, of {', '.join(DRAWN)}",
    ]
    if recipe.data == "structures":
        return [
            *reserved,
            f"crystals of more than {MOST_ATOMS} atoms",
            "all frames with forces, phononDB's among them: they nearly determine the target of "
            "MatBench's phonons",
        ]
    return [
        *reserved,
        "frames with a force of 20 eV/Å or a stress of 100 GPa or more",
        "energies of emmet, snap and mlearn: their scale is not known",
        "phononDB (PBEsol; its forces nearly determine the target of MatBench's phonons)",
        "polymlp (its functional is not stated frame by frame)",
    ]


def _errors_note(recipe: Recipe) -> str:
    if recipe.data == "structures":
        return (
            "Mean absolute errors on the validation crystals, whole formulas that were not trained "
            "on but decided which epoch was kept. The constant is the median of the training set."
        )
    return (
        "Mean absolute errors on the validation frames: whole formulas that were not trained on, "
        "but decided which epoch was kept. Those of the model that it starts from were trained "
        "without forces on other structures, perhaps of the same formulas. The constant is the "
        "median energy of the training frames, and zero for forces and stress. For forces, the "
        "last column counts atoms."
    )


def _element_counts(graphs: CrystalGraphs) -> dict[str, int]:
    crystals = as_crystals(graphs)
    row = np.repeat(np.arange(len(crystals)), crystals.n_atoms)
    pairs = np.unique(row * 128 + crystals.atomic_numbers)
    numbers, counts = np.unique(pairs % 128, return_counts=True)
    return {chemical_symbols[z]: int(n) for z, n in zip(numbers, counts, strict=True)}
