"""Searches and predictions by dask-ml: equal to those of scikit-learn, to the last bit."""

import dask
import numpy as np
import pandas as pd
from dask import dataframe
from dask_ml.model_selection import GridSearchCV
from dask_ml.wrappers import ParallelPostFit
from sklearn import model_selection
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property


def main() -> None:
    """Compare a search in threads, and predictions of the partitions of a table."""
    structures, y = make_emt_property(30, max_atoms=4, random_state=0)
    regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=3, random_state=0)
    pipeline = make_pipeline(StructureToGraph(cutoff=4.0), regressor)
    grid = {"propertyregressor__learning_rate": [1e-3, 3e-3]}
    # dask-ml draws rows from tables and arrays alone.
    table = pd.DataFrame({"structure": structures})
    serial = model_selection.GridSearchCV(pipeline, grid, cv=3).fit(table, y)
    search = GridSearchCV(pipeline, grid, cv=3, scheduler="threads", n_jobs=2).fit(table, y)
    scores = serial.cv_results_["mean_test_score"]
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], scores)
    predicted = search.predict(table)
    np.testing.assert_array_equal(predicted, serial.predict(table))
    # An empty array as an example of predictions: dask-ml would predict rows of zeros otherwise.
    parallel = ParallelPostFit(search.best_estimator_, predict_meta=np.empty(0)).fit(table, y)
    # Structures are not text, into which Dask turns columns of objects.
    with dask.config.set({"dataframe.convert-string": False, "scheduler": "threads"}):
        joined = parallel.predict(dataframe.from_pandas(table, npartitions=3)).compute()
    np.testing.assert_allclose(joined, predicted, rtol=1e-5)
    print("scores and predictions by dask-ml equal those of scikit-learn:", scores)


if __name__ == "__main__":
    main()
