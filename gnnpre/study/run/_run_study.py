"""Running a study: each job once, whatever is killed and however many processes share it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gnnpre._validation import check_number

from ..declare._study import Study
from ..plan._plan import plan_jobs
from ..plan._selection import select_jobs
from ._describe import describe_study
from ._folder import StudyFolder
from ._runner import Runner
from ._submission import check_file_names, write_predictions
from ._threads import limited_threads
from ._workspace import Workspace

__all__ = ["StudyRun", "run_study"]

SCHEMA = 1


@dataclass(frozen=True)
class StudyRun:
    """The outcome of a call of :func:`run_study`.

    Parameters
    ----------
    folder : Path
        Where it was run.
    done : tuple of str
        Keys of the jobs that were done by this call.
    skipped : tuple of str
        Keys of those that had been done, or were done by another process.
    failed : mapping of str to str
        Jobs that raised, or that need one that did, with the error.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gnnpre.study import StudyRun
    >>> StudyRun(Path("runs"), ("a1",), (), {}).failed
    {}
    """

    folder: Path
    done: tuple[str, ...]
    skipped: tuple[str, ...]
    failed: dict[str, str]


def run_study(
    study: Study,
    folder: str | Path,
    *,
    data_home: str | Path | None = None,
    only: Sequence[str] = (),
    device: str = "auto",
    threads: int = 1,
    progress: Callable[[str], None] | None = None,
) -> StudyRun:
    """Run a study, or continue it.

    A finished job is one file in ``folder/records``, and is not done again; delete the file to
    have it done anew. A job that was killed goes on from its last epoch. Several processes, on
    several machines too, may run a study in one folder: each job is done by one of them. A job
    that raises is described in ``folder/failures`` and the others go on; the next call tries it
    again.

    Parameters
    ----------
    study : Study
        The study.
    folder : str or Path
        Where records, weights and tables go; made if it is not there.
    data_home : str or Path, optional
        Folder of the known data; by default that of the environment variable ``GNNPRE_DATA``.
    only : sequence of str
        Names of data sets, backbones and strategies to run, and seeds or folds as in
        ``"seed=111"``, with the pre-trainings that they need; all by default.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    threads : int
        Threads of a job.
    progress : callable, optional
        Function of a line of text, called when a job starts and ends, and about once a minute
        while a network trains, with the remaining time.

    Returns
    -------
    StudyRun
        The jobs that were done, skipped and failed.

    Raises
    ------
    ValueError
        If a name is unknown, two rows would have one file of predictions, or ``threads`` is not a
        positive int.
    TypeError
        If ``study`` is not a Study.
    FileNotFoundError
        If data are missing; nothing has been trained then.

    See Also
    --------
    load_study : Read a study from a file.
    estimate_study : How long it will take.
    write_report : Tables and plots of a folder.

    Examples
    --------
    >>> import tempfile
    >>> import pandas as pd
    >>> from gnnpre.datasets import make_emt_property
    >>> from gnnpre.study import DataSet, Study, run_study
    >>> structures, y = make_emt_property(20, random_state=0)
    >>> table = pd.DataFrame({"structure": [s.as_dict() for s in structures], "K": y})
    >>> folder = tempfile.mkdtemp()
    >>> table.to_json(f"{folder}/alloys.json", orient="split")
    >>> data = [DataSet(name="alloys", path=f"{folder}/alloys.json", unit="GPa")]
    >>> study = Study(name="one", data=data, seeds=[0], baselines=["mean"])
    >>> len(run_study(study, folder).done)
    1
    """
    _check_arguments(study, threads)
    # 1. jobs
    plan = plan_jobs(study, data_home)
    jobs = select_jobs(plan, only)
    check_file_names(plan)
    # 2. the folder: what killed processes left is removed, the declaration is written
    home = StudyFolder(folder)
    home.create()
    home.write_once(home.root / "study.json", describe_study(plan, home))
    workspace = Workspace(home, plan.data, device, threads, progress)
    common = {"schema": SCHEMA, "study": study.name, "protocol": study.protocol}
    # 3. running them
    with limited_threads(threads):
        for name in {str(job.data) for job in jobs if job.data}:
            workspace.refresh_summary(name)  # which a report needs
        runner = Runner(workspace, common, progress or _silent)
        runner.run(jobs)
    write_predictions(plan, home)
    settled = {*runner.failed, *runner.done}
    skipped = tuple(job.key for job in jobs if job.key not in settled)
    return StudyRun(home.root, tuple(runner.done), skipped, runner.failed)


def _check_arguments(study: Study, threads: int) -> None:
    if not isinstance(study, Study):
        raise TypeError(
            f"study is of type {type(study).__name__}; expected a Study. A file is read by "
            "load_study(path)."
        )
    check_number("threads", threads, integer=True)


def _silent(line: str) -> None:
    pass
