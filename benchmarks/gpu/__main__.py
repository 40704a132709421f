"""Run the parts one after the other, each as a process with a time limit, and report after each."""

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from .job import Job
from .report import write_report

#: Seconds that each part may take; all together about eight minutes.
PARTS = {
    "tests": 140,
    "steps": 120,
    "small_batches": 60,
    "neighbors": 30,
    "pipeline": 80,
    "pretraining": 70,
}
#: A rehearsal may run on a slow, shared processor.
REHEARSAL_FACTOR = 4


def main() -> None:
    """Run all parts, or one in this process."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu/run.sh", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("gpu-report"), help="folder to write to")
    parser.add_argument("--only", default="", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at tiny sizes")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = [name for name in arguments.only.split(",") if name] or list(PARTS)
    if unknown := sorted(set(names) - set(PARTS)):
        parser.error(f"--only has {unknown}; expected some of {', '.join(PARTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.part:
        job = Job(arguments.part, arguments.out, arguments.rehearse, PARTS[arguments.part])
        importlib.import_module(f".{arguments.part}", __package__).main(job)
        return
    for name in names:
        run_part(name, arguments)
        write_report(arguments.out, list(PARTS), arguments.rehearse)


def run_part(name: str, arguments: argparse.Namespace) -> None:
    """Run a part in a process of its own; what it has recorded by its time limit counts."""
    file = arguments.out / f"{name}.json"
    file.unlink(missing_ok=True)
    if not torch.cuda.is_available() and not arguments.rehearse:
        outcome = "skipped: torch sees no GPU (torch.cuda.is_available() is False)"
        seconds = 0.0
    else:
        outcome, seconds = start(name, arguments)
    results = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**results, "outcome": outcome, "seconds": seconds}, indent=1))
    print(f"{name}: {outcome} ({seconds:.0f} s)", flush=True)


def start(name: str, arguments: argparse.Namespace) -> tuple[str, float]:
    """Start a part and wait for it; return how it ended and how long it took."""
    limit = PARTS[name] * (REHEARSAL_FACTOR if arguments.rehearse else 1)
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--out", arguments.out]
    command += ["--rehearse"] * arguments.rehearse
    began = time.monotonic()
    with (arguments.out / f"{name}.log").open("w") as log:
        process = subprocess.Popen([str(item) for item in command], stdout=log, stderr=log)
        try:
            code = process.wait(limit)
            outcome = "done" if code == 0 else f"failed with status {code}; see {name}.log"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            outcome = f"ended after its time limit of {limit} s"
    return outcome, time.monotonic() - began


if __name__ == "__main__":
    main()
