"""Benchmarks that compare: ``python -m benchmarks speed`` and ``python -m benchmarks scaling``.

The scripts of this folder import one another by their bare names, and so does all that starts
here: also as ``python benchmarks ...`` by the Python of a peer, which has no gnnpre.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
COMMANDS = {
    "data": "files to crystals, and crystals to graphs",
    "pretrained": "train the models of the package anew",
    "speed": "training steps, graphs and predictions beside plain references and peers",
    "training": "small batches beside earlier revisions, two processes and two threads beside one",
    "scaling": "time and memory against crystals, atoms, edges, batch and threads",
}


def main() -> None:
    sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]
    # One thread, unless a benchmark is about threads: before any library reads it.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    command, rest = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if command == "peer":  # a subprocess of ``speed``, in an environment of its own
        return importlib.import_module("peers").serve_adapter(rest)
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        child = commands.add_parser(name, help=text, description=text)
        importlib.import_module(name).add_arguments(child)
    arguments = parser.parse_args()
    if "GNNPRE_DATA" not in os.environ:
        parser.error("set GNNPRE_DATA to the folder that holds upstream/ and downstream/")
    importlib.import_module(arguments.command).main(arguments)


if __name__ == "__main__":
    main()
