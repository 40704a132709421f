"""
Real crystals: forces of 3,500 frames, then two properties
==========================================================

Pre-train on frames of density-functional calculations, fine-tune on MatBench's ``jdft2d`` and
``phonons`` over their five official folds, and compare with training from scratch at the same
budget. The data are not part of the package: ``GNNPRE_DATA`` names a folder with
``upstream/*.extxyz.gz`` (the benchmark files of MatterSim), ``downstream/jdft2d.json.gz`` and
``downstream/phonons.json.gz`` (MatBench).

``GNNPRE_SCALE`` sets the size: ``smallest`` (seconds), ``small`` (minutes, the default), ``full``
(an hour on one core).
"""

# %%
# Settings by scale: files of frames, frames, epochs of pre-training and of fine-tuning, structures,
# folds.
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GroupShuffleSplit, KFold, cross_val_predict
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, ForceField, Pretrainer, PropertyRegressor, StructureToGraph
from gnnpre.datasets import filter_frames, read_frames, read_matbench

DATA = Path(os.environ["GNNPRE_DATA"])
SCALE = os.environ.get("GNNPRE_SCALE", "small")
n_files, n_frames, pretraining_epochs, epochs, n_structures, n_folds = {
    "smallest": (1, 60, 1, 2, 30, 2),
    "small": (None, 1000, 5, 20, 600, 5),
    "full": (None, None, 40, 100, None, 5),
}[SCALE]
started = time.perf_counter()

# %%
# Frames with forces up to 20 eV/Å and stress up to 100 GPa. All frames of one composition are
# either for training or for testing: several come from one relaxation.
files = sorted(DATA.glob("upstream/*.extxyz.gz"))[:n_files]
frames, labels = filter_frames(*read_frames(files))
chosen = np.random.default_rng(0).permutation(len(frames))[:n_frames]
frames, labels = [frames[i] for i in chosen], labels[chosen]
groups = labels.groups("formula")
train, test = next(
    GroupShuffleSplit(n_splits=1, test_size=0.1, random_state=0).split(frames, groups=groups)
)
to_graph = StructureToGraph(cutoff=5.0)
graphs = to_graph.transform(frames)
print(f"{len(train)} frames to train on, {len(test)} to test on: {graphs}")

# %%
# Pre-training. Small batches: a step costs what its edges cost, and many steps learn more.
pretrainer = Pretrainer(
    CGCNN(hidden_channels=64, n_layers=3),
    ForceField(energy=5, forces=10, stress=20),
    max_epochs=pretraining_epochs,
    batch_size=4,
    learning_rate=4e-3,
    ema_decay=0.99,
    random_state=0,
    checkpoint_dir="real_crystals_state",
    resume=True,
    verbose=1,
)
pretrainer.fit(graphs[train], labels[train], groups=groups[train])
pretrainer.save("real_crystals.gnnpre")
pretraining_minutes = (time.perf_counter() - started) / 60

# %%
# Errors on frames whose compositions were never seen, beside the trivial predictions: forces of
# zero, and energies of the elements alone.
held_out, predicted = labels[test], pretrainer.predict(graphs[test])
references = pretrainer.net_.module_.reference_energies.numpy()
atoms = np.split(graphs[test].atomic_numbers.numpy(), held_out.offsets[1:-1])
trivial_energy = np.array([references[numbers - 1].sum() for numbers in atoms])


def energy_error(energy):
    return np.abs((energy - held_out.energy) / held_out.n_atoms).mean()


rows = [
    (
        "forces (eV/Å)",
        np.abs(held_out.forces).mean(),
        np.abs(predicted.forces - held_out.forces).mean(),
    ),
    ("energy (eV/atom)", energy_error(trivial_energy), energy_error(predicted.energy)),
    (
        "stress (eV/Å^3)",
        np.nanmean(np.abs(held_out.stress)),
        np.nanmean(np.abs(predicted.stress - held_out.stress)),
    ),
]
table = ["| held-out frames | trivial MAE | MAE | part |", "|---|---|---|---|"]
table += [f"| {name} | {a:.4f} | {b:.4f} | {100 * b / a:.0f} % |" for name, a, b in rows]

# %%
# Fine-tuning over the official folds, from scratch and from the file saved above. With
# ``strategy="full"`` both are a network alone; the default would add a kernel machine, which also
# uses embeddings of the force field of the package, to the pre-trained one.
folds = KFold(n_folds, shuffle=True, random_state=18012019)
budget = {
    "strategy": "full",
    "max_epochs": epochs,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "ema_decay": 0.99,
    "validation_fraction": 0,
    "random_state": 0,
}
regressors = {
    "scratch": PropertyRegressor(CGCNN(hidden_channels=64, n_layers=3), **budget),
    "pre-trained": PropertyRegressor(pretrained="real_crystals.gnnpre", **budget),
}


def compare(structures, y):
    """Predict each crystal by models that were trained on the other folds, and by their mean."""
    predictions = {"mean": np.empty(len(y))}
    for a, b in folds.split(y):
        predictions["mean"][b] = y[a].mean()
    for name, regressor in regressors.items():
        model = make_pipeline(to_graph, regressor)
        predictions[name] = cross_val_predict(model, structures, y, cv=folds)
    return predictions


fig, axes = plt.subplots(1, 2, figsize=(9, 4.5))
for ax, name, unit in zip(axes, ("jdft2d", "phonons"), ("meV/atom", "1/cm"), strict=True):
    structures, y = read_matbench(DATA / f"downstream/{name}.json.gz")
    structures, y = structures[:n_structures], np.asarray(y)[:n_structures]
    table += ["", f"| {name}, {epochs} epochs | MAE ({unit}) | folds |", "|---|---|---|"]
    for model, values in compare(structures, y).items():
        errors = [mean_absolute_error(y[b], values[b]) for _, b in folds.split(y)]
        each = ", ".join(f"{error:.1f}" for error in errors)
        table.append(f"| {model} | {np.mean(errors):.2f} | {each} |")
        if model != "mean":
            ax.plot(y, values, "o", ms=3, label=model)
    ax.axline((y.mean(), y.mean()), slope=1, color="grey", lw=1)
    ax.set(xlabel=f"{name} ({unit})", ylabel=f"predicted ({unit})")
    ax.legend()

# %%
# The table, and the parity of both models on the held-out folds.
minutes = (time.perf_counter() - started) / 60
table += ["", f"Pre-training took {pretraining_minutes:.1f} of {minutes:.1f} minutes ({SCALE})."]
Path("real_crystals.md").write_text("\n".join(table) + "\n", encoding="utf-8")
print("\n".join(table))
fig.tight_layout()
fig.savefig("real_crystals_parity.png", dpi=150)
plt.show()
