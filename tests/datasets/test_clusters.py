"""Workers of a Dask or Ray cluster write a store, and train."""

import functools

import joblib
import numpy as np
import pytest
from joblib.parallel import ThreadingBackend
from sklearn.model_selection import cross_val_score

from gnnpre import CGCNN, Crystals, PropertyRegressor
from gnnpre.datasets import make_emt_frames, read_parquet, to_parquet, write_crystals

N = 24


@pytest.fixture(scope="module")
def frames():
    structures, labels = make_emt_frames(N, random_state=0)
    return Crystals.from_structures(structures), labels


@pytest.fixture(scope="module")
def dask_cluster():
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    )
    with cluster, distributed.Client(cluster) as client:
        yield client


@pytest.fixture(scope="module")
def ray_cluster():
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from ray.util.joblib import register_ray

    ray.init(num_cpus=2, include_dashboard=False)
    register_ray()
    yield
    ray.shutdown()


def check_that_workers_write(folder, frames, backend):
    crystals, labels = frames
    expected = write_crystals(folder / "here", batches_of(crystals, labels), shard_rows=6)
    with joblib.parallel_config(backend, n_jobs=2):
        store = write_crystals(folder / "there", batches_of(crystals, labels), shard_rows=6)
    assert store.digest == expected.digest
    assert len(list(store.folder.glob("*.parquet"))) == N // 6


def batches_of(crystals, labels):
    return [(crystals[k : k + 6], labels[k : k + 6]) for k in range(0, N, 6)]


def test_workers_of_dask_write_a_store(tmp_path, frames, dask_cluster):
    check_that_workers_write(tmp_path, frames, "dask")
    crystals, labels = frames
    paths = [tmp_path / f"{k}.parquet" for k in range(2)]
    for k, path in enumerate(paths):
        to_parquet(path, crystals[12 * k : 12 * k + 12], labels[12 * k : 12 * k + 12])
    readers = [functools.partial(read_parquet, path) for path in paths]
    with joblib.parallel_config("dask"):
        store = write_crystals(tmp_path / "read", readers, n_jobs=2)
    np.testing.assert_array_equal(store.load().positions, crystals.positions)


def test_workers_of_dask_train_on_a_store(tmp_path, frames, dask_cluster):
    store = write_crystals(tmp_path, [frames])
    y = frames[1].energy / frames[1].n_atoms
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0, device="cpu")
    expected = cross_val_score(model, store, y, cv=2)
    with joblib.parallel_config("dask", n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(model, store, y, cv=2), expected)


def test_workers_of_ray_write_a_store(tmp_path, frames, ray_cluster):
    check_that_workers_write(tmp_path, frames, "ray")


def test_workers_of_ray_train_on_a_store(tmp_path, frames, ray_cluster):
    store = write_crystals(tmp_path, [frames])
    y = frames[1].energy / frames[1].n_atoms
    model = PropertyRegressor(CGCNN(8, 1), max_epochs=1, random_state=0, device="cpu")
    expected = cross_val_score(model, store, y, cv=2)
    with joblib.parallel_config("ray", n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(model, store, y, cv=2), expected)


def test_workers_that_return_lists_alone(tmp_path, frames, monkeypatch):
    # As Ray's do, without Ray.
    monkeypatch.setattr(ThreadingBackend, "supports_return_generator", False)
    check_that_workers_write(tmp_path, frames, "threading")
