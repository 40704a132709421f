"""Peak memory of one training step, in a process of its own.

Measured is the growth of the resident memory from before the step to its peak (``VmHWM``, which
Linux lets one reset), after a step on two crystals that loads libraries and buffers. The model,
the crystals and the batch's indices are there before, the batch itself is made in the step.
"""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from common import ROOT, resident

from .crystals import Crystals, plan
from .training import Setting
from .works import PLAIN, TORCH, TRAININGS

CLEAR = Path("/proc/self/clear_refs")


def peak_of_step(work_name: str, contender: str, pickled: str) -> float:
    """Return the growth in MB that one step of a contender needs."""
    work = TRAININGS[work_name]
    crystals = pickle.loads(Path(pickled).read_bytes())
    setting = Setting(work, crystals)
    batches = plan(len(crystals.structures), work.batch_size)
    if contender == PLAIN:
        trainer = setting.plain(batches, 1)
    else:
        model = setting.our_model(compile=False if contender == TORCH else "auto")
        trainer = setting.trainer(model, batches, 1)
    trainer.step(batches[0][:2])
    before = resident("VmRSS")
    CLEAR.write_text("5")
    trainer.step(batches[0])
    return 1e3 * (resident("VmHWM") - before)


def measure_memory(work_name: str, contender: str, crystals: Crystals) -> float | None:
    """Run :func:`peak_of_step` in a fresh process; None where the system does not tell."""
    if resident("VmHWM") is None or not os.access(CLEAR, os.W_OK):
        return None
    code = (
        "import sys, json; sys.path[:0] = [sys.argv[1] + '/benchmarks', sys.argv[1]];"
        "import torch; torch.set_num_threads(1);"
        "from speed.memory import peak_of_step;"
        "print(json.dumps(peak_of_step(*sys.argv[2:])))"
    )
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(pickle.dumps(crystals))
        command = [sys.executable, "-c", code, str(ROOT), work_name, contender, file.name]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"the memory of {contender} was not measured:\n{run.stderr}")
    return float(json.loads(run.stdout.splitlines()[-1]))
