"""Folds and searches on workers of Dask: equal to those of one process, to the last bit."""

import joblib
import numpy as np
from dask.distributed import Client
from sklearn.model_selection import GridSearchCV, cross_val_score

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property


def main() -> None:
    """Compare a local cluster of threads with a serial run."""
    structures, y = make_emt_property(30, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).fit_transform(structures)
    regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=3, random_state=0)
    grid = GridSearchCV(regressor, {"learning_rate": [1e-3, 3e-3]}, cv=3)
    scores = cross_val_score(regressor, graphs, y, cv=3)
    serial = grid.fit(graphs, y).cv_results_["mean_test_score"]
    cluster = {"processes": False, "n_workers": 1, "threads_per_worker": 2}
    with Client(**cluster, dashboard_address=None), joblib.parallel_backend("dask"):
        np.testing.assert_array_equal(cross_val_score(regressor, graphs, y, cv=3), scores)
        parallel = grid.fit(graphs, y).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(parallel, serial)
    print("scores on Dask equal those of one process:", parallel)


if __name__ == "__main__":
    main()
