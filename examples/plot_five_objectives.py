"""
Five objectives of pre-training, one network
============================================

What should a network learn before it sees the few labels of a property? Here the same small CGCNN
is pre-trained five times on the same crystals: on energies, forces and stresses; by finding the way
back from noise; on two kinds of structural fingerprints; and on a mixture. Then each is fine-tuned
with the same labels, and its error on other crystals is followed epoch by epoch. Everything is made
on the spot with a simple potential, so nothing is downloaded.
"""

# %%
# Frames to pre-train on, and relaxed cells of other compositions with a formation energy
# (eV/atom). The graphs are built once, as all networks take the same.
import os

import matplotlib.pyplot as plt
import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import PredefinedSplit

from gnnpre import (
    CGCNN,
    EAD,
    WACSF,
    Denoising,
    FingerprintTargets,
    ForceField,
    Mixture,
    Pretrainer,
    PropertyRegressor,
    StructureToGraph,
)
from gnnpre.datasets import make_emt_frames, make_emt_property

SMALLEST = os.environ.get("GNNPRE_SCALE") == "smallest"
n_frames, n_labels, n_test, epochs = (24, 8, 6, 2) if SMALLEST else (600, 50, 150, 15)

frames, labels = make_emt_frames(n_frames, random_state=0)
structures, y = make_emt_property(n_labels + n_test, target="formation_energy", random_state=0)
to_graph = StructureToGraph(cutoff=5.0)
frame_graphs, graphs = to_graph.transform(frames), to_graph.transform(structures)

# %%
# Only the first objective and the mixture look at the labels of the frames.
forces, noise, ead = ForceField(stress=10), Denoising(noise=0.1), FingerprintTargets(EAD())
objectives = {
    "forces": forces,
    "denoising": noise,
    "EAD": ead,
    "wACSF": FingerprintTargets(WACSF()),
    "mixture": Mixture([("forces", forces, 1.0), ("noise", noise, 0.3), ("ead", ead, 0.3)]),
}
backbone = CGCNN(hidden_channels=48, n_layers=2)
pretrained = {}
for name, objective in objectives.items():
    pretrainer = Pretrainer(
        backbone, objective, max_epochs=epochs, validation_fraction=0, random_state=0
    )
    pretrained[name] = pretrainer.fit(frame_graphs, labels if objective.needs_labels else None)
    print(f"pre-trained on {name}: {pretrainer.history_[-1]['dur'] * epochs:.0f} s")

# %%
# Fine-tuning from each, and from scratch. The test cells are the validation set here, only to
# follow the error: nothing is stopped, kept or chosen by it.
follow = PredefinedSplit(np.repeat([-1, 0], [n_labels, n_test]))
budget = {
    "max_epochs": 6 * epochs,
    "batch_size": 10,
    "validation_fraction": follow,
    "restore_best": False,
    "random_state": 0,
}
regressors = {"scratch": PropertyRegressor(backbone, **budget)} | {
    name: PropertyRegressor(pretrained=FrozenEstimator(pretrainer), **budget)
    for name, pretrainer in pretrained.items()
}
# The loss is in units of the spread of the labels.
spread = 1000 * y[:n_labels].std()
curves = {}
for name, regressor in regressors.items():
    history = regressor.fit(graphs, y).history_
    curves[name] = [spread * row["valid_properties"] for row in history]
    print(f"MAE {name:10s} {curves[name][-1]:6.1f} meV/atom")

# %%
# The curves: what each objective gives at the start, and what is left of it at the end.
fig, ax = plt.subplots(figsize=(6, 4.5))
for name, curve in curves.items():
    style = {"color": "black", "ls": "--"} if name == "scratch" else {}
    ax.plot(range(1, len(curve) + 1), curve, label=name, **style)
ax.set(
    xlabel="epoch of fine-tuning",
    ylabel="MAE of the formation energy (meV/atom)",
    yscale="log",
    title=f"{n_labels} labels",
)
ax.legend(title="pre-trained on")
fig.tight_layout()
fig.savefig("five_objectives.png", dpi=150)
plt.show()
