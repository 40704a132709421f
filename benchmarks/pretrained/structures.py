"""Structures and labels that gnnpre-1 and gnnpre-1-small are trained on."""

from pathlib import Path

import numpy as np

from gnnpre import Crystals, FrameLabels
from gnnpre.datasets import read_matbench, read_parquet
from gnnpre.model_selection import structure_groups

__all__ = ["LABELS", "MOST_ATOMS", "read_training_set", "reserved_formulas"]

# Evaluation sets whose formulas are left out: all rows, or 2,000 rows drawn by seed 0.
WHOLE = ("jdft2d", "phonons", "matbench_perovskites")
DRAWN = (
    "matbench_log_kvrh_10411",
    "matbench_log_gvrh_10351",
    "matbench_dielectric_4177",
    "refractive_index",
    "mp_form_gap_37k",
)
DRAWN_ROWS, DRAWN_SEED = 2000, 0
MOST_ATOMS = 40
# Labels of the mixture, and the column that each is made of.
LABELS = {
    "formation_energy_eV_per_atom": "formation_energy_eV_per_atom",
    "band_gap_eV": "band_gap_eV",
    "log10_K_VRH_GPa": "log10_K_VRH_GPa",
    "log10_G_VRH_GPa": "log10_G_VRH_GPa",
    "log_refractive_index": "refractive_index",
}


def evaluation_rows(n: int) -> np.ndarray:
    """Return the rows of an evaluation set that benchmarks draw, and training leaves out."""
    return np.sort(np.random.default_rng(DRAWN_SEED).permutation(n)[:DRAWN_ROWS])


def reserved_formulas(data: Path) -> set[str]:
    """Return the reduced formulas of all evaluation crystals."""
    formulas: set[str] = set()
    for name in (*WHOLE, *DRAWN):
        crystals, _ = read_matbench(data / "downstream" / f"{name}.json.gz")
        rows = np.arange(len(crystals)) if name in WHOLE else evaluation_rows(len(crystals))
        formulas.update(structure_groups([crystals[row] for row in rows]).tolist())
    return formulas


def read_training_set(data: Path) -> tuple[Crystals, FrameLabels]:
    """Return the crystals of mp_155k that no evaluation set contains, and their labels."""
    path = data / "structures" / "mp_155k.parquet"
    crystals, table = read_parquet(path, list(LABELS.values()), columns=[])
    formulas = structure_groups(crystals)
    is_reserved = np.isin(formulas, sorted(reserved_formulas(data)))
    rows = np.flatnonzero(~is_reserved & (crystals.n_atoms <= MOST_ATOMS))
    columns = {name: table[column].to_numpy(float)[rows] for name, column in LABELS.items()}
    # The logarithm of 1 to 10: a few entries of the source are beyond any material.
    columns["log_refractive_index"] = np.log(columns["log_refractive_index"].clip(1, 10))
    crystals = crystals[rows]
    info = {**columns, "formula": formulas[rows], "id": np.asarray(crystals.ids)}
    return crystals, FrameLabels(crystals.n_atoms, info=info)
