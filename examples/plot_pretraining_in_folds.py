"""
Pre-training outside and inside cross-validation
================================================

A network that was pre-trained on a large set of structures may have met the crystals that it is
later tested on: without their property, but still. Pre-training within each fold, on the crystals
of that fold alone, rules that out for a network alone. This example shows both, and what each may
claim.
"""

# %%
# Relaxed cells with a formation energy (eV/atom), and a larger set of structures without any
# label. The objective needs none: it learns structural fingerprints of the atoms.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import KFold, cross_val_score

from gnnpre import CGCNN, WACSF, FingerprintTargets, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_frames, make_emt_property

SMALLEST = os.environ.get("GNNPRE_SCALE") == "smallest"
n_labels, n_frames, epochs = (12, 20, 2) if SMALLEST else (100, 500, 20)
structures, y = make_emt_property(n_labels, target="formation_energy", random_state=0)
frames, _ = make_emt_frames(n_frames, random_state=0)
to_graph = StructureToGraph(cutoff=5.0)
graphs, frame_graphs = to_graph.transform(structures), to_graph.transform(frames)

backbone = CGCNN(hidden_channels=48, n_layers=2)
objective = FingerprintTargets(WACSF())
# The network alone: the default would average it with a Gaussian process, some features of which
# come from the force field of the package, and that has learnt from public crystals.
budget = {
    "strategy": "full",
    "max_epochs": 3 * epochs,
    "batch_size": 10,
    "validation_fraction": 0,
    "random_state": 0,
}

# %%
# Outside: one pre-training on everything, the structures that will be tested on included. It may
# claim what holds when the crystals to predict are known beforehand (a database to screen), and
# nothing about crystals that appear later.
outside = Pretrainer(backbone, objective, max_epochs=epochs, random_state=0)
outside.fit(type(graphs).concatenate([frame_graphs, graphs]))

# %%
# Inside: an unfitted pre-trainer, which each ``fit`` clones and fits on its own crystals. With
# ``strategy="full"`` nothing else is learnt from crystals, so it may claim what holds for new ones.
# A ``checkpoint_dir`` makes equal folds pre-train once: the state of a run is named by its crystals
# and parameters, and a run that is over is not repeated.
inside = Pretrainer(
    backbone,
    objective,
    max_epochs=epochs,
    random_state=0,
    checkpoint_dir="pretraining_in_folds",
    resume=True,
)

# %%
# The same folds and the same budget for all three.
models = {
    "scratch": PropertyRegressor(backbone, **budget),
    "pre-trained outside": PropertyRegressor(pretrained=FrozenEstimator(outside), **budget),
    "pre-trained in folds": PropertyRegressor(pretraining=inside, **budget),
}
folds = KFold(3, shuffle=True, random_state=0)
scores = {}
for name, model in models.items():
    found = cross_val_score(model, graphs, y, cv=folds, scoring="neg_mean_absolute_error")
    scores[name] = -1000 * found
    print(f"MAE {name:20s} {scores[name].mean():6.1f} meV/atom")

# %%
# A second search over the fine-tuning would find the pre-training of each fold already done.
fig, ax = plt.subplots(figsize=(6, 3.5))
for row, (name, errors) in enumerate(scores.items()):
    ax.plot(errors, np.full(len(errors), row), "o", label=name)
ax.set(yticks=range(len(scores)), yticklabels=list(scores), xlabel="MAE of each fold (meV/atom)")
fig.tight_layout()
fig.savefig("pretraining_in_folds.png", dpi=150)
plt.show()
