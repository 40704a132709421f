"""Press Ctrl-C at random moments: is the state usable, and is nothing left behind?

    python benchmarks/interrupts.py [--moments 10] [--seed 0] [--only fit ...]

Each case runs in a process of its own, with a folder of its own, and gets SIGINT after a random
part of the time that it takes undisturbed. It passes if KeyboardInterrupt comes, the estimator
predicts (where an epoch was done), no child process lives on, and the folder holds no temporary
file. Moments that come after the end of the work are counted apart. The script forks after its
imports, so that a moment takes a second or two.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import psutil
from sklearn.model_selection import cross_val_score

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor
from gnnpre.calculators import relax_structures
from gnnpre.cli import main as main_of_cli
from gnnpre.datasets import make_emt_frames, make_emt_property, open_crystals, write_crystals
from gnnpre.exceptions import GnnpreWarning
from gnnpre.graphs import Crystals
from gnnpre.model_selection import PruningSearchCV
from gnnpre.study import DataSet, Network, Strategy, Study, run_study

STRUCTURES, Y = make_emt_property(60, max_atoms=4, random_state=0)
FRAMES, LABELS = make_emt_frames(30, random_state=0)
FORCE_FIELD = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=1, random_state=0)
PASSED, LATE = 0, 3


def regressor(**parameters) -> PropertyRegressor:
    return PropertyRegressor(CGCNN(8, 1), random_state=0, **parameters)


def fit() -> None:
    model = regressor(max_epochs=60, checkpoint_dir="states")
    try:
        model.fit(STRUCTURES, Y)
    finally:
        _check_fitted(model)


def two_processes() -> None:
    model = regressor(max_epochs=60, n_processes=2)
    try:
        model.fit(STRUCTURES, Y)
    finally:
        _check_fitted(model)


def store() -> None:
    if not Path("store").exists():
        write_crystals("store", [(Crystals.from_structures(STRUCTURES), {"modulus": Y})])
    crystals = open_crystals("store", n_threads=2)
    model = regressor(max_epochs=40, checkpoint_dir="states")
    try:
        model.fit(crystals, crystals.info["modulus"])
    finally:
        _check_fitted(model)


def written_store() -> None:
    crystals = Crystals.from_structures(STRUCTURES)
    batches = [(crystals[k : k + 1], {"modulus": Y[k : k + 1]}) for k in range(len(Y))]
    try:
        write_crystals("store", batches, shard_rows=1)
    except KeyboardInterrupt:
        # A second call goes on with the files that are missing.
        assert len(write_crystals("store", batches, shard_rows=1)) == len(Y)
        raise


def _check_fitted(model: PropertyRegressor) -> None:
    if hasattr(model, "net_"):
        assert len(model.history_) >= 1
        assert len(model.predict(STRUCTURES[:3])) == 3


def cross_validation() -> None:
    cross_val_score(regressor(max_epochs=20), STRUCTURES, Y, cv=3)


def parallel_cross_validation() -> None:
    cross_val_score(regressor(max_epochs=20), STRUCTURES, Y, cv=3, n_jobs=2)


def search() -> None:
    def space(trial):
        return {"learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-2)}

    settings = {"cv": 2, "n_trials": 4, "random_state": 0, "study_name": "s"}
    model = PruningSearchCV(
        regressor(max_epochs=10), space, storage="sqlite:///search.db", **settings
    )
    try:
        model.fit(STRUCTURES, Y)
    except KeyboardInterrupt:
        # A second search goes on with the trials that are done.
        model.fit(STRUCTURES, Y)
        raise


def study() -> None:
    rows = [[crystal.as_dict(), float(value)] for crystal, value in zip(STRUCTURES, Y, strict=True)]
    table = {"index": list(range(len(Y))), "columns": ["structure", "K"], "data": rows}
    Path("alloys.json").write_text(json.dumps(table, default=float))
    declared = Study(
        name="alloys",
        data=[DataSet(name="alloys", path="alloys.json", unit="GPa")],
        backbones=[Network(name="cgcnn", backbone=CGCNN(8, 1))],
        strategies=[Strategy(name="scratch")],
        baselines=["mean"],
        seeds=[1, 2, 3],
        finetuning={"max_epochs": 20},
    )
    try:
        run_study(declared, "results", device="cpu")
    except KeyboardInterrupt:
        # A second run does the jobs that are open.
        assert not run_study(declared, "results", device="cpu").failed
        raise


def relaxation() -> None:
    # Few steps at a time: this potential has learnt too little to be followed far.
    for _ in range(15):
        relaxed = relax_structures(FRAMES, FORCE_FIELD, max_steps=10, relax_cell=False)
        assert len(relaxed.crystals) == len(FRAMES)


def command_line() -> None:
    rows = []
    for number, (crystal, value) in enumerate(zip(STRUCTURES[:20], Y, strict=False)):
        crystal.to(f"{number}.cif")
        rows.append(f"{number}.cif,{value}")
    Path("labels.csv").write_text("\n".join(["file,modulus", *rows]))
    network = ["--backbone", "cgcnn", "--hidden-channels", "8", "--n-layers", "1"]
    sizes = ["--cv", "3", "--max-epochs", "40", "--n-jobs", "2", "--output", "out"]
    code = main_of_cli(["train", "labels.csv", "--target", "modulus", *network, *sizes])
    if code == 130:
        raise KeyboardInterrupt
    assert code == 0
    assert Path("out/model.gnnpre").exists()


CASES: dict[str, Callable[[], None]] = {
    "fit": fit,
    "fit n_processes=2": two_processes,
    "fit store": store,
    "write_crystals": written_store,
    "cross_val_score": cross_validation,
    "cross_val_score n_jobs=2": parallel_cross_validation,
    "PruningSearchCV": search,
    "study": study,
    "relaxation": relaxation,
    "gnnpre train --n-jobs 2": command_line,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore", GnnpreWarning)
    FORCE_FIELD.fit(FRAMES, LABELS)
    rng = random.Random(arguments.seed)
    n_failed = 0
    for name in arguments.only:
        start = time.monotonic()
        if run(CASES[name], None) != LATE:
            print(f"{name}: fails undisturbed")
            n_failed += 1
            continue
        whole = time.monotonic() - start
        outcomes = Counter(
            run(CASES[name], rng.uniform(0, whole)) for _ in range(arguments.moments)
        )
        failed = arguments.moments - outcomes[PASSED] - outcomes[LATE]
        n_failed += failed
        print(
            f"{name}: {outcomes[PASSED]} interrupted, {outcomes[LATE]} ended before, "
            f"{failed} failed (undisturbed {whole:.1f} s)",
            flush=True,
        )
    return 1 if n_failed else 0


def run(case: Callable[[], None], delay: float | None) -> int:
    """Run a case in a forked process, press Ctrl-C after a delay, and return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        child = os.fork()
        if child == 0:
            os._exit(_child(case, folder))
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGINT)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        temporary = [path for path in Path(folder).rglob("*") if _is_temporary(path)]
        if temporary:
            print(f"left behind: {[path.name for path in temporary]}")
            return 1
        return status


def _child(case: Callable[[], None], folder: str) -> int:
    os.chdir(folder)
    # A process in the background ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with open("output.txt", "w") as file, redirect_stdout(file), redirect_stderr(file):
            case()
    except KeyboardInterrupt:
        status = PASSED
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        return 1
    else:
        status = LATE
    # A Ctrl-C that comes after the end would hit the following lines, which are not the case's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # joblib keeps idle workers for the next call, and ends them with the process.
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)
    alive = psutil.Process().children(recursive=True)
    alive = [p for p in alive if p.is_running() and "resource_tracker" not in " ".join(p.cmdline())]
    if alive:
        os.write(2, f"processes live on: {alive}\n".encode())
        return 1
    return status


def _is_temporary(path: Path) -> bool:
    """Return whether a file is one that an atomic write has left behind."""
    if path.name == ".lock":  # of a store: it stays, for the next writer to lock
        return False
    return path.is_file() and (path.name.startswith(".") or path.suffix in (".tmp", ".new"))


if __name__ == "__main__":
    sys.exit(main())
