"""
A score to report: nested cross-validation over compositions
============================================================

Polymorphs and relaxation frames of one composition resemble each other, and a random split puts
them on both sides. And a score that parameters were chosen by is too good to report. Here the
outer folds hold compositions that no model has seen, the inner folds choose parameters on what is
left, and the score of the outer folds is the one to report.
"""

# %%
# Frames of random alloys, several of each composition. The property to learn is the energy per
# atom (eV); any other will do.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnpre import EAD
from gnnpre.datasets import make_emt_frames
from gnnpre.model_selection import CompositionKFold, structure_groups

SMALLEST = os.environ.get("GNNPRE_SCALE") == "smallest"
structures, labels = make_emt_frames(40 if SMALLEST else 400, max_atoms=4, random_state=0)
y = labels.energy / labels.n_atoms
groups = structure_groups(structures, by="composition")
print(f"{len(structures)} structures of {len(set(groups))} compositions")

# %%
# The model goes from raw structures to predictions; the inner search has folds of compositions
# too. A network instead of the ridge takes the same place: ``PropertyRegressor`` with
# ``regressor__learning_rate`` in the grid, or ``PruningSearchCV``.
model = make_pipeline(EAD(pooling="mean"), StandardScaler(), Ridge())
grid = {"ead__L": [0, 1, 2], "ridge__alpha": [1e-3, 1e-1, 10.0]}
inner = CompositionKFold(3, shuffle=True, random_state=0)
search = GridSearchCV(model, grid, cv=inner, scoring="neg_mean_absolute_error")

# %%
# The outer folds: once over compositions, and once at random for comparison.
outer = {
    "compositions": CompositionKFold(5, shuffle=True, random_state=0),
    "random": KFold(5, shuffle=True, random_state=0),
}
errors = {}
for name, folds in outer.items():
    result = cross_validate(
        search,
        structures,
        y,
        cv=folds,
        scoring="neg_mean_absolute_error",
        return_estimator=True,
    )
    errors[name] = -1000 * result["test_score"]
    chosen = [fitted.best_params_ for fitted in result["estimator"]]
    print(f"MAE {name:12s} {errors[name].mean():6.1f} +- {errors[name].std():.1f} meV/atom")
    print("    chosen L:", [params["ead__L"] for params in chosen])

# %%
# Report the first; the second tells how much of it is memory.
fig, ax = plt.subplots(figsize=(5, 3.5))
ax.boxplot(list(errors.values()), tick_labels=list(errors))
ax.set(ylabel="MAE of the outer folds (meV/atom)", ylim=(0, None))
ax.axhline(1000 * np.abs(y - y.mean()).mean(), color="grey", ls=":", label="mean")
ax.legend()
fig.tight_layout()
fig.savefig("nested_cv.png", dpi=150)
plt.show()
