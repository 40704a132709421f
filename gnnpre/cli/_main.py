"""The command group: commands are imported when they are called, and errors become one line.

``gnnpre --help`` imports click alone; torch, scikit-learn and pymatgen take seconds.
"""

import errno
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from gnnpre._version import __version__

from ._warnings import show_warning

__all__ = ["main"]

# Exit codes, as `gnnpre --help` lists them.
SKIPPED, USER_ERROR, INTERRUPTED = 1, 2, 130

EPILOG = """\b
Exit codes: 0 everything was done; 1 it was done, but some inputs were skipped (they are
listed), or jobs of a study failed; 2 the command cannot be run as given, and nothing was
written; 130 interrupted.
Progress and warnings go to stderr, results to files or stdout.
\b
Shell completion, for bash: eval "$(_GNNPRE_COMPLETE=bash_source gnnpre)"
"""

SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
# Module and summary of each command.
COMMANDS = {
    "audit": ("_audit", "Find evaluation crystals that a pre-training set contains."),
    "convert": ("_convert", "Convert structures to extended XYZ, Parquet or CIF."),
    "embed": ("_embed", "Write the embeddings of crystals as a table."),
    "info": ("_info", "Describe a model file."),
    "predict": ("_predict", "Predict properties, or energies and forces, of crystals."),
    "pretrain": ("_pretrain", "Pre-train a network on structures or frames."),
    "relax": ("_relax", "Relax crystals with a pre-trained force field."),
    "study": ("_study", "Run a study of data sets x networks x strategies, or report it."),
    "train": ("_train", "Train a model of a property, with cross-validated errors."),
}


class LazyGroup(click.Group):
    """Group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f".{COMMANDS[cmd_name][0]}", __package__).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in sorted(COMMANDS.items())])


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings=SETTINGS)
@click.version_option(__version__, prog_name="gnnpre")
def group() -> None:
    """Train and use graph neural networks on crystals.

    SOURCE is, in all commands, a folder, a pattern in quotes ("cifs/*.cif"), a file or an archive
    of CIF, POSCAR, extended XYZ, pymatgen's JSON or ASE databases; a CSV file with a column of
    file names or CIF text; a Parquet file with LeMat's columns; or a MatBench file (.json.gz).
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command and options; those of the process by default.

    Returns
    -------
    int
        0 if everything was done, 1 if some inputs were skipped, 2 if the command cannot be run as
        given, 130 if it was interrupted.

    Examples
    --------
    >>> from gnnpre.cli import main
    >>> main(["--version"])
    gnnpre, version ...
    0
    """
    try:
        result: Any = group.main(arguments, prog_name="gnnpre", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        # The help is the answer to a command without arguments; it has several lines.
        click.echo(error.format_message(), err=True)
        return USER_ERROR
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = "" if context is None else f" See {context.command_path} --help."
        click.echo(f"Error: {' '.join(error.format_message().split())}{hint}", err=True)
        return USER_ERROR
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except (ValueError, TypeError, OSError, ImportError) as error:
        # What gnnpre raises for bad input says what is wrong and how to fix it.
        click.echo(f"Error: {' '.join(_text(error).split())}", err=True)
        return USER_ERROR
    except MemoryError:
        click.echo("Error: this takes more memory than there is: pass fewer crystals.", err=True)
        return USER_ERROR
    return result if isinstance(result, int) else 0


def _text(error: Exception) -> str:
    """Return the message of an error; of an operating system's without its number."""
    if isinstance(error, UnicodeEncodeError):
        shown = error.object[error.start : error.start + 20]
        return (
            f"the encoding of the output, {error.encoding}, has no {shown!a}: set the environment "
            "variable PYTHONUTF8=1, or write to a file with --output."
        )
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    hint = ": free some, or name another --output." if error.errno == errno.ENOSPC else "."
    return f"{where}{error.strerror}{hint}"


def run() -> None:
    """Run the command of this process; the entry point of the package."""
    warnings.showwarning = show_warning
    sys.exit(main())
