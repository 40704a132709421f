"""``python -m benchmarks pretrained``: train the models in ``gnnpre/pretrained/models`` anew.

Each step is skipped if its result is in the work folder, and a training that was killed goes on
from its last epoch. On one core the base model takes 150 minutes in two trainings, the small one
25, the force field 20; all need GNNPRE_DATA.
"""

import argparse
from pathlib import Path

__all__ = ["add_arguments", "main"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=Path, default=Path("build/pretrained"), help="data, states, logs, models"
    )
    parser.add_argument("--only", nargs="*", help="names of models, such as gnnpre-1")
    parser.add_argument(
        "--install", action="store_true", help="replace the models of the package by these"
    )


def main(arguments: argparse.Namespace) -> None:
    from .run import run

    run(arguments)
