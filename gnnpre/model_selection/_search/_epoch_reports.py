"""Losses by epoch for the pruner, apart from the scores that an Optuna study shows.

Optuna takes the last value that a pruned trial reported for its value. Losses of an inner
validation set are in other units than scores (and of the other sign), so that in a dashboard the
pruned trials would stand above all complete ones. Scores are therefore what a trial reports, once
per fold; losses are system attributes of the trial, and the pruner sees them as the intermediate
values of a mirror of the Optuna study in memory.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = ["EpochMirror", "epoch_values", "store_epoch_value"]

PREFIX = "gnnpre:epoch:"


def epoch_values(trial: "FrozenTrial") -> dict[int, float]:
    """Return the reports of a trial after its epochs: minus the loss, by step."""
    attributes = trial.system_attrs.items()
    values = {int(k.removeprefix(PREFIX)): v for k, v in attributes if k.startswith(PREFIX)}
    return dict(sorted(values.items()))


def store_epoch_value(storage: "BaseStorage", trial_id: int, step: int, value: float) -> None:
    """Store the report of a trial after an epoch; the first one of a step counts."""
    # Several networks in one estimator come to the same epoch.
    if f"{PREFIX}{step}" not in storage.get_trial(trial_id).system_attrs:
        storage.set_trial_system_attr(trial_id, f"{PREFIX}{step}", value)


class EpochMirror:
    """An Optuna study in memory with the same trials, whose intermediate values are by epoch."""

    def __init__(self, study: "Study") -> None:
        import optuna

        self.study = study
        self.storage = optuna.storages.InMemoryStorage()
        # The same name: pruners choose brackets by it.
        self.mirror = optuna.create_study(
            storage=self.storage,
            study_name=study.study_name,
            pruner=study.pruner,
            direction="maximize",
        )
        self.trial_ids: list[int] = []  # of the mirror, by number of the trial

    def should_prune(self, number: int) -> bool:
        """Ask the pruner about a trial."""
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            self._update(trial)
        mirrored = self.storage.get_trial(self.trial_ids[number])
        is_pruned = self.study.pruner.prune(self.mirror, mirrored)
        # Some pruners keep notes with the trial, which other processes need.
        notes = self.storage.get_trial(self.trial_ids[number]).system_attrs
        for key in notes.keys() - trials[number].system_attrs.keys():
            self.study._storage.set_trial_system_attr(trials[number]._trial_id, key, notes[key])
        return is_pruned

    def _update(self, trial: "FrozenTrial") -> None:
        """Bring the mirror of a trial up to date."""
        # Trials come in the order of their numbers.
        if trial.number == len(self.trial_ids):
            self.trial_ids.append(self._add(trial))
        identity = self.trial_ids[trial.number]
        mirrored = self.storage.get_trial(identity)
        if mirrored.state.is_finished():
            return
        for step, value in epoch_values(trial).items():
            if step not in mirrored.intermediate_values:
                self.storage.set_trial_intermediate_value(identity, step, value)
        for key, value in trial.system_attrs.items():
            if not key.startswith(PREFIX) and key not in mirrored.system_attrs:
                self.storage.set_trial_system_attr(identity, key, value)
        if trial.state.is_finished():
            self.storage.set_trial_state_values(identity, trial.state, trial.values)

    def _add(self, trial: "FrozenTrial") -> int:
        from optuna.trial import TrialState, create_trial

        template = create_trial(
            state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions
        )
        return self.storage.create_new_trial(self.mirror._study_id, template)
