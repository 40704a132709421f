"""Trainings that keep epochs, in processes that are killed, for test_checkpoint_epochs.py.

``python killed_epochs.py FOLDER`` trains in peace into FOLDER/whole, and with kills into
FOLDER/killed; FOLDER/log.json tells what was there after each kill.
"""

import json
import os
import sys
from pathlib import Path

import torch

from gnnpre import CGCNN, ForceField, Pretrainer, StructureToGraph
from gnnpre.datasets import make_emt_frames
from training.killed_runs import die_while_writing, ended

EPOCHS = (2, 3, 6)
# Files in the order in which they are written: state 1, epoch 2, state 2, epoch 3, state 3, ...
DEATHS = [(0.5, 2), (0.5, 2), (1.0, 3), (0.5, 3), (0.5, 3)]


def fit(X, labels, folder, before=lambda: None):
    """Fit in a process of its own; give its id."""
    if child := os.fork():
        return child
    before()
    pretrainer = Pretrainer(
        CGCNN(8, 1, batch_norm=True),
        ForceField(),
        max_epochs=7,
        batch_size=4,
        learning_rate=0.02,
        ema_decay=0.9,
        validation_fraction=0.3,
        random_state=3,
        checkpoint_dir=str(folder),
        checkpoint_epochs=EPOCHS,
        resume=True,
    )
    kept = pretrainer.fit(X, labels).checkpoints_
    folder.with_suffix(".json").write_text(json.dumps(kept))
    os._exit(0)


def main(folder):
    """Train once in peace, and once with kills."""
    torch.set_num_threads(1)
    structures, labels = make_emt_frames(24, max_atoms=4, random_state=0)
    graphs = StructureToGraph(cutoff=4.0).transform(structures)
    assert ended(fit(graphs, labels, folder / "whole"))
    log = []
    for death in DEATHS:
        assert not ended(fit(graphs, labels, folder / "killed", die_while_writing(*death)))
        log.append(sorted(path.name for path in (folder / "killed").glob("*/*")))
    assert ended(fit(graphs, labels, folder / "killed"))
    (folder / "log.json").write_text(json.dumps(log))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
