"""``gnnpre convert``: structures from one format to another."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ._inputs import refuse_inputs
from ._options import config_option, output_option, source_argument, source_options
from ._reading import read_source
from ._writing import check_folder, check_writable, prepare_folder

__all__ = ["check_crystal_output", "command", "refuse_crystal_inputs", "write_crystals"]

FRAMES = (".extxyz", ".xyz")
SUFFIXES = r"\.(cif|vasp|poscar|json)$"


@click.command("convert")
@source_argument
@source_options
@output_option("crystals.extxyz", "An .extxyz or .parquet file, or a folder for CIF files.")
@config_option
def command(source: str, output: str, **reading: Any) -> int:
    """Write the structures of SOURCE in another format. Labels of frames are not kept."""
    check_crystal_output(output)
    crystals = read_source(source, **reading)
    refuse_crystal_inputs(output, crystals.ids)
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
        refuse_inputs(output)


def refuse_crystal_inputs(output: str, names: Any) -> None:
    """Raise if a CIF file of a folder is one that the command reads; ``names`` are of crystals."""
    if not Path(output).suffix:
        refuse_inputs(output, _cif_files(Path(output), names))


def write_crystals(crystals: Any, output: str, *, names: Any, labels: Any = None) -> None:
    """Write crystals to an extended XYZ or Parquet file, or a folder of CIF files.

    Parameters
    ----------
    crystals : Crystals of shape (n,)
        The crystals.
    output : str
        File or folder.
    names : ndarray of shape (n,)
        Their ids, for the names of CIF files.
    labels : FrameLabels, optional
        Labels and columns, which CIF files cannot hold.
    """
    from gnnpre.datasets import to_extxyz, to_parquet

    suffix = Path(output).suffix
    if suffix in FRAMES:
        to_extxyz(output, crystals, labels)
    elif suffix == ".parquet":
        to_parquet(output, crystals, labels)
    else:
        folder = prepare_folder(output)
        for structure, file in zip(crystals, _cif_files(folder, names), strict=True):
            structure.to(str(file))
    click.echo(f"Wrote {len(crystals)} crystals to {output}.", err=True)


def _cif_files(folder: Path, names: Any) -> list[Path]:
    return [folder / f"{name}.cif" for name in _file_names(names)]


def _file_names(ids: Iterable[Any]) -> list[str]:
    """Return a name for the file of each id, all different: its last part where that is enough."""
    whole = [re.sub(SUFFIXES, "", str(each), flags=re.IGNORECASE) for each in ids]
    short = [_plain(Path(each).name) for each in whole]
    # In lower case: some file systems do not tell a.cif from A.cif.
    counts = Counter(map(str.lower, short))
    names, taken = [], set()
    for each, last in zip(whole, short, strict=True):
        # a/x.cif and b/x.cif become a_x and b_x; what is still the same gets a number.
        stem = name = last if counts[last.lower()] == 1 else _plain(each.strip("/"))
        number = 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name.lower())
        names.append(name)
    return names


def _plain(name: str) -> str:
    """Replace characters that file systems refuse."""
    return re.sub(r"[^\w.+-]", "_", name)
