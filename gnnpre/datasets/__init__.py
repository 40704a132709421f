"""Data sets: readers and writers of files, and alloys with a potential's labels."""

from ._alexandria import read_alexandria
from ._aselmdb import read_aselmdb
from ._composition import chemical_system as chemical_system
from ._composition import formula_column as formula_column
from ._composition import reduced_formula as reduced_formula
from ._composition import structure_from_arrays as structure_from_arrays
from ._emt import make_emt_frames, make_emt_property
from ._extxyz_writer import to_extxyz
from ._file_formats import detect_format as detect_format
from ._filter_frames import filter_frames
from ._frames import read_frames
from ._matbench import fetch_matbench, read_matbench
from ._matbench_download import matbench_file as matbench_file
from ._matpes import read_matpes, read_mptrj
from ._parquet import read_parquet
from ._parquet_writer import to_parquet
from ._prediction_table import prediction_columns as prediction_columns
from ._read_structures import read_structures
from ._store import CrystalStore, open_crystals, write_crystals
from ._stress_sign import warn_of_stress_sign as warn_of_stress_sign
from ._structure_files import is_structure_file as is_structure_file
from ._structure_table import files_of_table as files_of_table

__all__ = [
    "CrystalStore",
    "fetch_matbench",
    "filter_frames",
    "make_emt_frames",
    "make_emt_property",
    "open_crystals",
    "read_alexandria",
    "read_aselmdb",
    "read_frames",
    "read_matbench",
    "read_matpes",
    "read_mptrj",
    "read_parquet",
    "read_structures",
    "to_extxyz",
    "to_parquet",
    "write_crystals",
]
