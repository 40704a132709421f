"""
Pre-train on forces, fine-tune on a property
============================================

Labels of a property are few; frames with forces are many. A network that first learns forces
needs fewer of the labels. Everything here is made on the spot with a simple potential (effective
medium theory for seven metals), so nothing is downloaded.
"""

# %%
# Frames of random alloys with energy, forces and stress; and, for other compositions, relaxed
# cells with their formation energy (eV/atom). Fifty labels are for training, the rest for testing.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import mean_absolute_error
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_frames, make_emt_property

SMALLEST = os.environ.get("GNNPRE_SCALE") == "smallest"
n_frames, n_labels, n_test, epochs = (40, 10, 5, 2) if SMALLEST else (1000, 50, 150, 30)

frames, labels = make_emt_frames(n_frames, random_state=0)
structures, y = make_emt_property(n_labels + n_test, target="formation_energy", random_state=0)
train, test = slice(0, n_labels), slice(n_labels, None)

# %%
# Pre-training: structures become graphs, graphs train a network on energy, forces and stress.
pretraining = make_pipeline(
    StructureToGraph(cutoff=5.0),
    Pretrainer(
        CGCNN(hidden_channels=48, n_layers=2),
        ForceField(energy=1, forces=1, stress=10),
        max_epochs=epochs,
        random_state=0,
        verbose=1,
    ),
)
pretraining.fit(frames, labels, pretrainer__groups=labels.groups("group"))
print(f"validation force error: {pretraining[-1].history_[-1]['valid_forces']:.3f} eV/Å")

# %%
# Fine-tuning, from scratch and from the pre-trained weights, with the same budget. A fitted
# pre-trainer goes in frozen, so that ``clone`` keeps its weights. ``strategy="full"`` trains the
# network alone, so that both differ in their first weights only; the default would average the
# pre-trained one with a Gaussian process on its embeddings, the composition, a fingerprint and
# embeddings of the force field of the package.
budget = {
    "strategy": "full",
    "max_epochs": 4 * epochs,
    "batch_size": 10,
    "validation_fraction": 0,
    "random_state": 0,
}
regressors = {
    "scratch": PropertyRegressor(CGCNN(hidden_channels=48, n_layers=2), **budget),
    "pre-trained": PropertyRegressor(pretrained=FrozenEstimator(pretraining[-1]), **budget),
}
predictions = {"mean of the labels": np.full(n_test, y[train].mean())}
for name, regressor in regressors.items():
    model = make_pipeline(StructureToGraph(cutoff=5.0), regressor)
    predictions[name] = model.fit(structures[train], y[train]).predict(structures[test])

# %%
# Mean absolute errors on the test cells, and a parity plot.
errors = {name: mean_absolute_error(y[test], values) for name, values in predictions.items()}
for name, error in errors.items():
    print(f"MAE {name:20s} {1000 * error:6.1f} meV/atom")

fig, ax = plt.subplots(figsize=(4.5, 4.5))
for name in regressors:
    ax.plot(
        y[test], predictions[name], "o", ms=4, label=f"{name}: {1000 * errors[name]:.0f} meV/atom"
    )
ax.axline((y.mean(), y.mean()), slope=1, color="grey", lw=1)
ax.set(
    xlabel="formation energy (eV/atom)", ylabel="predicted (eV/atom)", title=f"{n_labels} labels"
)
ax.legend()
fig.tight_layout()
fig.savefig("quickstart_parity.png", dpi=150)
plt.show()
