"""The Optuna study behind a search: created or opened, and cleared of dead trials."""

import random
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from gnnpre._processes import is_here, was_killed

from ._epoch_reports import EpochMirror, store_epoch_value

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

__all__ = [
    "ERROR",
    "FOLDS",
    "OWNER",
    "StudyHandle",
    "count_trials",
    "fail_lost_trials",
    "open_storage",
    "open_study",
    "quiet_optuna",
]

# Attributes of a trial: the process that runs it, its folds so far, why it failed.
OWNER, FOLDS, ERROR = "gnnpre:process", "gnnpre:folds", "gnnpre:error"
# Seconds between signs of life of a trial, and without one until it counts as dead.
HEARTBEAT, GRACE = 60, 300
# Attempts to create the tables of a storage that several processes open at the same time.
CREATION_ATTEMPTS = 20

_in_memory: WeakValueDictionary[str, Any] = WeakValueDictionary()


class StudyHandle:
    """An Optuna study by storage and name, which copies and pickles of a handle share.

    An Optuna trial (or study) in memory would be duplicated by ``clone``, and reports would be
    read by nobody. In another process a study in memory cannot be reached: reports are dropped.
    """

    def __init__(
        self, storage: "BaseStorage", name: str, pruner: "BasePruner", fold_pruner: "BasePruner"
    ) -> None:
        self.storage: BaseStorage | None = storage
        self.name = name
        self.pruner = pruner
        self.fold_pruner = fold_pruner
        self._study: Study | None = None
        self._mirror: EpochMirror | None = None
        self._token: str | None = None

    @property
    def study(self) -> "Study":
        """The Optuna study, loaded on first use."""
        import optuna

        if self.storage is None:
            raise RuntimeError("A study in memory cannot be reached from another process.")
        if self._study is None:
            self._study = optuna.load_study(
                study_name=self.name, storage=self.storage, pruner=self.pruner
            )
        return self._study

    def report_epoch(self, number: int, step: int, value: float) -> bool:
        """Store the report of a trial after an epoch; return whether it should be pruned."""
        if self.storage is None:
            return False
        study_id = self.storage.get_study_id_from_name(self.name)
        trial_id = self.storage.get_trial_id_from_study_id_trial_number(study_id, number)
        store_epoch_value(self.storage, trial_id, step, value)
        if self._mirror is None:
            self._mirror = EpochMirror(self.study)
        return self._mirror.should_prune(number)

    def should_prune_after_fold(self, number: int) -> bool:
        """Return whether a trial should be pruned by its scores: epochs count for nothing."""
        trial = self.study.get_trials(deepcopy=False)[number]
        return self.fold_pruner.prune(self.study, trial)

    def __deepcopy__(self, memo: dict[int, Any]) -> "StudyHandle":
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_study": None, "_mirror": None}
        if is_in_memory(self.storage):
            self._token = self._token or uuid.uuid4().hex
            _in_memory[self._token] = self.storage
            state |= {"storage": None, "_token": self._token}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._token is not None:
            self.storage = _in_memory.get(self._token)


def is_in_memory(storage: Any) -> bool:
    """Return whether a storage ends with its process."""
    from optuna.storages import InMemoryStorage, RDBStorage

    if isinstance(storage, RDBStorage):
        return storage.url.startswith("sqlite") and storage.engine.url.database in (
            None,
            "",
            ":memory:",
        )
    return storage is None or isinstance(storage, InMemoryStorage)


def open_storage(storage: Any) -> "BaseStorage":
    """Return the storage of a URL (with heartbeats), a storage as it is, or a new one in memory."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage

    if storage is None:
        return InMemoryStorage()
    if isinstance(storage, BaseStorage):
        return storage
    if not isinstance(storage, str) or "://" not in storage:
        raise TypeError(
            f"storage={storage!r}; expected None (memory), a URL such as 'sqlite:///study.db', or "
            "a storage of Optuna, such as JournalStorage(JournalFileBackend('study.log'))."
        )
    # Processes that write at the same time wait for each other.
    connection = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _retry_creation(
            lambda: RDBStorage(
                storage, engine_kwargs=connection, heartbeat_interval=HEARTBEAT, grace_period=GRACE
            )
        )


def _retry_creation(create: Callable[[], "BaseStorage"]) -> "BaseStorage":
    """Create a storage, again if another process creates the same tables at this moment.

    Optuna creates them without a lock. A process that comes between two tables of another fails
    with "table ... already exists"; on the next attempt the tables are there.
    """
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for attempt in range(CREATION_ATTEMPTS - 1):
        try:
            return create()
        except (IntegrityError, OperationalError, ProgrammingError) as error:
            if "exist" not in str(error) and "UNIQUE" not in str(error).upper():
                raise  # a folder that is missing, or a password that is wrong
        # Random waits, so that the processes do not meet again.
        time.sleep(random.uniform(0.05, 0.1) * (attempt + 1))
    return create()


def open_study(
    storage: "BaseStorage",
    name: str | None,
    pruner: "BasePruner",
    metric: str = "score",
    fold_pruner: "BasePruner | None" = None,
) -> StudyHandle:
    """Create an Optuna study, or open the one of that name; dashboards show ``metric``.

    ``fold_pruner`` decides in place of ``pruner`` where steps are folds, not epochs.
    """
    import optuna
    from optuna.exceptions import ExperimentalWarning

    study = optuna.create_study(
        storage=storage,
        study_name=name,
        pruner=pruner,
        direction="maximize",
        load_if_exists=name is not None,
    )
    # load_if_exists ignores the direction of an existing Optuna study.
    if study.direction != optuna.study.StudyDirection.MAXIMIZE:
        raise ValueError(
            f"study_name={name!r} is an Optuna study that minimizes; scores of scikit-learn are "
            "maximized. Choose another name."
        )
    if not study.metric_names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([metric])
    return StudyHandle(storage, study.study_name, pruner, fold_pruner or pruner)


def fail_lost_trials(handle: StudyHandle) -> None:
    """Mark the trials of killed processes as failed."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import fail_stale_trials
    from optuna.trial import TrialState

    for trial in handle.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if owner is not None and was_killed(owner):
            handle.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(handle.study)  # those of other machines, where there are heartbeats


def count_trials(handle: StudyHandle) -> int:
    """Count the trials that were scored, pruned or failed in fit, and those that run."""
    return sum(_counts(trial, handle) for trial in handle.study.get_trials(deepcopy=False))


def _counts(trial: "FrozenTrial", handle: StudyHandle) -> bool:
    from optuna.trial import TrialState

    if trial.state == TrialState.FAIL:
        return ERROR in trial.user_attrs  # others were lost with their process
    if trial.state == TrialState.RUNNING:
        owner = trial.user_attrs.get(OWNER)
        beats = getattr(handle.storage, "get_heartbeat_interval", lambda: None)() is not None
        return owner is not None and (beats or is_here(owner)) and not was_killed(owner)
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED)


@contextmanager
def quiet_optuna(verbose: int) -> Iterator[None]:
    """Silence Optuna's log lines, errors included: the search reports them itself."""
    from optuna import logging

    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO if verbose else logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)
