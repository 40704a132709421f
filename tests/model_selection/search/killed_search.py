"""Searches whose process is killed (SIGKILL) in the middle of the third trial.

``python killed_search.py FOLDER KIND...`` imports once and forks a process for each kind of
storage; it prints the signals that ended them.
"""

import os
import signal
import sys

import optuna

from model_selection.search.search_cases import make_data, make_search, make_storage


class KillAt(optuna.pruners.NopPruner):
    """Kills the process in the second fold of trial 2."""

    def prune(self, study, trial):
        if trial.number == 2 and trial.last_step == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().prune(study, trial)


def search_until_killed(kind, folder):
    storage = make_storage(kind, folder)
    search = make_search(n_trials=5, storage=storage, study_name="killed", pruner=KillAt())
    search.fit(*make_data())


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        child = os.fork()
        if child == 0:
            search_until_killed(kind, sys.argv[1])
            os._exit(0)
        print(os.waitpid(child, 0)[1], flush=True)
