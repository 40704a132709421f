"""``gnnpre convert``: structures from one format to another."""

import re
from pathlib import Path
from typing import Any

import click

from ._options import config_option, output_option, source_argument, source_options
from ._reading import read_source
from ._writing import check_folder, check_writable, prepare_folder

__all__ = ["check_crystal_output", "command", "write_crystals"]

FRAMES = (".extxyz", ".xyz")


@click.command("convert")
@source_argument
@source_options
@output_option("crystals.extxyz", "An .extxyz or .parquet file, or a folder for CIF files.")
@config_option
def command(source: str, output: str, **reading: Any) -> int:
    """Write the structures of SOURCE in another format. Labels of frames are not kept."""
    check_crystal_output(output)
    crystals = read_source(source, **reading)
    write_crystals(crystals.crystals, output, names=crystals.ids)
    return 1 if crystals.n_skipped else 0


def check_crystal_output(output: str) -> None:
    """Raise before any work is done if :func:`write_crystals` could not write there."""
    suffix = Path(output).suffix
    # A name with another suffix is a mistake rather than a folder.
    if suffix not in ("", *FRAMES, ".parquet"):
        raise click.UsageError(
            f"--output {output}: expected a name that ends in .extxyz or .parquet, or a folder."
        )
    if suffix:
        check_writable(output)
    else:
        check_folder(output)


def write_crystals(crystals: Any, output: str, *, names: Any, energy: Any = None) -> None:
    """Write crystals to an extended XYZ or Parquet file, or a folder of CIF files."""
    from gnnpre.datasets import to_extxyz, to_parquet
    from gnnpre.graphs import FrameLabels

    labels = None if energy is None else FrameLabels(crystals.n_atoms, energy=energy)
    suffix = Path(output).suffix
    if suffix in FRAMES:
        to_extxyz(output, crystals, labels)
    elif suffix == ".parquet":
        to_parquet(output, crystals, labels)
    else:
        folder = prepare_folder(output)
        for structure, name in zip(crystals, names, strict=True):
            structure.to(str(folder / f"{_file_name(name)}.cif"))
    click.echo(f"Wrote {len(crystals)} crystals to {output}.", err=True)


def _file_name(name: Any) -> str:
    """Return a name without the folder, the suffix, and characters that file systems refuse."""
    stem = re.sub(r"\.(cif|vasp|poscar|json)$", "", Path(str(name)).name, flags=re.IGNORECASE)
    return re.sub(r"[^\w.+-]", "_", stem)
