"""Symmetry functions beside dscribe's: the race of fingerprints_speed.py, on these crystals."""

import argparse
import pickle
import tempfile
from pathlib import Path
from typing import Any

import fingerprints_speed
from common import Peer, race

from .crystals import Crystals
from .graphs import as_tuple
from .peers import python_of

COUNT = 200
FUNCTIONS = "8 G2 + 4 G4"
WORKS = ("symmetry_functions",)


def run(crystals: Crystals, arguments: argparse.Namespace) -> dict[str, Any]:
    """Race with every atom a silicon one, as dscribe makes features for each pair of elements."""
    taken = [as_tuple(structure) for structure in crystals.structures[:COUNT]]
    silicon = fingerprints_speed.as_structures(taken, fingerprints_speed.SILICON)
    contenders = {
        f"gnnpre, {dtype}": fingerprints_speed.contender(
            fingerprints_speed.symmetry_functions(FUNCTIONS, dtype), pickle.dumps(silicon)
        )
        for dtype in ("float64", "float32")
    }
    python = python_of("dscribe", arguments.peer_home) if arguments.peers else None
    with tempfile.TemporaryDirectory() as folder:
        peer = python and Peer(python, fingerprints_speed.__file__, taken, Path(folder))
        if peer:
            contenders["dscribe"] = peer.contender("dscribe")
        raced = race(contenders, arguments.rounds, FUNCTIONS)
        if peer:
            peer.close()
    return {
        "title": f"Symmetry functions of one species, {FUNCTIONS}, 5 Å, structures in, arrays out",
        "reference": "dscribe" if peer else "gnnpre, float64",
        "asked": {},
        "setting": f"{len(taken)} structures a round, {sum(map(len, silicon))} atoms.",
        "contenders": {
            name: {
                "seconds_per_crystal": result["median"] / len(taken),
                "edges": "",
                "seconds": result["seconds"],
            }
            for name, result in raced.items()
        },
        "absent": {} if peer else {"dscribe": "not run"},
        "peers": {"dscribe": peer.versions} if peer else {},
    }
