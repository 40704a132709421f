"""The README.md of a folder for a model hub: front matter and a card of the model."""

import json
from typing import Any

from gnnpre._version import __version__
from gnnpre.pretrained import ModelCard

from ._describe import describe_network

__all__ = ["hub_readme"]

TAGS = ("materials-science", "crystals", "graph-neural-network")


def hub_readme(estimator: Any, card: Any, license: str | None) -> str:
    """Return README.md: front matter, then the card, or a description of the network.

    Parameters
    ----------
    estimator : estimator
        The fitted estimator.
    card : ModelCard, str or None
        Card of the model; text is Markdown.
    license : str or None
        Identifier of the licence, such as ``"cc-by-4.0"``; that of the card by default.

    Returns
    -------
    str
        The text.

    Raises
    ------
    TypeError
        If the card or the licence is something else.
    """
    if license is not None and not isinstance(license, str):
        raise TypeError(
            f"license is of type {type(license).__name__}; expected an identifier, such as "
            "'cc-by-4.0'."
        )
    if isinstance(card, ModelCard):
        license = license or card.metadata.get("license")
        body = card.to_markdown()
    elif card is None:
        body = _description(estimator)
    elif isinstance(card, str):
        body = card
    else:
        raise TypeError(f"card is of type {type(card).__name__}; expected a ModelCard or Markdown.")
    return f"{_front_matter(estimator, license)}\n{body.rstrip()}\n\n{_usage(estimator)}"


def _front_matter(estimator: Any, license: str | None) -> str:
    """Return the metadata that a hub reads, as YAML; JSON's strings are YAML's."""
    tags = [*TAGS, type(estimator.spec_.backbone).__name__.lower()]
    lines = ["library_name: gnnpre", "pipeline_tag: graph-ml"]
    if license is not None:
        lines.append(f"license: {json.dumps(license.lower())}")
    lines += ["tags:", *(f"- {json.dumps(tag)}" for tag in tags)]
    return "\n".join(["---", *lines, "---"]) + "\n"


def _description(estimator: Any) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in describe_network(estimator).items())
    return f"# {type(estimator).__name__}\n\n|  |  |\n|---|---|\n{rows}"


def _usage(estimator: Any) -> str:
    name = type(estimator).__name__
    return (
        f"## Use\n\nWritten by gnnpre {__version__}. Download the folder, then:\n\n"
        f'```python\nfrom gnnpre import {name}\n\nmodel = {name}.load("FOLDER")\n```\n'
    )
