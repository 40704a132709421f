"""``gnnpre info``: the content of a model file, or the card of a model in the package."""

from typing import Any

import click

__all__ = ["command"]


@click.command("info")
@click.argument("model")
def command(model: str) -> None:
    """Describe MODEL: network, objective, graphs, data, elements and parameters.

    MODEL is a file, or the name of a model in the package, of which the model card is shown.
    """
    from gnnpre.estimators import describe_network, load_estimator
    from gnnpre.pretrained import describe_pretrained, is_shipped

    if is_shipped(model):
        click.echo(describe_pretrained(model).to_markdown(), nl=False)
        return
    estimator = load_estimator(model)
    rows = _describe_ensemble(estimator) if _is_ensemble(estimator) else describe_network(estimator)
    width = max(map(len, rows))
    for name, text in rows.items():
        click.echo(f"{name.ljust(width)}  {text}")


def _is_ensemble(estimator: Any) -> bool:
    return hasattr(estimator, "members_")


def _describe_ensemble(ensemble: Any) -> dict[str, str]:
    """Return members, weights and errors of an ensemble, by name."""
    rows = {"estimator": type(ensemble).__name__, "folds": str(ensemble.cv)}
    for name, models in ensemble.members_.items():
        rows[f"member {name}"] = (
            f"{type(models[0]).__name__}, weight {ensemble.weights_[name]:.3g}, mean absolute "
            f"out-of-fold error {ensemble.errors_[name]:.4g}"
        )
    rows["error of the blend"] = f"{ensemble.errors_['blend']:.4g}"
    return rows
