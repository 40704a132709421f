"""A kernel that the tests of its compilation share."""

import hashlib
import subprocess
import tempfile

from gnnpre import _compiler, _home, _kernel_cache
from gnnpre._kernel_cache import load_kernel

PACKAGE = "gnnpre.backbones.messages"


CONSTANTS = (("REAL_BITS", 32), ("CHANNELS", 3))


def forget():
    load_kernel.cache_clear()
    _kernel_cache.kernel_folder.cache_clear()
    _home._absolute.cache_clear()
    for name in ("_compiler", "_native_flags", "_macros"):
        getattr(_compiler, name).cache_clear()


def empty_home(tmp_path, monkeypatch):
    """Yield the folder of kernels of a new user, and check that nothing else is left."""
    monkeypatch.setenv("GNNPRE_HOME", str(tmp_path / "home"))
    system = tmp_path / "system"
    system.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(system))
    forget()
    yield tmp_path / "home" / "kernels"
    forget()
    assert list(system.iterdir()) == []  # nothing is left in the system's temporary folder


def load():
    forget()
    return load_kernel("filtered", CONSTANTS, PACKAGE)


def files_of(home):
    return sorted(home.iterdir()) if home.exists() else []


def plant(home, code="__attribute__((constructor)) static void f(void) { abort(); }"):
    """Replace the kernel by a library that ends the process; return its path."""
    load()
    (path,) = files_of(home)
    path.unlink()
    source = home.parent / "evil.c"
    source.write_text(f"#include <stdlib.h>\n{code}\n")
    library = home.parent / "evil.so"
    command = [*_compiler._compiler(), "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    digest = hashlib.sha256(library.read_bytes()).hexdigest()
    planted = home / f"{path.name.rsplit('-', 1)[0]}-{digest}.so"
    library.rename(planted)
    planted.chmod(0o700)
    return planted
