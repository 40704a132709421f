"""Threads of worker processes: never more than there are cores, all workers together."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
import torch
from pymatgen.core import Lattice, Structure
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph


def threads(model, X, y):
    model.predict(X)
    return torch.get_num_threads()


structures = [Structure(Lattice.cubic(3.0 + 0.1 * i), ["Na"], [[0, 0, 0]]) for i in range(8)]
model = make_pipeline(
    StructureToGraph(cutoff=4.0), PropertyRegressor(CGCNN(4, 1), max_epochs=1, random_state=0)
)
settings = {"cv": 2, "n_jobs": N_JOBS, "scoring": threads, "error_score": "raise"}
print(int(sum(cross_val_score(model, structures, np.arange(8.0), **settings))))
"""


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core is shared by two workers")
def test_two_workers_of_a_cross_validation_share_the_cores():
    free = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    script = SCRIPT.replace("N_JOBS", "2")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=free, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    n_threads = int(done.stdout)  # of both workers together
    assert 2 <= n_threads <= os.cpu_count()
