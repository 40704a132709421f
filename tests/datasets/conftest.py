"""Files of structures and frames that several tests here read."""

import gzip

import pytest

from cases import extxyz
from gnnpre.datasets import make_emt_property, read_frames, write_crystals
from gnnpre.datasets._store import _write
from store_cases import batches_of, make_frames


@pytest.fixture
def write_frames(tmp_path):
    def write_text(text, name="frames.extxyz"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_text


@pytest.fixture
def frames_of(write_frames):
    """Labels of frames with these comment lines."""
    return lambda *comments, **keys: read_frames(write_frames(extxyz(*comments)), **keys)[1]


@pytest.fixture
def folder(tmp_path):
    """Four structures in a folder and its subfolder, in four formats."""
    structures, _ = make_emt_property(4, random_state=0)
    root = tmp_path / "set"
    (root / "mp-3").mkdir(parents=True)
    structures[0].to(str(root / "mp-0.cif"))
    (root / "mp-1.vasp").write_text(structures[1].to(fmt="poscar"))
    (root / "mp-2.json.gz").write_bytes(gzip.compress(structures[2].to_json().encode()))
    (root / "mp-3" / "CONTCAR").write_text(structures[3].to(fmt="poscar"))
    return root


@pytest.fixture(scope="module")
def frames():
    """Crystals with ids and a column, and labels of a force field."""
    return make_frames()


@pytest.fixture
def store(tmp_path, frames, monkeypatch):
    """The frames on disk, in shards of ten crystals and blocks of four."""
    monkeypatch.setattr(_write, "BLOCK_ROWS", 4)
    return write_crystals(tmp_path / "store", batches_of(*frames), shard_rows=10)
