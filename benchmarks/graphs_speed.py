"""Speed of StructureToGraph beside pymatgen's neighbour lists and matgl's graphs, in one run.

    GNNPRE_DATA=... python benchmarks/graphs_speed.py --peer-python peer/bin/python
    GNNPRE_DATA=... python benchmarks/graphs_speed.py --scale

The first compares on 500 real crystals of at most 20 atoms: every contender gets structures that
were unpickled a moment ago (so that none profits from what pymatgen caches inside them; unpickling
is not timed), in turn, again and again, on one pinned core with one thread; medians of the
processor time count. matgl
needs an environment of its own (benchmarks/peers/matgl.txt), whose Python --peer-python or the
variable GNNPRE_MATGL_PYTHON names: it stays alive as a subprocess and takes its turns. The second
converts 37,000 crystals in one call. Both write to benchmarks/results/graphs_speed.{json,md}, and a
run of one leaves what is written of the other.
"""

import argparse
import gc
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from common import (
    ROOT,
    Peer,
    in_words,
    origin_lines,
    pin_to_one_core,
    race,
    resident,
    serve,
    where_and_when,
)

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

RESULTS = ROOT / "benchmarks" / "results" / "graphs_speed.json"
FRAMES = ("mptrj-random-1k", "alexandria-random-1k")
CUTOFFS = (5.0, 6.0, 8.0)
N_CRYSTALS, MOST_ATOMS = 500, 20
SCALE_FILE, SCALE_CUTOFF = "mp_form_gap_37k.json.gz", 6.0
OURS, PYMATGEN = "gnnpre", "pymatgen get_neighbor_list"
ATOMS2GRAPH, STRUCTURE2GRAPH = "matgl Atoms2Graph", "matgl Structure2Graph"
GPU_SEARCH = "nvalchemi-toolkit-ops"  # matgl takes it where installed
# What the figures do not say: what each of them lacks of a ready, packed graph of gnnpre.
LACKS = {
    PYMATGEN: "a neighbour list only: no atomic numbers, no check of the structure, no packing",
    ATOMS2GRAPH: "one torch-geometric Data per crystal, not packed (batches are collated in every "
    "step); a crystal counts as periodic in all directions or in none, so a slab loses its "
    "periodic neighbours",
    STRUCTURE2GRAPH: "one torch-geometric Data per crystal, not packed; periodic in all three "
    "directions, whatever the lattice says",
}


