"""A study in processes that are killed (SIGKILL), or that share a folder, for test_kills.py.

``python killed_studies.py FOLDER`` imports once and forks each run, so that many kills cost little.
FOLDER gets the studies in ``whole``, ``killed`` and ``shared``, and ``log.json``.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

from gnnpre.study import run_study
from study.small_studies import small_study, write_table

KILLS = 12
LONGEST_MOMENT = 0.3  # s, about what a job takes


def fork(study, folder, done=None, lines=None):
    """Run a study in a process of its own; give its id."""
    if child := os.fork():
        return child
    try:
        run = run_study(study, folder, progress=lines and (lambda line: append(lines, line)))
        if done is not None:
            done.write_text(json.dumps(run.done))
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


def append(path, line):
    with path.open("a") as file:
        file.write(f"{line}\n")


def count(folder):
    return len(list((folder / "records").glob("[!.]*.json")))


def ended(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def has_ended(child):
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def kill_often(study, folder, rng):
    """Kill runs at random moments; give how many jobs were done after each.

    Before some of them a run may end a job or two, however slow the machine is.
    """
    log = []
    for number in range(KILLS):
        wanted = count(folder) + (0, 1, 0, 2)[number % 4]
        child = fork(study, folder)
        while count(folder) < wanted and not has_ended(child):
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, LONGEST_MOMENT))
        os.kill(child, signal.SIGKILL)
        log.append({"status": ended(child), "done": count(folder)})
    return log


def share(study, folder):
    """Run a study in three processes; kill one in its second job, on any machine."""
    files = [folder.with_name(f"done{number}.json") for number in range(2)]
    lines = folder.with_name("victim.log")
    lines.touch()
    victim = fork(study, folder, lines=lines)
    children = [fork(study, folder, path) for path in files]
    while lines.read_text().count(" start ") < 2 and not has_ended(victim):
        time.sleep(0.005)
    os.kill(victim, signal.SIGKILL)
    statuses = [ended(child) for child in (victim, *children)]
    done = [json.loads(path.read_text()) for path in files]
    return {"statuses": statuses, "done": done, "victim": lines.read_text().splitlines()}


def main(folder):
    """Run all three."""
    torch.set_num_threads(1)
    study = small_study(write_table(folder / "alloys.json"), seeds=[1, 2])
    assert ended(fork(study, folder / "whole")) == 0
    kills = kill_often(study, folder / "killed", random.Random(5))
    assert ended(fork(study, folder / "killed")) == 0
    log = {"kills": kills, "shared": share(study, folder / "shared")}
    (folder / "log.json").write_text(json.dumps(log))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
