"""Rare classes: resampling of crystals, and of a table of fingerprints."""

import numpy as np
import pandas as pd
from imblearn.ensemble import BalancedBaggingClassifier
from imblearn.over_sampling import SMOTE, RandomOverSampler
from imblearn.pipeline import make_pipeline
from sklearn.linear_model import LogisticRegression

from gnnpre import CGCNN, EAD, PropertyClassifier, StructureToGraph
from gnnpre.datasets import make_emt_property

structures, y = make_emt_property(48, max_atoms=4, random_state=0)
rare = np.where(y > np.quantile(y, 0.75), "hard", "soft")
# Samplers draw rows of a table: structures as its one column.
table = pd.DataFrame({"structure": structures})

classifier = PropertyClassifier(CGCNN(8, 1), max_epochs=2, random_state=0)
resampled = make_pipeline(
    RandomOverSampler(random_state=0), StructureToGraph(cutoff=4.0), classifier
).fit(table, rare)
print("resampled crystals:", resampled.score(table, rare))

bagging = BalancedBaggingClassifier(classifier, n_estimators=2, random_state=0).fit(table, rare)
print("balanced bagging:", bagging.score(table, rare))

# SMOTE computes means of rows, so that it comes behind the fingerprint.
smote = make_pipeline(
    EAD(pooling="mean"), SMOTE(k_neighbors=3, random_state=0), LogisticRegression(max_iter=500)
).fit(structures, rare)
print("SMOTE on fingerprints:", smote.score(structures, rare))
