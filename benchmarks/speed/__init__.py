"""``python -m benchmarks speed``: each work for us, for a plain reference and for the peers found.

Contenders take turns (A B A B), on one pinned core with one thread, on the same crystals and edges,
at the same sizes, batch, precision and loss. A training step is the assembly of the batch, forward,
loss, backward, clipping of the gradient and AdamW. Medians over the rounds; the first round warms
up. Results go to benchmarks/results/speed.{json,md}; a run of some works leaves those of others.
"""

import argparse
from pathlib import Path

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", default="", help="names of works, with commas between them")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--crystals", type=int, default=2000)
    parser.add_argument("--peers", action="store_true", help="run the peers found installed, too")
    parser.add_argument(
        "--peer-home",
        type=Path,
        default=Path.home() / ".gnnpre-peers",
        help="folder with an environment for each file in benchmarks/peers/*.txt",
    )
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--before", default="", help="race earlier revisions, and nothing else")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")


def main(arguments: argparse.Namespace) -> None:
    if arguments.before:
        from .revisions import run
    elif arguments.device == "cuda":
        from .gpu import run
    else:
        from .run import run
    run(arguments)
