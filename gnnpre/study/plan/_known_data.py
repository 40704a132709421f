"""The data that studies know by name, and where they lie."""

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "FRAMES",
    "FRAME_FILES",
    "KNOWN_DATA",
    "KnownData",
    "find_file",
    "find_home",
    "hash_file",
    "is_frames",
    "is_path",
    "source_files",
]

MATBENCH_HINT = (
    "It is a table in MatBench's format with the column 'structure' and the target: "
    "gnnpre.datasets.fetch_matbench({name!r}) downloads MatBench's own."
)
TABLE_HINT = (
    "It is a table in MatBench's format (DataFrame.to_json(orient='split'), gzip) with the column "
    "'structure' and the target {target!r}. Or give the data set a path of your own."
)
FRAMES_HINT = (
    "It is one of the benchmark files in MatterSim's repository (data/benchmarks): copy them there."
)


class KnownData(NamedTuple):
    """A property of a file of crystals."""

    file: str
    target: str | None
    unit: str


KNOWN_DATA = {
    "jdft2d": KnownData("jdft2d", None, "meV/atom"),
    "phonons": KnownData("phonons", None, "1/cm"),
    "elastic_k": KnownData("mp_elastic_5k", "log10_K_VRH_GPa", "log10 GPa"),
    "elastic_g": KnownData("mp_elastic_5k", "log10_G_VRH_GPa", "log10 GPa"),
    "perovskites": KnownData("perovskites", "e_form_eV", "eV/cell"),
    "mp_form": KnownData("mp_form_gap_37k", "formation_energy_eV_per_atom", "eV/atom"),
    "mp_gap": KnownData("mp_form_gap_37k", "band_gap_eV", "eV"),
    "refractive_index": KnownData("refractive_index", "refractive_index", ""),
    "adsorption": KnownData("adsorption", "adsorption_energy_eV", "eV"),
}
FRAMES = "frames"
FRAME_FILES = (
    "mptrj-random-1k",
    "mptrj-highest-stress-1k",
    "alexandria-random-1k",
    "mpf-TP",
    "mpf-alkali-TP",
)
TABLES = tuple(dict.fromkeys(known.file for known in KNOWN_DATA.values()))
FRAME_SUFFIXES = (".extxyz", ".extxyz.gz", ".xyz", ".xyz.gz")
TABLE_SUFFIXES = (".json", ".json.gz")


def find_home(data_home: str | Path | None) -> Path | None:
    """Give the folder of the data: the argument, or what ``GNNPRE_DATA`` says."""
    found = data_home or os.environ.get("GNNPRE_DATA")
    return Path(found).expanduser() if found else None


def is_path(source: str) -> bool:
    """Whether a source is a file's path, not a name."""
    return "/" in source or os.sep in source or source.endswith((*FRAME_SUFFIXES, *TABLE_SUFFIXES))


def is_frames(path: Path) -> bool:
    """Whether a file holds frames, by its name."""
    return path.name.endswith(FRAME_SUFFIXES)


def find_file(name: str, home: Path | None) -> Path:
    """Give the file of crystals of a known name, which has to be there."""
    hint = TABLE_HINT.format(target=next(k.target for k in KNOWN_DATA.values() if k.file == name))
    if name in ("jdft2d", "phonons"):
        hint = MATBENCH_HINT.format(name=name)
    return _existing(f"downstream/{name}.json.gz", home, hint)


def source_files(source: str, home: Path | None) -> list[Path]:
    """Give the files of a source of crystals, which have to be there."""
    if source == FRAMES:
        return [_existing(f"upstream/{n}.extxyz.gz", home, FRAMES_HINT) for n in FRAME_FILES]
    if is_path(source):
        path = Path(source)
        if not path.name.endswith((*FRAME_SUFFIXES, *TABLE_SUFFIXES)):
            endings = ", ".join((*FRAME_SUFFIXES, *TABLE_SUFFIXES))
            raise ValueError(f"sources has {source!r}; expected a file that ends in {endings}.")
        if not path.is_file():
            raise FileNotFoundError(f"sources has {source!r}, but there is no such file.")
        return [path]
    name = KNOWN_DATA[source].file if source in KNOWN_DATA else source
    if name not in TABLES:
        known = ", ".join((FRAMES, *dict.fromkeys((*TABLES, *KNOWN_DATA))))
        raise ValueError(f"sources has {source!r}; expected one of {known}, or a path.")
    return [find_file(name, home)]


def _existing(relative: str, home: Path | None, hint: str) -> Path:
    if home is None:
        raise FileNotFoundError(
            f"{relative} was not looked for: data_home is None and GNNPRE_DATA is not set. Set one "
            f"to the folder that has it. {hint}"
        )
    path = home / relative
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}, in the data folder {home}. {hint}")
    return path


def hash_file(path: str | Path) -> str:
    """Hash what a file holds."""
    stat = Path(path).stat()
    return _hash_file(str(path), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_file(path: str, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
