"""Options that several commands share, and files with values of options."""

import tomllib
from difflib import get_close_matches
from typing import Any

import click

from ._inputs import CONFIG
from ._types import Decorator, SectionOption, add_options

__all__ = [
    "config_option",
    "device_option",
    "output_option",
    "reading_options",
    "seed_option",
    "source_argument",
    "source_options",
    "take_reading",
]

# Characters.
LARGEST_CONFIG = 2**20

source_argument: Decorator = click.argument("source")


def _reading(flag: str, **attributes: Any) -> Decorator:
    return click.option(flag, cls=SectionOption, section="Reading", **attributes)


def reading_options(n_jobs: str) -> Decorator:
    """Return the options that say how a source is read; ``n_jobs`` is the help of that one."""
    return add_options(
        [
            _reading("--structure-column", help="Column of a table with the structures."),
            _reading("--id-column", help="Column of a table with the ids of the crystals."),
            _reading("--n-jobs", type=int, help=n_jobs),
        ]
    )


source_options = reading_options("Processes that read files; -1 for all cores.")


def take_reading(options: dict[str, Any]) -> dict[str, Any]:
    """Take the values of ``source_options`` out of ``options``, for :func:`read_source`."""
    return {name: options.pop(name) for name in ("structure_column", "id_column", "n_jobs")}


def _read_config(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
    """Use the values of a TOML file where the command line has none."""
    if path is None:
        return
    ctx.meta[CONFIG] = path
    try:
        with open(path, encoding="utf-8") as file:  # a device would have no end
            text = file.read(LARGEST_CONFIG + 1)
        if len(text) > LARGEST_CONFIG:
            raise click.UsageError(f"--config {path} has over {LARGEST_CONFIG} characters.")
        values = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"--config {path} cannot be read as TOML: {error}") from error
    parameters = {str(p.name): p for p in ctx.command.params if p.name != "config"}
    for name, value in values.items():
        if name not in parameters:
            raise click.UsageError(f"--config {path}: {_unknown(name, value, ctx, parameters)}")
        is_list = isinstance(value, list)
        scalars = bool | int | float | str
        if not all(isinstance(item, scalars) for item in (value if is_list else [value])):
            raise click.UsageError(f"--config {path}: {name} = {value!r} is not a number or text.")
        # An option that can be repeated needs no list for one value.
        multiple, several = _takes_list(parameters[name])
        if is_list and not several:
            raise click.UsageError(f"--config {path}: {name} takes one value, not a list.")
        if several and not multiple and not is_list:
            n = parameters[name].nargs
            raise click.UsageError(f"--config {path}: {name} takes a list of {n} values.")
        is_one_of_many = multiple and not is_list
        values[name] = _as_typed(parameters[name], [value] if is_one_of_many else value)
    # click takes defaults from here, and the command line wins over them.
    ctx.default_map = {**(ctx.default_map or {}), **values}


def _as_typed(parameter: click.Parameter, value: Any) -> Any:
    """Return a value as the command line has it: click makes 2 of the number 2.5, not of a text."""
    if isinstance(value, list):
        return [_as_typed(parameter, item) for item in value]
    is_flag = getattr(parameter, "is_flag", False)
    return value if is_flag and isinstance(value, bool) else str(value)


def _takes_list(parameter: click.Parameter) -> tuple[bool, bool]:
    """Return whether an option can be repeated, and whether it takes a list at all."""
    multiple = bool(getattr(parameter, "multiple", False))
    return multiple, multiple or parameter.nargs != 1


def _unknown(name: str, value: Any, ctx: click.Context, parameters: dict[str, Any]) -> str:
    """Describe a name that is not an option, with the nearest one."""
    if isinstance(value, dict):
        return f"[{name}] is a section; expected lines such as n_jobs = 4 without one."
    near = get_close_matches(name, parameters, n=1)
    hint = f"did you mean {near[0]}?" if near else f"{ctx.command_path} --help lists them."
    return f"{name} is not an option of {ctx.command_path}; {hint}"


config_option: Decorator = click.option(
    "--config",
    callback=_read_config,
    is_eager=True,
    expose_value=False,
    metavar="FILE.toml",
    help="Read values of options from a TOML file, such as n_jobs = 4.",
)
device_option: Decorator = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1."
)
seed_option: Decorator = click.option(
    "--random-state",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of everything random.",
)


def output_option(default: str, text: str) -> Decorator:
    """Return the option ``--output`` with a default."""
    return click.option("--output", "-o", default=default, show_default=True, help=text)
