"""Pre-training of a base model with the time that remains; its state comes back, to go on from."""

from typing import Any

from skorch.callbacks import Callback

from gnnpre import (
    EAD,
    FingerprintTargets,
    Pretrainer,
    PropertyTargets,
    StructureToGraph,
    TorchMDNet,
)
from gnnpre.objectives import Mixture

from .job import Job, property_data, read_table


def main(job: Job) -> None:
    """Train until the time limit ends the process: the state of the last epoch is on disk."""
    table = read_table("mp_form_gap_37k.json.gz", job.size(40_000, 24))
    if table is None:
        structures, values, source = property_data(job.size(2000, 24))
    else:
        (structures, values), source = table, "formation energy and gap of the Materials Project"
    graphs = StructureToGraph(5.0, n_jobs=None if job.rehearse else -1).transform(structures)
    job.record("crystals", f"{len(graphs)}, {source}")
    objective = Mixture(
        [("properties", PropertyTargets(), 1.0), ("ead", FingerprintTargets(EAD()), 0.3)]
    )
    pretrainer = Pretrainer(
        TorchMDNet(8, 1) if job.rehearse else TorchMDNet(128, 4),
        objective,
        max_epochs=job.size(60, 2),
        batch_size=job.size(256, 8),
        ema_decay=0.999,
        random_state=0,
        device=job.device,
        checkpoint_dir=str(job.out / "states"),
        resume=True,
        callbacks=[("report", Report(job))],
        verbose=1,
    )
    pretrainer.fit(graphs, values)
    pretrainer.save(job.out / "base.gnnpre")
    job.record("model", "base.gnnpre: the training is complete")


class Report(Callback):
    """Records the losses of each epoch."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        row = net.history[-1]
        names = ("epoch", "train_loss", "valid_loss", "dur")
        self.job.record("last epoch", {name: row[name] for name in names if name in row})
