"""
Search hyper-parameters, and stop bad trials early
==================================================

Tuning by cross-validation multiplies the cost of a training by folds and by trials. Most trials
show in their first epochs that they will not win. ``PruningSearchCV`` reports each epoch of each
fold to an Optuna study, which ends those; otherwise it is used like ``GridSearchCV``.

With ``GNNPRE_DATA``, a folder with ``downstream/jdft2d.json.gz`` (MatBench), the property is the
exfoliation energy of two-dimensional crystals; without, bulk moduli of random alloys, made here.
"""

# %%
# Data: structures and one number each. The last fifth is for the end.
import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from optuna.exceptions import ExperimentalWarning
from optuna.visualization.matplotlib import (
    plot_intermediate_values,
    plot_optimization_history,
    plot_param_importances,
)
from sklearn.metrics import mean_absolute_error
from sklearn.pipeline import make_pipeline

from gnnpre import CGCNN, PropertyRegressor, StructureToGraph
from gnnpre.datasets import make_emt_property, read_matbench
from gnnpre.model_selection import PruningSearchCV, suggest_params

SMALLEST = os.environ.get("GNNPRE_SCALE") == "smallest"
n_structures, n_trials, n_folds, epochs = (40, 5, 2, 4) if SMALLEST else (600, 20, 3, 20)

if folder := os.environ.get("GNNPRE_DATA"):
    structures, y = read_matbench(Path(folder) / "downstream/jdft2d.json.gz")
    name, unit = "exfoliation energy", "meV/atom"
else:
    structures, y = make_emt_property(n_structures, random_state=0)
    name, unit = "bulk modulus", "GPa"
chosen = np.random.default_rng(0).permutation(len(structures))[:n_structures]
structures, y = [structures[i] for i in chosen], np.asarray(y)[chosen]
n_train = 4 * n_structures // 5
train, test = slice(0, n_train), slice(n_train, None)

# %%
# A pipeline, and the space that ``suggest_params`` knows for all of it: the cutoff of the graphs,
# the width and depth of the network, learning rate, batch size, weight decay, layers of the
# readout. For a space of one's own, a dict of ``optuna.distributions`` by parameter name.
pipeline = make_pipeline(
    StructureToGraph(cutoff=5.0),
    PropertyRegressor(
        CGCNN(hidden_channels=32, n_layers=2),
        max_epochs=epochs,
        validation_fraction=0.15,
        random_state=0,
    ),
)
print(f"parameters to choose from: {len(pipeline.get_params())}")


def space(trial):
    return suggest_params(pipeline, trial)


# %%
# The search. The study is in a file: a killed search goes on from there when this is run again,
# and ``n_jobs=2``, or the same script on a second machine, shares the trials.
search = PruningSearchCV(
    pipeline,
    space,
    cv=n_folds,
    n_trials=n_trials,
    scoring="neg_mean_absolute_error",
    storage="sqlite:///pruning_search.db",
    study_name=f"{name}, {n_structures} structures",
    random_state=0,
)
search.fit(structures[train], y[train])

# %%
# What it found, what it spent, and how the best parameters do on crystals it has not seen.
states = search.cv_results_["state"].tolist()
spent = sum(len(trial.intermediate_values) for trial in search.study_.trials)
print(f"{states.count('COMPLETE')} trials scored, {states.count('PRUNED')} pruned")
print(f"epochs: {spent} of {len(states) * n_folds * epochs}")
print(f"best score {search.best_score_:.3f} {unit}")
for parameter, value in search.best_params_.items():
    print(f"    {parameter}: {value}")
error = mean_absolute_error(y[test], search.predict(structures[test]))
print(f"MAE of the {name} on {len(y[test])} other crystals: {error:.1f} {unit}")

# %%
# Optuna's own plots take the study: the best score so far, each trial's reports over folds and
# epochs (pruned ones end early), and which parameters mattered.
#
# To browse the study while it runs: ``pip install optuna-dashboard``, then
# ``optuna-dashboard sqlite:///pruning_search.db`` in the folder of the file.
warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's word for these plots
plot_optimization_history(search.study_).figure.savefig("pruning_search_history.png", dpi=150)
ax = plot_intermediate_values(search.study_)
ax.set(xlabel="fold * max_epochs + epoch", ylabel="minus the validation loss")
ax.legend().set_visible(False)
ax.figure.savefig("pruning_search_epochs.png", dpi=150)
plot_param_importances(search.study_).figure.savefig("pruning_search_importances.png", dpi=150)
plt.show()
