"""
Fingerprints as features
========================

Structural fingerprints describe the neighbours of each atom by numbers that no rotation changes.
Networks can be pre-trained on them; pooled over the atoms of a crystal they are also a table, which
any regressor takes. Here three of them predict a property, alone and side by side.
"""

# %%
# Relaxed cells of seven metals, and their bulk moduli (GPa), computed on the spot.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gnnpre import EAD, GMP, WACSF
from gnnpre.datasets import make_emt_property

SMALLEST = os.environ.get("GNNPRE_SCALE") == "smallest"
structures, y = make_emt_property(20 if SMALLEST else 300, random_state=0)

# %%
# Without pooling a fingerprint gives an array for each crystal, a row for each atom.
print(EAD().transform(structures[:3])[0].shape)

# %%
# Pooled it gives one row for each crystal, with named columns.
table = WACSF(pooling="mean").set_output(transform="pandas").fit_transform(structures)
print(table.iloc[:3, :4].round(2))

# %%
# Mean, variance and third cumulant over the atoms say more than the mean: which environments occur
# beside each other. Each can be a step of a pipeline; as they learn nothing from data, computing
# them once before cross-validation gives away nothing, and saves time.
features = {
    "EAD": EAD(pooling="cumulants").fit_transform(structures),
    "wACSF": WACSF(pooling="cumulants").fit_transform(structures),
    "GMP": GMP(pooling="cumulants").fit_transform(structures),
}
features["all"] = np.hstack(list(features.values()))
ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13)))
folds = KFold(5, shuffle=True, random_state=0)
predictions = {name: cross_val_predict(ridge, X, y, cv=folds) for name, X in features.items()}

# %%
# Errors in cross-validation, beside that of the mean.
print(f"MAE {'mean':6s} {np.abs(y - y.mean()).mean():6.2f} GPa")
fig, ax = plt.subplots(figsize=(4.5, 4.5))
for name, values in predictions.items():
    error = np.abs(values - y).mean()
    print(f"MAE {name:6s} {error:6.2f} GPa")
    ax.plot(y, values, "o", ms=3, label=f"{name}: {error:.2f} GPa")
ax.axline((y.mean(), y.mean()), slope=1, color="grey", lw=1)
ax.set(xlabel="bulk modulus (GPa)", ylabel="predicted (GPa)")
ax.legend()
fig.tight_layout()
fig.savefig("fingerprints_parity.png", dpi=150)
plt.show()
