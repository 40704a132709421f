"""Model cards: data, objective, errors and limits of a pre-trained model, as Markdown too."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gnnpre._storage import reading

from ._catalogue import resolve_model
from ._members import CARD, REMEDY, read_member

__all__ = ["ModelCard", "describe_pretrained"]

#: Entries that each card has.
REQUIRED = ("name", "summary", "network", "training", "data", "elements", "errors", "limits")


class ModelCard:
    """Data, objective, errors and limits of a model; ``print(card)`` shows them as Markdown.

    Parameters
    ----------
    metadata : mapping
        ``name``, ``summary``, ``license``, ``network``, ``training`` (objective, command, commit,
        hours), ``data`` (one entry per source: counts, licence, attribution), ``excluded``,
        ``elements`` (how many training structures contain each), ``errors`` (one entry per label)
        and ``limits``, all JSON-serializable.

    Raises
    ------
    ValueError
        If an entry is missing.

    Examples
    --------
    >>> from gnnpre import describe_pretrained
    >>> card = describe_pretrained("gnnpre-1")
    >>> card.metadata["data"][0]["license"]
    'CC-BY-4.0'
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        missing = [name for name in REQUIRED if name not in metadata]
        if missing:
            raise ValueError(f"the model card lacks {', '.join(missing)}")
        self.metadata = dict(metadata)

    def to_markdown(self) -> str:
        """Return the card as Markdown.

        Returns
        -------
        str
            The text, which begins with a heading.
        """
        card = self.metadata
        blocks = [
            f"# {card['name']}",
            card["summary"],
            _heading("Network and training", _bullets({**card["network"], **card["training"]})),
            _heading("Data", *_sources(card["data"]), *_excluded(card.get("excluded", ()))),
            _heading("Errors on held-out crystals", _errors(card["errors"]), *_notes(card)),
            _heading("Not to be used for", _list(card["limits"])),
            _heading("Elements", _elements(card["elements"])),
        ]
        if "license" in card:
            blocks.append(_heading("Licence", card["license"]))
        return "\n\n".join(blocks) + "\n"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()

    def __str__(self) -> str:
        return self.to_markdown()

    def __repr__(self) -> str:
        return f"ModelCard({self.metadata['name']!r})"


def describe_pretrained(model: str | Path) -> ModelCard:
    """Return the model card of a pre-trained model: data, objective, errors, limits.

    Parameters
    ----------
    model : str or Path
        A name of :func:`list_pretrained`, or a file that was released with a card.

    Returns
    -------
    ModelCard
        The card; ``print`` shows it as Markdown, and ``metadata`` has its entries.

    Raises
    ------
    FileNotFoundError
        If there is no such model; the message lists the names.
    ValueError
        If the file is damaged, or has no card.

    Examples
    --------
    >>> from gnnpre import describe_pretrained
    >>> print(describe_pretrained("gnnpre-1"))  # doctest: +ELLIPSIS
    # gnnpre-1
    ...
    """
    path = resolve_model(model)
    content = read_member(path, CARD, "model card")
    with reading(path, REMEDY):
        return ModelCard(json.loads(content))


def _heading(title: str, *blocks: str) -> str:
    return "\n\n".join([f"## {title}", *blocks])


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _bullets(entries: Mapping[str, Any]) -> str:
    return _list(f"{name.replace('_', ' ')}: {_text(value)}" for name, value in entries.items())


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    names = list(header)
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    lines += [f"| {' | '.join(_text(value) for value in row)} |" for row in rows]
    return "\n".join(lines)


def _sources(sources: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    rows = []
    for source in sources:
        labels = ", ".join(f"{name} {count:,}" for name, count in source["labels"].items())
        rows.append(
            [source["name"], source["n"], labels or "none", source["license"], source["from"]]
        )
    yield _table(["source", "structures", "labels", "licence", "attribution"], rows)


def _excluded(texts: Iterable[str]) -> Iterator[str]:
    if texts:
        yield "Left out of the training:\n\n" + _list(texts)


def _errors(errors: Iterable[Mapping[str, Any]]) -> str:
    names = ("label", "unit", "mae", "baseline", "n")
    header = ("label", "unit", "mean absolute error", "of a constant", "crystals")
    return _table(header, ([error[name] for name in names] for error in errors))


def _notes(card: Mapping[str, Any]) -> Iterator[str]:
    if "errors_note" in card:
        yield card["errors_note"]


def _elements(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    listed = ", ".join(f"{symbol} {count:,}" for symbol, count in ordered)
    return (
        f"{len(counts)} elements, with the number of training structures that contain each: "
        f"{listed}."
    )
