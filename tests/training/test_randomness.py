"""``random_state`` decides alone: in threads, beside other draws, under another default dtype."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from gnnpre import CGCNN, Denoising, ForceField, Pretrainer, PropertyRegressor, TorchMDNet
from gnnpre.training._randomness import PrivateRandomness, SkipRandomFills, default_float32
from training.killed_runs import NoisyVolume  # dropout and noise

CPU = torch.device("cpu")


def estimators():
    common = {"max_epochs": 3, "batch_size": 5, "random_state": 4}
    return {
        "scratch": PropertyRegressor(CGCNN(8, 1), **common),
        "torchmdnet": PropertyRegressor(TorchMDNet(8, 1), **common),
        "layerwise": PropertyRegressor(
            pretraining=Pretrainer(CGCNN(8, 2), Denoising(), **common),
            strategy="layerwise",
            **common,
        ),
        "noise": Pretrainer(CGCNN(8, 1), Denoising(), **common),
        "dropout": Pretrainer(CGCNN(8, 1), NoisyVolume(), **common),
    }


def weights_of(name, graphs, labels):
    estimator = estimators()[name]
    y = labels.energy if isinstance(estimator, PropertyRegressor) else labels
    state = estimator.fit(graphs, y).net_.module_.state_dict()
    return torch.cat([value.reshape(-1).double() for value in state.values()])


@pytest.mark.parametrize("name", estimators())
def test_threads_train_to_the_bits_of_a_fit_alone(graphs, labels, name):
    alone = weights_of(name, graphs, labels)
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the state that must not change
    torch_state = torch.get_rng_state()
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda _: weights_of(name, graphs, labels), range(6)))
    assert all(torch.equal(alone, weights) for weights in together)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", ["scratch", "dropout"])
def test_draws_of_others_change_nothing(graphs, labels, name):
    alone = weights_of(name, graphs, labels)
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            torch.rand(10)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        beside = weights_of(name, graphs, labels)
    finally:
        stop.set()
        thread.join()
    assert torch.equal(alone, beside)


@pytest.mark.parametrize("name", ["scratch", "torchmdnet", "noise"])
def test_the_default_dtype_changes_nothing(graphs, labels, name):
    single = weights_of(name, graphs, labels)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(weights_of(name, graphs, labels), single)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def draw_everything():
    torch.nn.init.kaiming_uniform_(weight := torch.empty(3, 3))
    drawn = [weight, torch.rand(3), torch.randn(2), torch.randperm(5), torch.randint(9, (4,))]
    drawn += [torch.rand_like(torch.ones(2)), torch.normal(0.0, 1.0, (3,))]
    drawn += [nn.functional.dropout(torch.ones(8)), torch.bernoulli(torch.full((5,), 0.5))]
    return [
        *drawn,
        nn.functional.rrelu(-torch.ones(3), training=True),
        torch.ones(3).exponential_(),
    ]


def test_private_numbers_are_those_of_a_seeded_global_generator():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        expected = draw_everything()
    before = torch.get_rng_state()
    with PrivateRandomness(11, CPU) as randomness:
        drawn = draw_everything()
    assert torch.equal(before, torch.get_rng_state())
    assert randomness.was_used
    for one, two in zip(drawn, expected, strict=True):
        assert torch.equal(one, two)


def test_states_of_the_generators_are_restored():
    randomness, other = PrivateRandomness(1, CPU), PrivateRandomness(2, CPU)
    with randomness:
        torch.rand(5)
    other.load_state_dict(randomness.state_dict())
    with randomness:
        one = torch.rand(5)
    with other:
        two = torch.rand(5)
    assert torch.equal(one, two)


def test_operations_without_chance_draw_nothing():
    with PrivateRandomness(1, CPU) as randomness:
        torch.ones(3) @ torch.ones(3)
    assert not randomness.was_used


def test_models_whose_weights_are_loaded_are_built_without_drawing():
    before = torch.get_rng_state()
    with SkipRandomFills():
        nn.Linear(3, 3)
        torch.randn(3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "context",
    [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu")],
    ids=["inference_mode", "no_grad", "autocast"],
)
def test_modes_of_the_caller_change_nothing(frames, context, tmp_path):
    def fit_and_predict():
        model = Pretrainer(CGCNN(8, 1), ForceField(), max_epochs=2, random_state=0)
        model.fit(*frames).save(tmp_path / "model.gnnpre")
        loaded = pickle.loads(pickle.dumps(Pretrainer.load(tmp_path / "model.gnnpre")))
        return loaded.predict(frames[0])

    expected = fit_and_predict()
    with context():
        inside = fit_and_predict()
    assert np.array_equal(expected.energy, inside.energy)
    assert np.array_equal(expected.forces, inside.forces)


def test_threads_build_in_float32_whatever_the_default_of_the_caller():
    entered, may_leave, seen = threading.Event(), threading.Event(), []

    def build_slowly():
        with default_float32():
            entered.set()
            may_leave.wait(10)

    def build_after():
        with default_float32():
            slow.join(10)
            seen.append(torch.get_default_dtype())

    torch.set_default_dtype(torch.float64)
    try:
        slow = threading.Thread(target=build_slowly)
        slow.start()
        entered.wait(10)
        second = threading.Thread(target=build_after)
        second.start()
        second.join(0.1)  # it waits, or has seen the first thread's float32
        may_leave.set()
        second.join(10)
        assert seen == [torch.float32]
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
