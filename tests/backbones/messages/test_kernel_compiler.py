"""Compilers that are missing, fail or never end, and libraries of another layout."""

import signal
import time

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
from gnnpre import _compiler, _kernel_cache
from gnnpre._compiler import CompilerError
from gnnpre._kernel_cache import load_kernel
from gnnpre.backbones.messages import KernelSpec, _kernel_sums, has_compiler


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    yield from empty_home(tmp_path, monkeypatch)


def test_no_compiler(monkeypatch):
    assert has_compiler()
    forget()
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    assert not has_compiler()
    with pytest.raises(CompilerError, match="no cc, gcc or clang on PATH, and CC is not set"):
        load()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/nowhere/cc", "/nowhere/cc cannot be run"),
        ("/", "/ cannot be run: .*Permission denied"),
        ("true", r"true wrote no library for filtered\.c, although it reported no error"),
        ("echo hi", "echo wrote no library"),
        ("gcc -fsyntax-only", "gcc wrote no library"),
        ("gcc 'x", 'CC="gcc \'x" is not a command: No closing quotation'),
        ("false", r"false failed on filtered\.c: exit status 1"),
        ("gcc -no-such-flag", "gcc failed on filtered.c: .*no-such-flag"),
        ("gcc -c", "cannot be loaded"),
        ("yes", "yes failed on filtered.c"),
        ("cat", "cat failed on filtered.c"),
        ("gcc; touch evil", "gcc; cannot be run"),
        ("gcc '; touch evil'", "gcc failed on filtered.c"),
        ("$(touch evil)", "cannot be run"),
    ],
)
def test_a_command_that_is_no_compiler(home, monkeypatch, tmp_path, command, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", command)
    with pytest.raises(CompilerError, match=message):
        load()
    assert not [path for path in files_of(home) if path.suffix != ".so"]
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("command", ["", "  "])
def test_an_empty_command_is_none(monkeypatch, command):
    monkeypatch.setenv("CC", command)
    assert has_compiler()
    assert load().value_of_ranges


@pytest.mark.parametrize("seconds", ["PROBE_SECONDS", "COMPILE_SECONDS"])
def test_a_compiler_that_never_ends(home, monkeypatch, tmp_path, seconds):
    pattern = "*-E*" if seconds == "PROBE_SECONDS" else "*-shared*"
    script = tmp_path / "cc"
    # A child that keeps the output open outlives a script that is killed alone.
    script.write_text(f'#!/bin/sh\ncase "$*" in {pattern}) sleep 300;; esac\nexec cc "$@"\n')
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(_compiler, seconds, 0.5)
    started = time.monotonic()
    with pytest.raises(CompilerError, match=r"did not end within 0\.5 s"):
        load()
    assert time.monotonic() - started < 60


def test_a_compiler_that_crashes(monkeypatch, tmp_path):
    script = tmp_path / "cc"
    script.write_text('#!/bin/sh\ncase "$*" in *-shared*) kill -SEGV $$;; esac\nexec cc "$@"\n')
    script.chmod(0o700)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(CompilerError, match=f"exit status -{int(signal.SIGSEGV)}"):
        load()


def test_compiler_that_fails_says_why(home):
    with pytest.raises(CompilerError, match=r"failed on gated\.c: .*error: "):
        load_kernel("gated", (*CONSTANTS, ("ACTIVATION", "nonsense")), PACKAGE)
    assert files_of(home) == []


def test_compiler_without_openmp(home, monkeypatch):
    monkeypatch.setattr(_compiler, "OPENMP_FLAGS", (("-fno-such-thing",), ("-fopenmp-simd",)))
    assert load().value_of_ranges


def test_compiler_with_arguments(home, monkeypatch):
    monkeypatch.setenv("CC", f"{_compiler._compiler()[0]} -O1")
    assert load().value_of_ranges


SPEC = KernelSpec("filtered", (("CHANNELS", 3),), (3, 3), ((3,),))


def test_the_layout_of_arguments_is_checked():
    _kernel_sums.declare_functions(load(), SPEC, 32)


@pytest.mark.parametrize(
    ("spec", "bits", "version"),
    [
        (SPEC, 64, 2),
        (SPEC._replace(widths=(3, 3, 3)), 32, 2),
        (SPEC._replace(sums=((3,), (3,))), 32, 2),
        (SPEC._replace(mapped=0), 32, 2),
        (SPEC, 32, 1),
    ],
)
def test_another_layout_of_arguments_is_an_error(monkeypatch, spec, bits, version):
    library = load()
    monkeypatch.setattr(_kernel_sums, "INTERFACE_VERSION", version)
    with pytest.raises(CompilerError, match=r"filtered\.c reports .* as its interface; expected"):
        _kernel_sums.declare_functions(library, spec, bits)


def test_a_library_without_the_functions_is_an_error(home):
    plant(home, "int unrelated;")
    with pytest.raises(CompilerError, match=r"filtered\.c is incomplete: .*interface"):
        _kernel_sums.declare_functions(load(), SPEC, 32)


def test_sources_are_in_the_package():
    headers = {"edge_math.h", "edge_map.h", "edge_ranges.h"}
    assert headers | {"gated.c", "attention.c", "filtered.c"} == set(
        _kernel_cache.read_sources(PACKAGE)
    )


@pytest.mark.parametrize("bits", [32, 64])
def test_sources_compile_without_warnings(home, monkeypatch, bits):
    flags = ("-Wall", "-Wextra", "-Werror", "-pedantic")
    monkeypatch.setattr(_compiler, "FLAGS", (*_compiler.FLAGS, *flags))
    real = ("REAL_BITS", bits)
    for activation in ("silu", "softplus"):
        load_kernel("gated", (real, ("CHANNELS", 5), ("ACTIVATION", activation)), PACKAGE)
    load_kernel("filtered", (real, ("CHANNELS", 5)), PACKAGE)
    for vectors in (0, 1):
        for cutoff in (0, 1):
            sizes = (("CHANNELS", 6), ("HEADS", 2), ("VECTORS", vectors), ("VECTOR_CUTOFF", cutoff))
            load_kernel("attention", (real, *sizes), PACKAGE)
