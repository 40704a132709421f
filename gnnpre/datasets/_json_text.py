"""JSON, parsed fast where it is plain, and as Python reads it where it is not."""

import json
from typing import Any

import orjson

__all__ = ["parse_json"]


def parse_json(text: str | bytes) -> Any:
    """Return the content of JSON text.

    Parameters
    ----------
    text : str or bytes
        The text, which may have NaN and Infinity as Python writes them.

    Returns
    -------
    object
        Dictionaries, lists, numbers and text; no other objects whatever the text says.

    Raises
    ------
    ValueError
        If it is not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    # NaN is none of JSON's values, but Python's writer writes it.
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
