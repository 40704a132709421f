"""
Does pre-training pay? A study
==============================

One split and one seed say little. A study declares data sets, networks, strategies and seeds; it
runs them all with the same budget and care, beside baselines without a network; each result is a
record with its seed, split, versions and commit, and the tables come with intervals. Kill it
whenever you like: the next call goes on.

From the command line the same is a TOML file: ``gnnpre study run study.toml --folder
runs --report``; with ``--estimate`` it first says how many core-hours that takes.
"""

# %%
# A data set of one's own, in MatBench's format: structures and a bulk modulus (GPa). Known ones
# (``"jdft2d"``, ``"phonons"``, ...) go by name.
import os
from pathlib import Path

import pandas as pd

from gnnpre import CGCNN, EAD, FingerprintTargets, StructureToGraph
from gnnpre.datasets import make_emt_property
from gnnpre.study import DataSet, Network, Pretraining, Strategy, Study, run_study, write_report

SMALLEST = os.environ.get("GNNPRE_SCALE") == "smallest"


def write_matbench(path, structures, **columns):
    """Write structures and their properties as MatBench does."""
    table = pd.DataFrame({"structure": [s.as_dict() for s in structures], **columns})
    table.to_json(path, orient="split")


labelled, moduli = make_emt_property(40 if SMALLEST else 150, random_state=0)
write_matbench("moduli.json", labelled, K=moduli)
unlabelled, _ = make_emt_property(60 if SMALLEST else 600, random_state=1)
write_matbench("unlabelled.json", unlabelled, number=range(len(unlabelled)))

# %%
# The study: a network from scratch, and pre-trained on fingerprints, which need no labels.
study = Study(
    name="Fingerprints first",
    data=[DataSet(name="moduli", path="moduli.json", target="K", unit="GPa")],
    backbones=[Network(name="cgcnn", backbone=CGCNN(16, 2))],
    graphs=StructureToGraph(cutoff=4.5),
    pretrainings=[
        Pretraining(
            name="ead",
            objective=FingerprintTargets(EAD()),
            sources=["unlabelled.json"],
            settings={"max_epochs": 2 if SMALLEST else 20},
        )
    ],
    strategies=[Strategy(name="scratch"), Strategy(name="ead", pretraining="ead")],
    seeds=[111, 222] if SMALLEST else [111, 222, 333],
    finetuning={"max_epochs": 2 if SMALLEST else 40, "batch_size": 8},
    baselines=["mean", "ridge_composition", "ridge_fingerprint"],
)

# %%
# Run it. Everything lies in one folder; a second call finds nothing left to do.
done = run_study(study, "runs", progress=print)
again = run_study(study, "runs")
print(f"jobs done: {len(done.done)}, and then {len(again.done)}")

# %%
# The report, as Markdown and as one page with plots that needs no network.
for path in write_report("runs"):
    print(path)
print(Path("runs/report.md").read_text(encoding="utf-8")[:1500])
