"""Conformal intervals of MAPIE around a regressor and sets of classes around a classifier."""

import numpy as np
from mapie.classification import SplitConformalClassifier
from mapie.regression import CrossConformalRegressor, SplitConformalRegressor

from gnnpre import CGCNN, PropertyClassifier, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property

structures, y = make_emt_property(60, max_atoms=4, random_state=0)
graphs = StructureToGraph(cutoff=4.0).fit_transform(structures)
train, calibration, test = slice(0, 30), slice(30, 50), slice(50, 60)

regressor = PropertyRegressor(CGCNN(8, 1), max_epochs=3, random_state=0)
split = SplitConformalRegressor(regressor, confidence_level=0.8, prefit=False)
split.fit(graphs[train], y[train]).conformalize(graphs[calibration], y[calibration])
predicted, intervals = split.predict_interval(graphs[test])
assert (intervals[:, 0, 0] <= predicted).all()
print("covered:", np.mean((intervals[:, 0, 0] <= y[test]) & (y[test] <= intervals[:, 1, 0])))

cross = CrossConformalRegressor(regressor, confidence_level=0.8, cv=3)
cross.fit_conformalize(graphs[:50], y[:50])
print("width of cross-conformal intervals:", np.ptp(cross.predict_interval(graphs[test])[1]))

classifier = PropertyClassifier(CGCNN(8, 1), max_epochs=3, random_state=0)
sets = SplitConformalClassifier(classifier, confidence_level=0.8, prefit=False)
hard = y > np.median(y)
sets.fit(graphs[train], hard[train]).conformalize(graphs[calibration], hard[calibration])
print("classes per set:", sets.predict_set(graphs[test])[1].sum(axis=1).mean())