def read_crystals(folder: Path) -> list[tuple]:
    """Cell, numbers and fractional coordinates of the crystals, evenly from both files."""
    from ase.io import read

    frames = [
        atoms
        for name in FRAMES
        for atoms in read(folder / "upstream" / f"{name}.extxyz.gz", index=":")
        if len(atoms) <= MOST_ATOMS
    ]
    chosen = [frames[i * len(frames) // N_CRYSTALS] for i in range(N_CRYSTALS)]
    return [(a.cell.array, a.numbers, a.get_scaled_positions(wrap=False)) for a in chosen]


def as_structures(crystals: list[tuple]) -> list:
    from pymatgen.core import Lattice, Structure

    return [Structure(Lattice(cell), numbers, places) for cell, numbers, places in crystals]


def as_atoms(crystals: list[tuple]) -> list:
    from ase import Atoms

    return [
        Atoms(numbers, cell=cell, scaled_positions=places, pbc=True)
        for cell, numbers, places in crystals
    ]


class Contender:
    """Converts crystals that are fresh each time, and says how long that took."""

    def __init__(self, crystals: list, convert: Callable[[list, float], int]) -> None:
        self.pickled = pickle.dumps(crystals)
        self.convert = convert

    def __call__(self, cutoff: float) -> tuple[float, int]:
        crystals = pickle.loads(self.pickled)
        gc.collect()
        # Of this process alone: what else runs on the machine does not count. No contender waits
        # for anything, so on a quiet machine this is the time on the clock.
        start = time.process_time()
        edges = self.convert(crystals, cutoff)
        return time.process_time() - start, edges


def convert_with_gnnpre(structures: list, cutoff: float) -> int:
    from gnnpre import StructureToGraph

    return len(StructureToGraph(cutoff=cutoff).transform(structures).edge_shift)


def convert_with_pymatgen(structures: list, cutoff: float) -> int:
    return sum(len(neighbors[0]) for neighbors in [s.get_neighbor_list(cutoff) for s in structures])


def convert_with_matgl(name: str) -> Callable[[list, float], int]:
    from matgl.config import DEFAULT_ELEMENTS

    if name == ATOMS2GRAPH:
        from matgl.ext.ase import Atoms2Graph as Converter
    else:
        from matgl.ext.pymatgen import Structure2Graph as Converter

    def convert(crystals: list, cutoff: float) -> int:
        converter = Converter(DEFAULT_ELEMENTS, cutoff)
        graphs = [converter.get_graph(crystal) for crystal in crystals]
        return sum(graph.edge_index.shape[1] for graph, *_ in graphs)

    return convert


def serve_peer(path: str) -> None:
    """Be the subprocess that runs matgl."""
    import torch

    torch.set_num_threads(1)
    crystals = pickle.loads(Path(path).read_bytes())
    serve(
        lambda: {
            ATOMS2GRAPH: Contender(as_atoms(crystals), convert_with_matgl(ATOMS2GRAPH)),
            STRUCTURE2GRAPH: Contender(
                as_structures(crystals), convert_with_matgl(STRUCTURE2GRAPH)
            ),
        }
    )


def race_at(
    contenders: dict[str, Callable], cutoff: float, repeats: int, n_crystals: int
) -> dict[str, dict]:
    return {
        name: {
            "us_per_crystal": result["median"] / n_crystals * 1e6,
            "edges": result["work"],
            "seconds": result["seconds"],
        }
        for name, result in race(contenders, repeats, cutoff).items()
    }


def race_graphs(
    crystals: list[tuple], cutoffs: tuple[float, ...], peer_python: str | None, repeats: int
) -> tuple[dict[str, dict], dict | None]:
    """Return the times at each cutoff, and the versions of the peer."""
    structures = as_structures(crystals)
    contenders = {
        OURS: Contender(structures, convert_with_gnnpre),
        PYMATGEN: Contender(structures, convert_with_pymatgen),
    }
    with tempfile.TemporaryDirectory() as temporary:
        peer = Peer(peer_python, __file__, crystals, Path(temporary)) if peer_python else None
        if peer:
            contenders |= {n: peer.contender(n) for n in (ATOMS2GRAPH, STRUCTURE2GRAPH)}
        races = {f"{c:g}": race_at(contenders, c, repeats, len(crystals)) for c in cutoffs}
        if peer:
            peer.close()
    return races, peer.versions if peer else None


def compare(folder: Path, peer_python: str | None, repeats: int) -> dict:
    crystals = read_crystals(folder)
    races, peer_versions = race_graphs(crystals, CUTOFFS, peer_python, repeats)
    return {
        "crystals": N_CRYSTALS,
        "atoms": int(sum(len(numbers) for _, numbers, _ in crystals)),
        "repeats": repeats,
        "cutoffs": races,
        "peer_versions": peer_versions,
        **where_and_when(),
    }


def convert_many(folder: Path) -> dict:
    from gnnpre import StructureToGraph
    from gnnpre.datasets import read_matbench

    structures, _ = read_matbench(folder / "downstream" / SCALE_FILE)
    StructureToGraph(cutoff=SCALE_CUTOFF).transform(structures[:100])
    gc.collect()
    objects, before = len(gc.get_objects()), resident("VmRSS")
    if before is not None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    start = time.perf_counter()
    graphs = StructureToGraph(cutoff=SCALE_CUTOFF).transform(structures)
    seconds = time.perf_counter() - start
    peak = resident("VmHWM")
    gc.collect()
    tensors = [value for value in vars(graphs).values() if hasattr(value, "nbytes")]
    return {
        "file": SCALE_FILE,
        "cutoff": SCALE_CUTOFF,
        "crystals": len(graphs),
        "atoms": len(graphs.positions),
        "edges": len(graphs.edge_shift),
        "seconds": seconds,
        "graphs_gb": sum(value.nbytes for value in tensors) / 1e9,
        "peak_growth_gb": None if before is None else peak - before,
        "objects_left": len(gc.get_objects()) - objects,
        **where_and_when(),
    }


def speed_lines(speed: dict) -> list[str]:
    peer = speed["peer_versions"]
    names = list(next(iter(speed["cutoffs"].values())))
    lines = [
        f"{speed['crystals']} crystals, {speed['atoms']} atoms; medians of {speed['repeats']} "
        "alternating repeats, µs of processor time per crystal; in brackets the ratio to gnnpre's.",
        "",
        "| cutoff (Å) | edges | " + " | ".join(names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for cutoff, row in speed["cutoffs"].items():
        base = row[OURS]["us_per_crystal"]
        times = [row[name]["us_per_crystal"] for name in names]
        cells = [f"{value:.1f} ({value / base:.2f})" for value in times]
        lines.append(f"| {cutoff} | {row[OURS]['edges']} | " + " | ".join(cells) + " |")
    lines += ["", *edge_lines(speed["cutoffs"]), ""]
    lines += [f"- {name}: {LACKS[name]}." for name in names if name in LACKS]
    if peer:
        search = GPU_SEARCH if GPU_SEARCH in peer else "pymatgen"
        lines += ["", f"matgl (which searches with {search} here): {in_words(peer)}."]
    else:
        lines += ["", "matgl was not run: no --peer-python and no GNNPRE_MATGL_PYTHON."]
    return [*lines, "", *origin_lines(speed)]


def edge_lines(cutoffs: dict) -> list[str]:
    different = [
        f"At {cutoff} Å {name} finds {result['edges']} edges, gnnpre {row[OURS]['edges']}."
        for cutoff, row in cutoffs.items()
        for name, result in row.items()
        if result["edges"] != row[OURS]["edges"]
    ]
    return different or ["All of them find the same number of edges."]


def scale_lines(scale: dict) -> list[str]:
    growth = scale["peak_growth_gb"]
    memory = "unknown here" if growth is None else f"{growth:.2f} GB"
    return [
        f"{scale['crystals']} crystals of `{scale['file']}` ({scale['atoms']} atoms) at "
        f"{scale['cutoff']:g} Å in one call: {scale['seconds']:.1f} s "
        f"({scale['seconds'] / scale['crystals'] * 1e6:.0f} µs per crystal), {scale['edges']} "
        f"edges; the graphs take {scale['graphs_gb']:.2f} GB, the peak of memory grows by "
        f"{memory}; Python objects left behind: {scale['objects_left']}.",
        "",
        *origin_lines(scale),
    ]


def write(section: str, result: dict) -> None:
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[section] = result
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    lines = ["# Structures to graphs: speed", "", "Written by `benchmarks/graphs_speed.py`."]
    if "speed" in results:
        lines += ["", "## Beside its peers", "", *speed_lines(results["speed"])]
    if "scale" in results:
        lines += ["", "## Many at once", "", *scale_lines(results["scale"])]
    RESULTS.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", default=os.environ.get("GNNPRE_MATGL_PYTHON"))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--scale", action="store_true", help="37,000 crystals in one call")
    parser.add_argument("--serve-peer", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_peer:
        return serve_peer(arguments.serve_peer)
    pin_to_one_core()
    if "GNNPRE_DATA" not in os.environ:
        parser.error("set GNNPRE_DATA to the folder that holds upstream/ and downstream/")
    import torch

    torch.set_num_threads(1)
    sys.path.insert(0, str(ROOT))
    folder = Path(os.environ["GNNPRE_DATA"])
    if arguments.scale:
        write("scale", convert_many(folder))
    else:
        write("speed", compare(folder, arguments.peer_python, max(arguments.repeats, 7)))


if __name__ == "__main__":
    main()
