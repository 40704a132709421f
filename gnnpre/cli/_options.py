"""Options that several commands share, and files with values of options."""

import tomllib
from pathlib import Path
from typing import Any

import click

from ._types import Decorator, SectionOption, add_options

__all__ = [
    "config_option",
    "device_option",
    "output_option",
    "seed_option",
    "source_argument",
    "source_options",
    "take_reading",
]

source_argument: Decorator = click.argument("source")


def _reading(flag: str, **attributes: Any) -> Decorator:
    return click.option(flag, cls=SectionOption, section="Reading", **attributes)


#: How a source is read.
source_options = add_options(
    [
        _reading("--structure-column", help="Column of a table with the structures."),
        _reading("--id-column", help="Column of a table with the ids of the crystals."),
        _reading("--n-jobs", type=int, help="Processes that read files; -1 for all cores."),
    ]
)


def take_reading(options: dict[str, Any]) -> dict[str, Any]:
    """Take the values of ``source_options`` out of ``options``, for :func:`read_source`."""
    return {name: options.pop(name) for name in ("structure_column", "id_column", "n_jobs")}


def _read_config(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
    """Use the values of a TOML file where the command line has none."""
    if path is None:
        return
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"--config {path} cannot be read as TOML: {error}") from error
    allowed = {parameter.name for parameter in ctx.command.params} - {"config"}
    unknown = sorted(set(values) - allowed)
    if unknown:
        raise click.UsageError(
            f"--config {path} has {', '.join(unknown)}, which {ctx.command.name} does not know; "
            f"expected names among {', '.join(sorted(name for name in allowed if name))}."
        )
    # An option that can be repeated needs no list for one value.
    for parameter in ctx.command.params:
        value = values.get(parameter.name or "")
        if getattr(parameter, "multiple", False) and isinstance(value, str):
            values[str(parameter.name)] = [value]
    # click takes defaults from here, and the command line wins over them.
    ctx.default_map = {**(ctx.default_map or {}), **values}


config_option: Decorator = click.option(
    "--config",
    callback=_read_config,
    is_eager=True,
    expose_value=False,
    metavar="FILE.toml",
    help="Read values of options from a TOML file, such as max_epochs = 50.",
)
device_option: Decorator = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1."
)
seed_option: Decorator = click.option(
    "--random-state", type=int, default=0, show_default=True, help="Seed of everything random."
)


def output_option(default: str, text: str) -> Decorator:
    """Return the option ``--output`` with a default."""
    return click.option("--output", "-o", default=default, show_default=True, help=text)
