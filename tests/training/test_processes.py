"""Training in several processes: the same weights as in one, errors that reach all, no orphans."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from skorch.callbacks import Callback

from gnnpre import CGCNN, ForceField, Pretrainer
from gnnpre.backbones import Readout
from gnnpre.datasets import write_crystals
from gnnpre.graphs import as_crystals
from gnnpre.objectives import LossTerm, Objective, ObjectiveModel, Targets
from gnnpre.training import ModelSpec, _launch, _load, _ranks, load_checkpoint
from gnnpre.training._ranks import ProcessFailedError, process_timeout
from gnnpre.training._shares import Share, split_by_edges

SCRIPT = Path(__file__).with_name("joint_runs.py")
TRAININGS = (
    *("forces", "batch norm", "denoising", "elements", "views", "fingerprints", "mixture"),
    *("callbacks", "regressor", "classifier", "after errors"),
)


def launched_environment(rank: int, port: int) -> dict[str, str]:
    """Return the variables that torchrun sets for a process."""
    paths = os.pathsep.join(filter(None, sys.path))
    values = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    texts = {name: str(value) for name, value in values.items()}
    return {**os.environ, **texts, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def start_pair(*arguments: str) -> list[subprocess.Popen]:
    """Start a script as two processes of a launcher."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", *arguments]
    return [
        subprocess.Popen(
            command,
            env=launched_environment(rank, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


@pytest.fixture(scope="module")
def joint(tmp_path_factory) -> list[dict]:
    """Results of ``joint_runs.py`` in both processes."""
    folder = tmp_path_factory.mktemp("joint")
    processes = start_pair(str(SCRIPT), str(folder))
    outputs = [process.communicate(timeout=900) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_end_with_the_weights_of_one(joint, name):
    for results in joint:
        assert results[name]["steps"] >= 14
        assert results[name]["weights"] < 1e-8
        assert results[name]["history"] < 1e-8


@pytest.mark.parametrize("name", TRAININGS)
def test_all_processes_end_with_equal_weights(joint, name):
    assert joint[0][name]["sum"] == joint[1][name]["sum"]


def test_all_processes_draw_the_same_seed(joint):
    assert joint[0]["seed"] == joint[1]["seed"]


def test_the_time_ends_a_training_in_all_processes(joint):
    assert joint[0]["timed"] == joint[1]["timed"]
    assert joint[0]["timed"]["epochs"] < 10**6


def test_a_diverging_training_is_an_error_of_all_processes(joint):
    for results in joint:
        assert results["errors"]["diverging"].startswith("FloatingPointError: The training loss")


def test_an_error_of_one_process_reaches_the_other(joint):
    assert joint[1]["errors"]["failing"] == "ArithmeticError: the second process is tired"
    assert joint[0]["errors"]["failing"].endswith(
        "Process 1 of 2 failed with ArithmeticError: the second process is tired"
    )


def test_other_data_in_one_process_are_an_error_of_both(joint):
    for results in joint:
        assert "Process 1 of 2 has other data" in results["errors"]["data"]


def test_another_number_than_the_launcher_started_is_an_error(joint):
    for results in joint:
        assert "n_processes=3, but this script was started as 2" in results["errors"]["number"]


def test_killed_processes_resume_to_the_weights_of_the_uninterrupted_training(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # A process may be killed before the other one has found it.
    environment["GNNPRE_PROCESS_TIMEOUT"] = "30"
    script = Path(__file__).with_name("killed_pair.py")
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path), "4"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    log = json.loads((tmp_path / "log.json").read_text())
    assert log["kills"] >= 2  # of 4, unless the training is over before
    # Whoever survives ends by itself (7), and soon; 0 if it was done already.
    assert all(code in (0, 7, -signal.SIGKILL) for pair in log["codes"] for code in pair), log
    whole, killed = (
        load_checkpoint(tmp_path / f"{name}.gnnpre", "Pretrainer")[0]
        for name in ("whole", "killed")
    )
    for name, value in whole.items():
        torch.testing.assert_close(killed[name], value, rtol=0, atol=1e-8)


def test_a_started_process_ends_with_the_one_that_started_it(tmp_path):
    code = (
        "import os, signal; from gnnpre import *; from gnnpre.datasets import make_emt_frames;"
        "from skorch.callbacks import Callback\n"
        "class Kill(Callback):\n"
        "    def on_epoch_end(self, net, **kwargs):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "structures, _ = make_emt_frames(20, max_atoms=4, random_state=0)\n"
        "Pretrainer(CGCNN(8, 1), ElementMasking(), n_processes=2, callbacks=[Kill()])"
        ".fit(structures)"
    )
    paths = os.pathsep.join(filter(None, sys.path))
    environment = {**os.environ, "PYTHONPATH": paths, "JOBLIB_TEMP_FOLDER": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, timeout=300, check=False
    )
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:  # its last act
        time.sleep(0.1)
    assert not list(tmp_path.iterdir())
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in running.stdout


class Width(Objective):
    """Volume per atom; in a process that was started for the training, ``failure`` happens."""

    needs_labels = False

    def __init__(self, failure: str | None = None):
        self.failure = failure

    def make_targets(self, graphs, y):
        volume = torch.linalg.det(graphs.cell).abs() / graphs.n_atoms
        return Targets(graphs.atom_counts, {"volume": volume})

    def build(self, backbone, layout):
        return WidthModel(backbone, self.failure)

    def collect(self, batches, n_atoms):
        raise NotImplementedError


class WidthModel(ObjectiveModel):
    """The model of :class:`Width`."""

    def __init__(self, backbone, failure):
        super().__init__(backbone)
        self.head = Readout(backbone.out_channels, 1, pooling="mean")
        self.failure = failure if "_worker" in sys.argv[0] else None

    def forward(self, batch):
        if self.failure == "error":
            raise ArithmeticError("no volume today")
        if self.failure == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.failure == "exit":
            os._exit(3)
        return {"volume": self.head(self.backbone(batch).scalars, batch)[:, 0]}

    def losses(self, predictions, targets, batch):
        error = (predictions["volume"] - targets["volume"]).abs()
        return {"volume": LossTerm(error.sum(), error.new_tensor(float(len(error))), 1.0)}


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def children() -> set[int]:
    """Return the processes that this one has started and that still run."""
    lines = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return {int(line.split()[0]) for line in lines if "_worker" in line}


def fit_width(graphs, failure=None, **settings):
    common = {"max_epochs": 3, "batch_size": 5, "random_state": 0, "dtype": "float64"}
    return Pretrainer(CGCNN(8, 1), Width(failure), **{**common, **settings}).fit(graphs)


def weights(estimator) -> dict[str, torch.Tensor]:
    return estimator.net_.module_.state_dict()


@pytest.mark.usefixtures("one_thread")
def test_started_processes_end_with_the_weights_of_one(graphs, tmp_path, monkeypatch):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    threads, excepthook = torch.get_num_threads(), sys.excepthook

    class Nested(Callback):
        """Trains another model meanwhile, as a thread might."""

        def on_epoch_end(self, net, **kwargs):
            assert len(fit_width(graphs, max_epochs=1).history_) == 1
            with pytest.raises(RuntimeError, match="set n_processes=1 here"):
                fit_width(graphs, n_processes=2)

    alone = fit_width(graphs)
    joint = fit_width(graphs, n_processes=2, callbacks=[Nested()])
    for name, value in weights(alone).items():
        torch.testing.assert_close(weights(joint)[name], value, rtol=0, atol=1e-8)
    assert not children()
    assert not list(tmp_path.iterdir())
    assert torch.get_num_threads() == threads
    assert sys.excepthook is excepthook
    assert not torch.distributed.is_initialized()


def test_started_processes_read_crystals_on_disk(frames, tmp_path):
    structures, labels = frames
    store = write_crystals(tmp_path / "store", [(as_crystals(structures), labels)], shard_rows=8)
    settings = {"max_epochs": 2, "batch_size": 5, "random_state": 0, "dtype": "float64"}
    alone, joint = (
        Pretrainer(CGCNN(8, 1), ForceField(), n_processes=n, **settings).fit(store, store.labels)
        for n in (1, 2)
    )
    for name, value in weights(alone).items():
        torch.testing.assert_close(weights(joint)[name], value, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("error", "Process 1 of 2 failed with ArithmeticError: no volume today"),
        ("kill", r"process 1 of 2: signal 9 \(SIGKILL\) ended it.*resume=True"),
        ("exit", "process 1 of 2: it ended with status 3"),
    ],
)
def test_a_started_process_that_fails_ends_the_training(
    graphs, tmp_path, monkeypatch, failure, message
):
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    with pytest.raises(ProcessFailedError, match=message):
        fit_width(graphs, failure, n_processes=2)
    assert not children()
    assert not list(tmp_path.iterdir())


def test_settings_that_cannot_be_are_errors(fit):
    for wrong in (0, -1, 1.5, "many", True):
        with pytest.raises((ValueError, TypeError), match="n_processes"):
            fit(n_processes=wrong)


def test_more_processes_than_processors_are_an_error(fit, monkeypatch):
    monkeypatch.setattr(_launch, "Workers", None)
    with pytest.raises(ValueError, match=r"n_processes=1000000, but this machine has \d+ proc"):
        fit(n_processes=10**6)


def test_auto_starts_no_process_for_a_short_training(fit, monkeypatch):
    monkeypatch.setattr(_launch, "Workers", None)
    fit(n_processes="auto")


def test_shares_are_balanced_and_complete():
    costs = np.random.default_rng(0).integers(1, 400, 64)
    shares = split_by_edges(costs, 4)
    assert sorted(np.concatenate(shares)) == list(range(64))
    loads = [costs[share].sum() for share in shares]
    assert max(loads) < 1.05 * np.mean(loads)


def test_a_batch_smaller_than_the_number_of_processes_is_the_first_ones():
    counts = np.array([5, 6])
    rows = [Share(rank, 3).rows(counts, counts).tolist() for rank in range(3)]
    assert rows == [[0, 1], [], []]


@pytest.mark.parametrize(
    ("n_threads", "epoch", "step", "expected"),
    [(2, 1e4, 1.0, 2), (8, 1e4, 1.0, 8), (8, 1e4, 0.025, 2), (8, 0.1, 1.0, 1), (1, 1e4, 1.0, 1)],
)
def test_auto_shares_threads_among_processes(monkeypatch, n_threads, epoch, step, expected):
    monkeypatch.setattr(_load, "_seconds", lambda work: (epoch, step))
    monkeypatch.setattr(_load, "_differentiates", lambda work: False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: n_threads)
    work = SimpleNamespace(settings=SimpleNamespace(device="cpu", max_epochs=100))
    assert _load.suitable_n_processes(work) == expected


def test_auto_counts_derivatives(monkeypatch, graphs):
    monkeypatch.setattr(_load, "_seconds", lambda work: (1e4, 0.02))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    settings = SimpleNamespace(device="cpu", max_epochs=100)
    counts = []
    for objective in (ForceField(), ForceField(forces=0, stress=0)):
        spec = ModelSpec(CGCNN(8, 1), objective, 4.0, 12.0, {}, "float32")
        counts.append(_load.suitable_n_processes(SimpleNamespace(settings=settings, spec=spec)))
    assert counts == [5, 1]


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan"])
def test_a_timeout_that_cannot_be_is_an_error(monkeypatch, text):
    monkeypatch.setenv("GNNPRE_PROCESS_TIMEOUT", text)
    with pytest.raises(ValueError, match="GNNPRE_PROCESS_TIMEOUT"):
        process_timeout()


@pytest.mark.parametrize(("shortest", "n_threads"), [(1e9, 1), (0.0, 2)])
def test_small_steps_run_in_one_thread(fit, monkeypatch, shortest, n_threads):
    seen = []

    class Threads(Callback):
        def on_batch_begin(self, net, **kwargs):
            seen.append(torch.get_num_threads())

    monkeypatch.setattr(_load, "SHORTEST_THREADED_STEP", shortest)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(callbacks=[Threads()], max_epochs=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {n_threads}


def test_a_process_that_never_appears_is_named(tmp_path):
    code = (
        "from gnnpre import *; from gnnpre.datasets import make_emt_frames;"
        "structures, _ = make_emt_frames(20, max_atoms=4, random_state=0);"
        "Pretrainer(CGCNN(8, 1), ElementMasking(), max_epochs=1).fit(structures)"
    )
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = str(server.getsockname()[1])
    paths = os.pathsep.join(filter(None, sys.path))
    launched = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment = {**os.environ, **launched, "PYTHONPATH": paths, "GNNPRE_PROCESS_TIMEOUT": "2"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    assert "ProcessFailedError: The 2 processes of the launcher did not all appear" in done.stderr


def test_a_process_that_ends_before_it_has_connected_is_named(monkeypatch):
    def lost(*arguments, **keywords):
        raise torch.distributed.DistNetworkError("Connection reset by peer")

    pretended = SimpleNamespace(
        get_rank=lambda: 1,
        get_world_size=lambda: 2,
        new_group=lost,
        distributed_c10d=SimpleNamespace(_get_default_store=lambda: SimpleNamespace(wait=lost)),
    )
    monkeypatch.setattr(_ranks, "dist", pretended)
    with pytest.raises(ProcessFailedError, match=r"Process 1 of 2 lost another one.*reset by peer"):
        _ranks.Ranks()
