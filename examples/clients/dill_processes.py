"""A fitted regressor through dill and cloudpickle, as multiprocess and Dask send it."""

import cloudpickle
import dill
import numpy as np

from gnnpre import CGCNN, PropertyRegressor
from gnnpre.datasets import make_emt_property

structures, y = make_emt_property(24, max_atoms=4, random_state=0)
regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=2, random_state=0).fit(structures, y)


def predict(rows):
    """Predict in another process; the model travels with the function."""
    return regressor.predict(rows)


expected = regressor.predict(structures)
for library in (dill, cloudpickle):
    loaded = library.loads(library.dumps(regressor))
    np.testing.assert_array_equal(loaded.predict(structures), expected)
    function = library.loads(library.dumps(predict))
    np.testing.assert_array_equal(function(structures), expected)
    print(f"{library.__name__} {library.__version__}: equal predictions")
