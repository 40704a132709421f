"""The kernels in C under the sanitizers of gcc: memory, undefined behaviour and races.

``python -m tests.fuzz.sanitize``: runs the tests of the kernels, and searches of strange crystals
in several threads, in processes whose kernels are compiled with sanitizers. Returns 1 if one of
them reports anything. Needs gcc with its sanitizers, on Linux.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np

TESTS = (
    "tests/graphs/test_compiled_search.py",
    "tests/graphs/test_hard_searches.py",
    "tests/backbones/messages",
)
FLAGS = "-g -fno-omit-frame-pointer -fno-sanitize-recover=all"
#: Flags and libraries by the name of a run. Casts of floats are not within ``undefined``.
SANITIZERS = {
    "memory": (
        "-fsanitize=address,undefined,float-cast-overflow",
        ("libasan.so", "libubsan.so"),
    ),
    "threads": ("-fsanitize=thread", ("libtsan.so",)),
}
#: Python itself leaks by design, and its allocator hides small arrays unless it is left out.
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",
    "TSAN_OPTIONS": "halt_on_error=1",
    "PYTHONMALLOC": "malloc",
}
N_THREADS = 4


def main() -> int:
    """Run all of it, and return 1 if a sanitizer reports anything."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.sanitize", description=__doc__)
    parser.add_argument("--crystals", type=int, default=20_000, help="strange crystals to search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--search", action="store_true", help="search them in this process")
    options = parser.parse_args()
    if options.search:
        search_strange_crystals(options.crystals, options.seed)
        return 0
    search = ["-m", "tests.fuzz.sanitize", "--search", f"--seed={options.seed}"]
    search += [f"--crystals={options.crystals}"]
    tests = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *TESTS]
    runs = {
        "tests, memory": ("memory", tests),
        "strange crystals, memory": ("memory", search),
        "strange crystals, threads": ("threads", search),
    }
    codes = {name: run(*arguments) for name, arguments in runs.items()}
    for name, code in codes.items():
        print(f"{name}: {'clean' if code == 0 else f'FAILED with exit status {code}'}")
    return int(any(codes.values()))


def run(sanitizer: str, arguments: list[str]) -> int:
    """Run Python with kernels that are compiled anew; return its exit status."""
    flags, libraries = SANITIZERS[sanitizer]
    paths = [
        subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
        for name in libraries
    ]
    # Addresses as TSan expects them: without randomisation.
    command = ["setarch", "-R", sys.executable, *arguments]
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            **OPTIONS,
            "CC": f"gcc {FLAGS} {flags}",
            "GNNPRE_HOME": folder,
            "OMP_NUM_THREADS": "1",
            "LD_PRELOAD": " ".join(paths),
        }
        return subprocess.run(command, env=environment).returncode


def search_strange_crystals(n_crystals: int, seed: int) -> None:
    """Search neighbours with the kernel, in several threads that share the crystals."""
    from gnnpre.graphs._compiled_search import find_search, search_compiled

    library = find_search()
    if library is None:
        raise SystemExit("There is no kernel to try: gcc does not compile it.")
    rng = np.random.default_rng(seed)
    with ThreadPoolExecutor(N_THREADS) as executor:
        for _ in range(0, n_crystals, 50):
            crystals = strange_crystals(rng, 50)
            cutoff = float(10 ** rng.uniform(-2, 1.5))
            skipped = rng.random(50) < 0.1
            jobs = [
                executor.submit(search_compiled, library, crystals, cutoff, 64, skipped)
                for _ in range(N_THREADS)
            ]
            counts = [job.result()[2] for job in jobs]
            assert all((count == counts[0]).all() for count in counts)
    print(f"{n_crystals} crystals searched")


def strange_crystals(rng: np.random.Generator, n: int):
    """Return crystals in thin, long, skewed and singular cells, with atoms far outside of them."""
    from gnnpre.graphs import Crystals

    n_atoms = rng.integers(1, 40, n)
    lengths = 10 ** rng.uniform(-3, 5, (n, 3, 1))
    lengths = np.where(rng.random((n, 1, 1)) < 0.7, rng.uniform(2, 12, (n, 3, 1)), lengths)
    cell = lengths * (
        np.eye(3) + rng.uniform(-1, 1, (n, 3, 3)) * rng.choice([0, 0.3, 3], (n, 1, 1))
    )
    cell[rng.random(n) < 0.03] = 0.0
    spread = np.repeat(10 ** rng.uniform(-3, 7, n), n_atoms)[:, None]
    positions = rng.uniform(-1, 1, (n_atoms.sum(), 3)) * spread
    near = np.repeat(rng.random(n) < 0.6, n_atoms)
    positions[near] = rng.uniform(-10, 10, (near.sum(), 3))
    return Crystals(
        atomic_numbers=rng.integers(1, 80, n_atoms.sum()),
        positions=positions,
        cell=cell,
        pbc=rng.random((n, 3)) < 0.7,
        n_atoms=n_atoms,
    )


if __name__ == "__main__":
    raise SystemExit(main())
