"""Types of options, and help texts in sections."""

from collections.abc import Callable, Iterable
from typing import Any

import click

__all__ = ["AutoOr", "Decorator", "OrNone", "SectionCommand", "SectionOption", "add_options"]

Decorator = Callable[[Any], Any]


def add_options(options: Iterable[Decorator]) -> Decorator:
    """Return a decorator that adds options, which ``--help`` lists in this order."""

    def decorate(command: Any) -> Any:
        # --help lists the option first that is applied last.
        for option in reversed(list(options)):
            command = option(command)
        return command

    return decorate


class OrNone(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4
    """Values of another type, or ``none``."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.name = f"{values.name}|none"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any | None:
        """Return None for ``none``, and what the other type makes of anything else."""
        if isinstance(value, str) and value.lower() == "none":
            return None
        return self.values.convert(value, param, ctx)


class AutoOr(click.ParamType):  # type: ignore[type-arg]
    """Values of another type, or ``auto``."""

    def __init__(self, values: Any) -> None:
        self.values = values
        self.name = f"{values.name}|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return ``auto`` as it is, and what the other type makes of anything else."""
        return value if value == "auto" else self.values.convert(value, param, ctx)


class SectionOption(click.Option):
    """Option that ``--help`` lists in a section."""

    def __init__(self, *args: Any, section: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionCommand(click.Command):
    """Command with so many options that ``--help`` lists them in sections."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, in the order in which each section comes first."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                title = getattr(parameter, "section", "Options")
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)
