"""Crystals to learn from: made from a potential, read from files, fetched from MatBench."""

from ._composition import chemical_system as chemical_system
from ._composition import reduced_formula as reduced_formula
from ._composition import structure_from_arrays as structure_from_arrays
from ._emt import make_emt_frames, make_emt_property
from ._filter_frames import filter_frames
from ._frames import read_frames
from ._matbench import fetch_matbench, read_matbench
from ._parquet import read_parquet
from ._parquet_writer import to_parquet
from ._read_structures import read_structures

__all__ = [
    "fetch_matbench",
    "filter_frames",
    "make_emt_frames",
    "make_emt_property",
    "read_frames",
    "read_matbench",
    "read_parquet",
    "read_structures",
    "to_parquet",
]
