"""The tests of the GPU, and the physics of all models on the device."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
import time

from .job import Job

#: Files, and the seconds that each may take on a GPU.
FILES = {"tests/test_gpu.py": 90, "tests/test_physics.py": 40}
#: Processes: compiling kernels takes most of the time.
N_PROCESSES = 8


def main(job: Job) -> None:
    """Run both files with pytest; tests that passed by the time limit count."""
    options = ["-q", "-p", "no:cacheprovider"]
    if job.rehearse:
        options += ["-n", "0", "-k", "permutation and schnet or batches_are"]
    elif importlib.util.find_spec("xdist") is not None:
        options += ["-n", str(N_PROCESSES)]
    # Crystals of tests/test_physics.py are made on this device.
    environment = {**os.environ, "GNNPRE_TEST_DEVICE": job.device}
    for file, seconds in FILES.items():
        log = job.out / f"{file.removeprefix('tests/')}.log"
        command = [sys.executable, "-m", "pytest", *options, file]
        with log.open("w") as output:
            process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            job.record(file, outcome(process, seconds * (4 if job.rehearse else 1), log))
        if failed := re.findall(r"^(?:FAILED|ERROR) (\S+)", log.read_text(), re.MULTILINE):
            job.record(f"{file}, failed", failed)


def outcome(process: "subprocess.Popen[bytes]", seconds: float, log: "os.PathLike[str]") -> str:
    """Wait for pytest; return its last line, or its progress so far."""
    start = time.monotonic()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its worker processes, too
        process.wait()
    with open(log) as file:
        lines = file.read().splitlines()
    if process.returncode >= 0:
        return lines[-1] if lines else "no output"
    progress = "".join(re.findall(r"^[.sxXFE]+(?= |$)", "\n".join(lines), re.MULTILINE))
    counts = {sign: progress.count(sign) for sign in ".FEs"}
    return (
        f"ended after {time.monotonic() - start:.0f} s: {counts['.']} passed, "
        f"{counts['F'] + counts['E']} failed, {counts['s']} skipped so far"
    )
