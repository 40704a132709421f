"""Downloads of the tables of MatBench: once, checked, and into the folder of the user."""

import gzip
import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from gnnpre.datasets import _matbench_files, fetch_matbench

FILE = "matbench_jdft2d.json.gz"
SALT = Structure(Lattice.cubic(4.1), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
#: What a file on the server holds.
TABLE = {
    "index": ["mb-jdft2d-001"],
    "columns": ["structure", "exfoliation_en"],
    "data": [[SALT.as_dict(), 0.5]],
}


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


class Server:
    """A folder served over HTTP, and how often its file was asked for."""

    def __init__(self, folder, requests):
        self.folder = folder
        self.requests = requests


@pytest.fixture
def server(tmp_path, monkeypatch):
    folder, requests = tmp_path / "remote", []
    folder.mkdir()

    class Handler(_QuietHandler):
        def do_GET(self):
            requests.append(self.path)
            super().do_GET()

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_matbench_files, "BASE_URL", f"http://127.0.0.1:{http.server_port}/")
    yield Server(folder, requests)
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def published(server, monkeypatch):
    """A small file on the server, as if MatBench had published it."""
    content = gzip.compress(json.dumps(TABLE).encode())
    (server.folder / FILE).write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    monkeypatch.setitem(_matbench_files.STRUCTURE_FILES, "matbench_jdft2d", checksum)
    return server


@pytest.mark.parametrize("name", ["jdft2d", "matbench_jdft2d"])
def test_fetch_downloads_once(published, tmp_path, name):
    for _ in range(2):
        structures, y = fetch_matbench(name, data_home=tmp_path / "cache")
        np.testing.assert_array_equal(structures.atomic_numbers, [11, 17])
        np.testing.assert_allclose(structures.positions, SALT.cart_coords, atol=1e-12)
        assert y.name == "exfoliation_en"
    assert published.requests == [f"/{FILE}"]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [FILE]


def test_fetch_into_the_folder_of_the_environment(published, tmp_path, monkeypatch):
    monkeypatch.setenv("GNNPRE_HOME", str(tmp_path / "home"))
    fetch_matbench("jdft2d")
    assert (tmp_path / "home" / FILE).exists()
    fetch_matbench("jdft2d", data_home=str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / FILE).exists()


def test_a_corrupted_download_is_refused_and_removed(published, tmp_path):
    content = bytearray((published.folder / FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (published.folder / FILE).write_bytes(content)
    with pytest.raises(ValueError, match="SHA-256 is not the one that MatBench publishes"):
        fetch_matbench("jdft2d", data_home=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_corrupted_cache_is_downloaded_anew(published, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE).write_bytes(b"half a file")
    assert len(fetch_matbench("jdft2d", data_home=tmp_path / "cache")[0]) == 1


def test_a_corrupted_cache_and_download_leave_nothing(published, tmp_path):
    (published.folder / FILE).write_bytes(b"other")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE).write_bytes(b"half a file")
    with pytest.raises(ValueError, match="Nothing was stored"):
        fetch_matbench("jdft2d", data_home=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_file_that_the_server_has_not(server, tmp_path):
    with pytest.raises(
        OSError, match=r"could not be fetched .*download it elsewhere and put it at"
    ):
        fetch_matbench("jdft2d", data_home=tmp_path / "cache")


def test_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_matbench_files, "BASE_URL", "http://127.0.0.1:1/")
    with pytest.raises(OSError, match="Check the connection"):
        fetch_matbench("jdft2d", data_home=tmp_path)


def test_unknown_tables(tmp_path):
    with pytest.raises(ValueError, match=r"no MatBench table 'jdft3d'; known are .*jdft2d"):
        fetch_matbench("jdft3d", data_home=tmp_path)
    for name in ("steels", "matbench_expt_gap", "glass", "expt_is_metal"):
        with pytest.raises(ValueError, match=f"{name} lists compositions"):
            fetch_matbench(name, data_home=tmp_path)


def test_the_thirteen_tables_have_checksums():
    names = {*_matbench_files.STRUCTURE_FILES, *_matbench_files.COMPOSITION_FILES}
    assert len(names) == 13
    assert all(len(int(h, 16).to_bytes(32)) == 32 for h in _matbench_files.STRUCTURE_FILES.values())
