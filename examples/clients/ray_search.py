"""Folds, searches and stores by workers of Ray: equal to those of one process, to the last bit."""

import tempfile
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import ray
from ray.util.joblib import register_ray
from sklearn.model_selection import GridSearchCV, cross_val_score

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property, read_parquet, to_parquet, write_crystals


def main() -> None:
    """Compare a local Ray with a serial run."""
    structures, y = make_emt_property(30, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).fit_transform(structures)
    regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=3, random_state=0, device="cpu")
    grid = GridSearchCV(regressor, {"learning_rate": [1e-3, 3e-3]}, cv=3)
    scores = cross_val_score(regressor, graphs, y, cv=3)
    serial = grid.fit(graphs, y).cv_results_["mean_test_score"]
    ray.init(num_cpus=2, include_dashboard=False)  # or ray.init(address="auto") on a cluster
    register_ray()
    with joblib.parallel_config("ray", n_jobs=2), tempfile.TemporaryDirectory() as folder:
        np.testing.assert_array_equal(cross_val_score(regressor, graphs, y, cv=3), scores)
        parallel = grid.fit(graphs, y).cv_results_["mean_test_score"]
        write_store(Path(folder), structures, y)
    ray.shutdown()
    np.testing.assert_array_equal(parallel, serial)
    print("scores on Ray equal those of one process:", parallel)


def write_store(folder: Path, structures: list, y: np.ndarray) -> None:
    """Write a store from two files, each of which a worker reads."""
    paths = [folder / "first.parquet", folder / "second.parquet"]
    for path, rows in zip(paths, (slice(0, 15), slice(15, 30)), strict=True):
        to_parquet(path, structures[rows], targets={"modulus": y[rows]})
    store = write_crystals(folder / "store", [partial(read_parquet, p, "modulus") for p in paths])
    np.testing.assert_array_equal(store.info["modulus"], y)


if __name__ == "__main__":
    main()
