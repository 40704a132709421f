"""A fitted regressor in a file of skops, which loads no type that the reader has not listed."""

import numpy as np
import skops.io

from gnnpre import CGCNN, PropertyRegressor
from gnnpre.datasets import make_emt_property

structures, y = make_emt_property(24, max_atoms=4, random_state=0)
regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=2, random_state=0).fit(structures, y)

content = skops.io.dumps(regressor)
# Look at the list before you trust it: it should name gnnpre's own classes and NumPy's.
types = skops.io.get_untrusted_types(data=content)
print(*types, sep="\n")
loaded = skops.io.loads(content, trusted=types)
np.testing.assert_array_equal(loaded.predict(structures), regressor.predict(structures))
