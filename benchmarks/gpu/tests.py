"""The tests of the GPU, and the physics of all models on the device."""

import os
import re
import subprocess
import sys

from .job import Job

FILES = ("tests/test_gpu.py", "tests/test_physics.py")


def main(job: Job) -> None:
    """Run both files with pytest."""
    chosen = ["-k", "permutation and schnet or batches_are"] if job.rehearse else []
    # Crystals of tests/test_physics.py are made on this device.
    environment = {**os.environ, "GNNPRE_TEST_DEVICE": job.device}
    for file in FILES:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file, *chosen]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, flush=True)
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
        job.record(file, done.stdout.strip().splitlines()[-1] if done.stdout else "no output")
        if failed:
            job.record(f"{file}, failed", failed)
