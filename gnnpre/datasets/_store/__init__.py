"""Crystals on disk that need not fit into memory: a folder of Parquet files with a manifest."""

from ._crystal_store import CrystalStore
from ._open import open_crystals
from ._write import write_crystals

__all__ = ["CrystalStore", "open_crystals", "write_crystals"]
