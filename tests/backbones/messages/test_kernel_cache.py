"""Kernels in C: compiled once, kept where nobody else can change them, rebuilt when damaged."""

import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from backbones.messages.kernels import (
    CONSTANTS,
    PACKAGE,
    empty_home,
    files_of,
    forget,
    load,
    plant,
)
from gnnpre import _kernel_cache
from gnnpre._compiler import CompilerError
from gnnpre._kernel_cache import load_kernel

LOAD = (
    "from gnnpre._kernel_cache import load_kernel\n"
    f"load_kernel('filtered', {CONSTANTS!r}, {PACKAGE!r}).value_of_ranges"
)


NOBODY = 65534


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    yield from empty_home(tmp_path, monkeypatch)


@pytest.fixture
def give_away(monkeypatch):
    """Return a function that makes another user the owner of a file or folder."""

    def give(path):
        user = os.geteuid()
        if user == 0:
            os.chown(path, NOBODY, -1)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: user + 1)

    return give


def test_compiled_once_for_all_processes(home, monkeypatch):
    load()
    (path,) = files_of(home)
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(_kernel_cache, "_compile", None)
    load()
    assert path.stat().st_mtime_ns == written


def test_folder_and_files_are_private(home):
    home.parent.mkdir()
    previous = os.umask(0)
    try:
        load()
    finally:
        os.umask(previous)
    (path,) = files_of(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert hashlib.sha256(path.read_bytes()).hexdigest() in path.name


def test_another_size_and_another_processor_are_other_files(home, monkeypatch):
    load()
    load_kernel("filtered", (("REAL_BITS", 32), ("CHANNELS", 4)), PACKAGE)
    forget()
    with monkeypatch.context() as patch:
        patch.setattr(_kernel_cache, "describe_compiler", lambda: ("another",))
        load_kernel("filtered", CONSTANTS, PACKAGE)
    names = [path.name.rsplit("-", 1)[0] for path in files_of(home)]
    assert len(set(names)) == 3


@pytest.mark.parametrize("file", ["edge_math.h", "edge_map.h", "edge_ranges.h", "filtered.c"])
def test_a_change_of_the_source_is_another_file(home, monkeypatch, file):
    load()
    texts = _kernel_cache.read_sources(PACKAGE)
    monkeypatch.setattr(
        _kernel_cache, "read_sources", lambda _: {**texts, file: texts[file] + "\n"}
    )
    load()
    assert len({path.name.rsplit("-", 1)[0] for path in files_of(home)}) == 2


def test_many_processes_at_once(home):
    running = [subprocess.Popen([sys.executable, "-c", LOAD]) for _ in range(3)]
    assert [process.wait() for process in running] == [0] * 3
    assert len(files_of(home)) == 1


@pytest.mark.parametrize("damage", ["empty", "short", "half", "flip", "text", "zeros"])
def test_a_damaged_file_is_compiled_again(home, damage):
    load()
    (path,) = files_of(home)
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "short": content[:1000],
        "half": content[: len(content) // 2],
        "flip": content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        "text": b"int main() {}",
        "zeros": bytes(len(content)),
    }
    path.unlink()  # a library that this process has loaded must not change under it
    path.write_bytes(damaged[damage])
    path.chmod(0o700)
    if damage == "half":  # a bus error of the process that loads it
        subprocess.run([sys.executable, "-c", LOAD], check=True)
    else:
        assert load().value_of_ranges
    (path,) = files_of(home)
    assert path.read_bytes() == content


def test_a_library_of_another_user_is_not_loaded(home, give_away):
    give_away(plant(home))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_kernel_cache, "warn_user", lambda message: None)
        assert load().value_of_ranges


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_library_that_others_may_write_is_not_loaded(home, mode):
    planted = plant(home)
    planted.chmod(mode)
    assert load().value_of_ranges
    assert not planted.exists()


def test_a_link_to_a_library_is_not_loaded(home):
    planted = plant(home)
    target = planted.rename(home.parent / "elsewhere.so")
    planted.symlink_to(target)
    assert load().value_of_ranges
    assert target.exists()


