"""The objectives of Jia et al. (2024): force fields, and denoising in two ways."""

from collections.abc import Sequence
from typing import Any

from gnnpre.objectives import Denoising, ForceField, Objective

__all__ = ["published_objectives"]


def published_objectives(
    ratio: Sequence[float], readout: dict[str, Any], per_atom: dict[str, Any]
) -> dict[str, Objective]:
    """Return the objectives of the paper by name.

    Parameters
    ----------
    ratio : sequence of three floats
        Weights of energy, forces and stress.
    readout : dict
        Parameters of the readout of energies.
    per_atom : dict
        Parameters of the head on each atom of ``"denoising_head"``.

    Returns
    -------
    dict of str to Objective
        ``"forces"``, ``"denoising"`` and ``"denoising_head"``.

    Raises
    ------
    ValueError
        If ``ratio`` is not three numbers.
    """
    if not isinstance(ratio, (list, tuple)) or len(ratio) != 3:
        raise ValueError(
            f"ratio={ratio!r}; expected three weights, of energy, forces and stress, such as "
            "(1, 500, 500)."
        )
    energy, forces, stress = ratio
    denoising: dict[str, Any] = {
        "noise": 0.1,
        "target": "noise",
        "remove_translation": False,
        "scale": None,
        "loss": "l1",
    }
    return {
        "forces": ForceField(
            energy,
            forces,
            stress,
            energy_per="cell",
            loss="l1",
            reference_energies=None,
            scale=False,
            readout="early",
            pooling="sum",
            **readout,
        ),
        "denoising": Denoising(
            through="derivative", readout="early", pooling="sum", **denoising, **readout
        ),
        "denoising_head": Denoising(through="head", **denoising, **per_atom),
    }
