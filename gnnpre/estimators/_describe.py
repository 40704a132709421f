"""A fitted network in words."""

from pathlib import Path
from typing import Any

__all__ = ["describe_network"]


def describe_network(estimator: Any) -> dict[str, str]:
    """Return network, objective, graphs, data, elements and training of a fitted estimator.

    Parameters
    ----------
    estimator : Pretrainer, PropertyRegressor or PropertyClassifier
        The fitted estimator.

    Returns
    -------
    dict of str to str
        Descriptions by name.
    """
    from ase.data import chemical_symbols

    n_weights = sum(weight.numel() for weight in estimator.net_.module_.parameters())
    history = estimator.history_
    rows = {
        "estimator": type(estimator).__name__,
        "backbone": estimator.spec_.backbone,
        "objective": estimator.spec_.objective,
        "weights": f"{n_weights:,}",
        "cutoff": f"{estimator.graph_settings_.cutoff} Å",
        "max_neighbors": estimator.graph_settings_.max_neighbors,
        "crystals": ", ".join(f"{key} {value:,}" for key, value in estimator.data_.items()),
        "elements": " ".join(chemical_symbols[number] for number in estimator.elements_),
        "epochs": len(history),
    }
    start = getattr(estimator, "pretrained", None)
    if isinstance(start, (str, Path)):
        rows["pretrained"] = Path(start).name  # no folders of whoever trained it
    head = getattr(estimator, "kernel_", None)
    if head is not None:
        shares = getattr(head, "shares", None)
        by_network = "" if shares is None else f" and network ({shares.mean():.0%} of predictions)"
        rows["predictions"] = f"kernel machine{by_network}"
    losses = [row["valid_loss"] for row in history if "valid_loss" in row]
    if losses:
        rows["valid_loss"] = f"{min(losses):.4g} (best)"
    # Configs are printed over several lines if they are long.
    return {name: " ".join(str(value).split()) for name, value in rows.items()}
