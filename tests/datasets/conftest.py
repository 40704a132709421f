"""Files of frames that several tests here read."""

import pytest

from cases import extxyz
from gnnpre.datasets import read_frames


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