def test_a_folder_of_another_user_is_not_used(home, give_away):
    plant(home)
    give_away(home)
    with pytest.warns(UserWarning, match="of compiled kernels is not used: it belongs to the user"):
        assert load().value_of_ranges
    assert len(files_of(home)) == 1


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770])
def test_a_folder_that_others_may_write_is_not_used(home, mode):
    plant(home)
    home.chmod(mode)
    with pytest.warns(UserWarning, match=f"its mode {mode:o} lets others write to it"):
        assert load().value_of_ranges
    assert len(files_of(home)) == 1


def test_a_folder_that_others_may_replace_is_not_used(home):
    plant(home)
    home.parent.chmod(0o777)
    with pytest.warns(UserWarning, match=r"above it has mode 777: anybody may write"):
        assert load().value_of_ranges
    home.parent.chmod(0o1777)  # as /tmp: the folder cannot be renamed
    assert _kernel_cache._unsafe(home) == ""


@pytest.mark.parametrize("name", ["file", "file/below", "/dev/null", "~nobodyknows/x"])
def test_a_home_that_cannot_be_written(tmp_path, monkeypatch, name):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GNNPRE_HOME", name if name[0] in "/~" else str(tmp_path / name))
    monkeypatch.chdir(tmp_path)
    assert load().value_of_ranges
    assert not (tmp_path / "~nobodyknows").exists()


def test_a_relative_home_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNPRE_HOME", "relative")
    monkeypatch.chdir(tmp_path)
    load()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    load_kernel("filtered", (("REAL_BITS", 32), ("CHANNELS", 4)), PACKAGE)
    assert len(files_of(tmp_path / "relative" / "kernels")) == 2
    assert not (tmp_path / "elsewhere" / "relative").exists()


def test_a_home_in_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GNNPRE_HOME", "~/cache")
    load()
    assert len(files_of(tmp_path / "cache" / "kernels")) == 1


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_with_the_name_of_the_library(home, empty):
    load()
    (path,) = files_of(home)
    path.unlink()
    path.mkdir()
    if not empty:
        (path / "file").write_text("of somebody")
    assert load().value_of_ranges
    assert path.is_file() == empty


def test_a_disk_on_which_nothing_may_be_executed(home, monkeypatch):
    cdll = _kernel_cache.ctypes.CDLL

    def open_library(path):
        if str(home) in path:
            raise OSError("failed to map segment from shared object: Operation not permitted")
        return cdll(path)

    monkeypatch.setattr(_kernel_cache.ctypes, "CDLL", open_library)
    assert load().value_of_ranges


def test_a_full_disk(home, monkeypatch):
    def fails(*args):
        raise OSError(28, "No space left on device")

    home.mkdir(parents=True)
    monkeypatch.setattr(_kernel_cache.os, "fsync", fails)
    with pytest.raises(CompilerError, match=r"filtered\.c .*No space left on device"):
        load()
    assert files_of(home) == []


def test_folders_of_killed_processes_are_removed(home):
    load()
    old, new, private = home / ".build-old", home / ".build-new", Path(tempfile.gettempdir())
    private /= "gnnpre-kernel-old"
    for folder in (old, new, private):
        folder.mkdir()
        (folder / "library.so").write_text("half of one")
    long_ago = time.time() - 2 * _kernel_cache.STALE_SECONDS
    for folder in (old, private):
        os.utime(folder, (long_ago, long_ago))
    load_kernel("filtered", (("REAL_BITS", 32), ("CHANNELS", 4)), PACKAGE)
    assert new.exists()
    assert not old.exists()
    home.chmod(0o777)
    with pytest.warns(UserWarning, match="is not used"):
        load()
    assert not private.exists()


def test_a_kill_during_the_compilation_leaves_nothing_that_is_loaded(home, tmp_path):
    slow = tmp_path / "slow-cc"
    slow.write_text('#!/bin/sh\ncase "$*" in *-shared*) sleep 60;; esac\nexec cc "$@"\n')
    slow.chmod(0o700)
    process = subprocess.Popen(
        [sys.executable, "-c", LOAD], env={**os.environ, "CC": str(slow)}, start_new_session=True
    )
    while not (home.exists() and files_of(home)):
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert load().value_of_ranges
    assert len([path for path in files_of(home) if path.suffix == ".so"]) == 1
