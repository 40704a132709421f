"""Trainings in two processes of which some are killed (SIGKILL), for test_processes.py.

``python killed_pair.py FOLDER KILLS`` imports once and forks each process, so that many kills cost
little. FOLDER gets the models of an uninterrupted and of the killed training, and ``log.json``.
"""

import json
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import torch

from gnnpre import CGCNN, Denoising, Pretrainer, StructureToGraph
from gnnpre.datasets import make_emt_frames
from gnnpre.training._ranks import ProcessFailedError

SETTINGS = {"max_epochs": 30, "batch_size": 5, "random_state": 3, "dtype": "float64"}
#: Exit status of a process that noticed that the other one is gone.
NOTICED = 7


def train(graphs, path, **settings):
    """Train and save, in a process that was forked for it."""
    backbone = CGCNN(8, 1, batch_norm=True)
    estimator = Pretrainer(
        backbone, Denoising(scale="running"), ema_decay=0.9, **SETTINGS, **settings
    )
    try:
        estimator.fit(graphs)
    except ProcessFailedError:
        os._exit(NOTICED)
    if os.environ.get("RANK", "0") == "0":
        estimator.save(path)
    os._exit(0)


def fork_pair(graphs, path, **settings):
    """Fork both processes of a training; return their ids."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    children = []
    for rank in (0, 1):
        if child := os.fork():
            children.append(child)
            continue
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        os.environ.update(zip(names, (str(rank), "2", "127.0.0.1", port), strict=True))
        train(graphs, path, **settings)
    return children


def wait(child):
    """Return the exit code of a process, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder, kills):
    """Train once in peace in one process, and once in two that are killed."""
    torch.set_num_threads(1)
    structures, _ = make_emt_frames(24, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    start = time.monotonic()
    child = os.fork()
    if not child:
        train(graphs, folder / "whole.gnnpre")
    assert wait(child) == 0
    duration = time.monotonic() - start
    log = {"kills": 0, "codes": [], "seconds": []}
    resume = {"checkpoint_dir": str(folder / "states"), "resume": True}
    codes = None
    while codes != [0, 0]:
        children = fork_pair(graphs, folder / "killed.gnnpre", **resume)
        if log["kills"] < kills:
            time.sleep(duration * random.uniform(0.1, 0.4))
            victim = random.randrange(3)  # 2: both
            for rank, pid in enumerate(children):
                if victim in (rank, 2):
                    os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        codes = [wait(pid) for pid in children]
        log["kills"] += -signal.SIGKILL in codes
        log["codes"].append(codes)
        if codes != [0, 0]:
            log["seconds"].append(time.monotonic() - killed_at)
    (folder / "log.json").write_text(json.dumps(log))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
