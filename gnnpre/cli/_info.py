"""``gnnpre info``: the content of a model file, or the card of a model in the package."""

import click

from ._reading import estimator_of

__all__ = ["command"]


@click.command("info")
@click.argument("model")
def command(model: str) -> None:
    """Describe MODEL: network, objective, graphs, data, elements and parameters.

    MODEL is a file, or the name of a model in the package, of which the model card is shown.
    """
    from ase.data import chemical_symbols

    from gnnpre.pretrained import describe_pretrained, is_shipped

    if is_shipped(model):
        click.echo(describe_pretrained(model).to_markdown(), nl=False)
        return
    estimator = estimator_of(model)
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
    if history and "valid_loss" in history[-1]:
        rows["valid_loss"] = f"{min(row['valid_loss'] for row in history):.4g} (best)"
    width = max(map(len, rows))
    for name, value in rows.items():
        text = " ".join(str(value).split())
        click.echo(f"{name.ljust(width)}  {text}")
