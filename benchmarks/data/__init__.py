"""``python -m benchmarks data``: how fast files become crystals, and crystals become graphs.

Rates are medians over the rounds, of processor time on one pinned core with one thread. Frames are
real ones of 16 to 24 atoms, written anew as extended XYZ and aselmdb; the Parquet file is
structures/mp_155k.parquet. Results go to benchmarks/results/data.{json,md}.
"""

import argparse

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=10_000, help="of extended XYZ and aselmdb")
    parser.add_argument("--no-graphs", action="store_true", help="leave the graphs of 155k out")
    parser.add_argument(
        "--store-crystals", type=int, default=8000, help="in the store; 0 leaves it out"
    )


def main(arguments: argparse.Namespace) -> None:
    from .run import run

    run(arguments)
