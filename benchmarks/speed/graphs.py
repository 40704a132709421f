"""Structures to graphs: the race of graphs_speed.py, on the crystals of this benchmark."""

import argparse
from typing import Any

import graphs_speed

from .crystals import Crystals
from .peers import python_of

COUNT = 500
WORKS = {"graph_5": 5.0, "graph_8": 8.0}
ASKED = 1.6


def run(name: str, crystals: Crystals, arguments: argparse.Namespace) -> dict[str, Any]:
    """Race at one cutoff; the reference is matgl's converter, or without it pymatgen's list."""
    cutoff = WORKS[name]
    taken = [as_tuple(structure) for structure in crystals.structures[:COUNT]]
    python = python_of("matgl", arguments.peer_home) if arguments.peers else None
    races, versions = graphs_speed.race_graphs(taken, (cutoff,), python, arguments.rounds)
    contenders = races[f"{cutoff:g}"]
    rows = {
        contender: {
            "seconds_per_crystal": result["us_per_crystal"] / 1e6,
            "edges": result["edges"],
            "seconds": result["seconds"],
        }
        for contender, result in contenders.items()
    }
    reference = graphs_speed.ATOMS2GRAPH if python else graphs_speed.PYMATGEN
    return {
        "title": f"Structure to graph, {cutoff:g} Å, pymatgen in, packed graphs out",
        "reference": reference,
        "asked": {graphs_speed.OURS: ASKED} if python else {},
        "setting": f"{len(taken)} fresh structures a round.",
        "contenders": rows,
        "absent": {} if python else {graphs_speed.ATOMS2GRAPH: "matgl was not run"},
        "peers": {"matgl": versions} if versions else {},
        "notes": [f"- {key}: {text}." for key, text in graphs_speed.LACKS.items() if key in rows],
    }


def as_tuple(structure: Any) -> tuple:
    numbers = [site.specie.Z for site in structure]
    return structure.lattice.matrix, numbers, structure.frac_coords
