"""States on disk that are damaged, of another type, or cannot be written."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from sklearn.base import clone

from gnnpre import _atomic
from gnnpre._storage import load_tensors, save_tensors
from gnnpre.exceptions import StorageWarning
from gnnpre.training import _resume
from training.resuming import assert_same_weights, crash, fit_counting, make_estimator, weights


@pytest.fixture
def data(graphs, labels):
    return graphs, labels


@pytest.fixture
def estimator(tmp_path):
    return make_estimator(tmp_path)


def test_stale_partial_files_are_harmless(estimator, data):
    crash(estimator, data)
    (state,) = Path(estimator.checkpoint_dir).iterdir()
    stale = _atomic._temporary_path(state, "0" * 12, "new")
    if os.fork() == 0:
        _atomic._temporary_path(state, "0" * 12, "new").write_bytes(b"half")
        os._exit(0)
    os.wait()
    assert len(list(state.parent.iterdir())) == 2
    stale.write_bytes(b"of a run in this process")
    assert fit_counting(estimator, data)[1] == 3
    assert set(state.parent.iterdir()) == {state, stale}


def test_a_damaged_state_is_an_error_that_names_the_file(estimator, data):
    crash(estimator, data)
    (state,) = Path(estimator.checkpoint_dir).iterdir()
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(ValueError, match=rf"{state.name}.*truncated"):
        clone(estimator).fit(*data)


def test_states_hold_no_pickle_and_are_read_without_running_anything(estimator, data):
    crash(estimator, data)
    (state,) = Path(estimator.checkpoint_dir).iterdir()
    tensors, header = load_tensors(state, kind="training state")
    assert len(header["history"]) == 3
    assert all(isinstance(value, torch.Tensor) for value in tensors.values())
    save_tensors(state, tensors, kind="something else", metadata=header)
    with pytest.raises(ValueError, match=r"holds 'something else'.*expected 'training state'"):
        clone(estimator).fit(*data)


@pytest.mark.parametrize("damage", ["flip", "cut", "tensor", "value"])
def test_damaged_states_say_which_file_to_delete(estimator, data, damage):
    crash(estimator, data)
    (state,) = Path(estimator.checkpoint_dir).iterdir()
    content = bytearray(state.read_bytes())
    if damage in ("flip", "cut"):
        content[-9] ^= 1
        state.write_bytes(content if damage == "flip" else content[:-9])
    else:  # written by somebody else, with a right checksum
        tensors, values = load_tensors(state, kind="training state")
        del (tensors if damage == "tensor" else values)[
            "random.loader" if damage == "tensor" else "rate"
        ]
        save_tensors(state, tensors, kind="training state", metadata=values)
    with pytest.raises(ValueError, match=rf"Delete '.*{state.name}', or set resume=False"):
        clone(estimator).fit(*data)
    assert fit_counting(estimator, data, resume=False)[1] == 6


@pytest.mark.parametrize("name", ["model_draws", "n_earlier", "stopped", "seconds"])
@pytest.mark.parametrize("value", [{"a": 1}, -1, float("nan"), "1", None])
def test_values_of_another_type_are_refused(estimator, data, name, value):
    crash(estimator, data)
    (state,) = Path(estimator.checkpoint_dir).iterdir()
    tensors, values = load_tensors(state, kind="training state")
    values[name] = _resume._to_json(value)
    save_tensors(state, tensors, kind="training state", metadata=values)
    with pytest.raises(ValueError, match=rf"Delete '.*{state.name}', or set resume=False"):
        clone(estimator).fit(*data)


def test_threads_that_share_a_folder_end_alike(estimator, data):
    alone = weights(clone(estimator).set_params(checkpoint_dir=None, resume=False).fit(*data))
    estimator.set_params(checkpoint_epochs=(2, 4))
    with ThreadPoolExecutor(4) as pool:
        fitted = list(pool.map(lambda _: clone(estimator).fit(*data), range(4)))
    for model in fitted:
        assert_same_weights(weights(model), alone)
        assert list(model.checkpoints_) == [2, 4]
    folder = Path(estimator.checkpoint_dir)
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]
    assert fit_counting(estimator, data)[1] == 0


def test_a_state_that_cannot_be_written_ends_no_training(estimator, data, monkeypatch):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(_resume, "save_tensors", full)
    with pytest.warns(StorageWarning, match="epoch 1 could not be written.*No space left"):
        model = clone(estimator).fit(*data)
    assert len(model.history_) == 6


@pytest.mark.parametrize("damage", ["additional", "missing", "shape", "nan"])
def test_best_weights_of_another_model_are_refused(estimator, data, damage):
    crash(estimator, data)
    (state,) = Path(estimator.checkpoint_dir).iterdir()
    tensors, values = load_tensors(state, kind="training state")
    name = next(name for name in tensors if name.startswith("best.") and tensors[name].ndim)
    tensors = dict(tensors)
    if damage == "missing":
        del tensors[name]
    elif damage == "additional":
        tensors["best.further"] = tensors[name].clone()
    elif damage == "shape":
        tensors[name] = tensors[name][:-1].clone()
    else:
        tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_tensors(state, tensors, kind="training state", metadata=values)
    with pytest.raises(ValueError, match=rf"best weights .*Delete '.*{state.name}'"):
        clone(estimator).fit(*data)
