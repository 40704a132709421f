"""``python -m benchmarks training``: beside earlier revisions, in processes and in threads."""

import argparse

REVISIONS = ("f708fc5", "3ec40fc")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rounds", type=int, default=5, help="turns that count")
    parser.add_argument(
        "--before", default=",".join(REVISIONS), help="revisions to compare small batches with"
    )
    parser.add_argument("--only", default="", help="trainings whose names contain this")
    parser.add_argument("--no-small", action="store_true", help="leave out small batches")
    parser.add_argument("--no-processes", action="store_true", help="leave out two processes")
    parser.add_argument("--no-threads", action="store_true", help="leave out two threads")


def main(arguments: argparse.Namespace) -> None:
    """Run the benchmark."""
    from . import run

    run.run(arguments)
