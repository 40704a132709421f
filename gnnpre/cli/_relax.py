"""``gnnpre relax``: crystals at the minimum of a pre-trained force field."""

from typing import Any

import click

from ._options import (
    config_option,
    device_option,
    output_option,
    source_argument,
    source_options,
    take_reading,
)
from ._reading import read_source

__all__ = ["command"]


@click.command("relax")
@click.argument("model")
@source_argument
@click.option("--fmax", type=float, default=0.02, show_default=True, help="Largest force, eV/Å.")
@click.option(
    "--smax", type=float, default=0.001, show_default=True, help="Largest stress, eV/Å^3."
)
@click.option("--max-steps", type=int, default=500, show_default=True, help="Steps, at most.")
@click.option(
    "--relax-cell/--no-relax-cell",
    default=True,
    show_default=True,
    help="Cells, too, or positions alone.",
)
@click.option(
    "--max-atoms", type=int, default=2000, show_default=True, help="Atoms in a batch, at most."
)
@click.option(
    "--skin",
    type=float,
    default=0.5,
    show_default=True,
    help="Additional reach of neighbour lists, Å.",
)
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
@device_option
@source_options
@output_option("relaxed.extxyz", "An .extxyz or .parquet file, or a folder for CIF files.")
@config_option
def command(model: str, source: str, output: str, **options: Any) -> int:
    """Relax the crystals of SOURCE with the force field in the file MODEL.

    An .extxyz or .parquet file has the energy (eV per cell) of each relaxed crystal, its
    largest_force (eV/Å) and whether it converged; CIF files have no such columns.
    """
    from gnnpre.calculators import relax_structures

    from ._convert import check_crystal_output, refuse_crystal_inputs, write_crystals

    # Before the relaxations, which may take hours.
    check_crystal_output(output)
    crystals = read_source(source, **take_reading(options))
    refuse_crystal_inputs(output, crystals.ids)
    # Options that are left are parameters of relax_structures, by their names.
    relaxed = relax_structures(crystals.crystals, model, **options)
    written, labels = _with_convergence(relaxed)
    write_crystals(written, output, names=crystals.ids, labels=labels)
    click.echo(f"{int(relaxed.converged.sum())} of {len(relaxed.converged)} converged.", err=True)
    return 1 if crystals.n_skipped else 0


def _with_convergence(relaxed: Any) -> tuple[Any, Any]:
    """Return the relaxed crystals, and labels with their convergence in place of an earlier one."""
    from gnnpre.graphs import Crystals, FrameLabels

    columns = {"converged": relaxed.converged, "largest_force": relaxed.largest_force}
    info = {name: column for name, column in relaxed.crystals.info.items() if name not in columns}
    labels = FrameLabels(relaxed.crystals.n_atoms, energy=relaxed.energy, info=columns)
    names = ("atomic_numbers", "positions", "cell", "n_atoms", "pbc", "ids", "index")
    arrays = {name: getattr(relaxed.crystals, name) for name in names}
    return Crystals(**arrays, info=info), labels
