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
    from gnnpre.estimators import describe_network
    from gnnpre.pretrained import describe_pretrained, is_shipped

    if is_shipped(model):
        click.echo(describe_pretrained(model).to_markdown(), nl=False)
        return
    rows = describe_network(estimator_of(model))
    width = max(map(len, rows))
    for name, text in rows.items():
        click.echo(f"{name.ljust(width)}  {text}")
