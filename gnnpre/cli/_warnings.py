"""How warnings look on a terminal."""

from typing import Any

import click

__all__ = ["show_warning"]


def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning without the line of code that issued it: the user wrote none."""
    click.echo(f"Warning: {message}", err=True)
