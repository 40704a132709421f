"""Kernels in C: compiled once, kept, and what is said where they cannot be."""

import subprocess
import sys

import pytest

from gnnpre.backbones import _native
from gnnpre.backbones._native import CompilerError, load_kernel

CONSTANTS = (("REAL_BITS", 32), ("CHANNELS", 3))
LOAD = (
    "from gnnpre.backbones._native import load_kernel\n"
    f"load_kernel('filtered', {CONSTANTS!r}).value_of_parts"
)
CACHES = ("load_kernel", "_compiler", "_folder", "_processor", "_native_flags")


def forget():
    for name in CACHES:
        getattr(_native, name).cache_clear()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GNNPRE_HOME", str(tmp_path / "home"))
    forget()
    yield tmp_path / "home" / "kernels"
    forget()


def test_compiled_once_for_all_processes(home, monkeypatch):
    load_kernel("filtered", CONSTANTS)
    (path,) = home.iterdir()
    written = path.stat().st_mtime_ns
    forget()
    monkeypatch.setattr(_native, "_compile", None)
    load_kernel("filtered", CONSTANTS)
    assert path.stat().st_mtime_ns == written


def test_another_size_and_another_processor_are_other_files(home, monkeypatch):
    load_kernel("filtered", CONSTANTS)
    load_kernel("filtered", (("REAL_BITS", 32), ("CHANNELS", 4)))
    forget()
    with monkeypatch.context() as patch:
        patch.setattr(_native, "_processor", lambda: "another")
        load_kernel("filtered", CONSTANTS)
    assert len(list(home.iterdir())) == 3


@pytest.mark.parametrize("file", ["edge_math.h", "edge_map.h", "edge_parts.h", "filtered.c"])
def test_a_change_of_the_source_is_another_file(home, monkeypatch, file):
    load_kernel("filtered", CONSTANTS)
    forget()
    texts = _native._read_sources()
    with monkeypatch.context() as patch:
        patch.setattr(_native, "_read_sources", lambda: {**texts, file: texts[file] + "\n"})
        load_kernel("filtered", CONSTANTS)
    assert len(list(home.iterdir())) == 2


def test_many_processes_at_once(home):
    running = [subprocess.Popen([sys.executable, "-c", LOAD]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert len(list(home.iterdir())) == 1


def test_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("GNNPRE_HOME", str(tmp_path / "file"))
    forget()
    assert load_kernel("filtered", CONSTANTS).value_of_parts


def test_a_broken_file_is_made_anew(home):
    run = [sys.executable, "-c", LOAD]
    subprocess.run(run, check=True)
    (path,) = home.iterdir()
    path.write_bytes(b"no library")
    subprocess.run(run, check=True)
    assert path.stat().st_size > 1000


def test_no_compiler(monkeypatch):
    assert _native.has_compiler()
    forget()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert not _native.has_compiler()
    with pytest.raises(CompilerError, match="no cc, gcc or clang on PATH, and CC is not set"):
        load_kernel("filtered", CONSTANTS)


def test_compiler_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(CompilerError, match="/nowhere/cc cannot be run"):
        load_kernel("filtered", CONSTANTS)


def test_compiler_that_fails_says_why(home):
    with pytest.raises(CompilerError, match=r"failed on gated\.c: .*error: "):
        load_kernel("gated", (*CONSTANTS, ("ACTIVATION", "nonsense")))
    assert list(home.iterdir()) == []


def test_compiler_without_openmp(home, monkeypatch):
    monkeypatch.setattr(_native, "OPENMP_FLAGS", (("-fno-such-thing",), ("-fopenmp-simd",)))
    assert load_kernel("filtered", CONSTANTS).value_of_parts


def test_compiler_with_arguments(home, monkeypatch):
    found = _native._compiler()[0]
    monkeypatch.setenv("CC", f"{found} -O1")
    forget()
    assert load_kernel("filtered", CONSTANTS).value_of_parts


def test_sources_are_in_the_package():
    assert {
        "edge_math.h",
        "edge_map.h",
        "edge_parts.h",
        "gated.c",
        "attention.c",
        "filtered.c",
    } <= set(_native._read_sources())


@pytest.mark.parametrize("flags", [("-Wall", "-Wextra", "-Werror", "-pedantic")])
@pytest.mark.parametrize("bits", [32, 64])
def test_sources_compile_without_warnings(home, monkeypatch, flags, bits):
    monkeypatch.setattr(_native, "FLAGS", (*_native.FLAGS, *flags))
    real = ("REAL_BITS", bits)
    for activation in ("silu", "softplus"):
        load_kernel("gated", (real, ("CHANNELS", 5), ("ACTIVATION", activation)))
    load_kernel("filtered", (real, ("CHANNELS", 5)))
    for vectors in (0, 1):
        for cutoff in (0, 1):
            sizes = (("CHANNELS", 6), ("HEADS", 2), ("VECTORS", vectors), ("VECTOR_CUTOFF", cutoff))
            load_kernel("attention", (real, *sizes))
