"""The processes that follow: they compute gradients and losses of their shares of each batch."""

from dataclasses import dataclass

import torch

from ._average import LossTotals
from ._loader import BatchLoader, CrystalDataset, TrainingData
from ._net import CrystalNet
from ._randomness import PrivateRandomness
from ._settings import TrainingSettings
from ._steps import backpropagate, clear_gradients, drawing, evaluate
from ._strategies import unfreeze_all
from ._team import Phase, SharedStep

__all__ = ["Follower"]


@dataclass
class Follower:
    """One process that follows the leader through a training.

    Attributes
    ----------
    net : CrystalNet
        The net, which ends with the weights and the history of the leader's.
    data : TrainingData
        The same data as the leader's.
    settings : TrainingSettings
        The same settings.
    team : SharedStep
        Steps that are shared with the other processes.
    seed : int
        Seed of the training.
    """

    net: CrystalNet
    data: TrainingData
    settings: TrainingSettings
    team: SharedStep
    seed: int

    def run(self) -> None:
        """Follow the leader until it ends the training."""
        while True:
            phase: Phase = self.team.ranks.broadcast()
            self.team.share_state(self.net.module_)
            if phase.task == "end":
                return self._finish(phase)
            if phase.task == "train":
                self._train(phase)
            else:
                self._validate(phase)

    def _train(self, phase: Phase) -> None:
        model, totals = self.net.module_, LossTotals()
        parameters = list(model.parameters())
        self.team.trainable, self.team.may_end_early = phase.trainable, phase.may_end_early
        for parameter, is_trained in zip(parameters, phase.trainable, strict=True):
            parameter.requires_grad_(is_trained)
        model.train()
        if phase.freeze:
            model.backbone.eval()
        # Masks of dropout differ from process to process, and are the same after a resume.
        seed = hash((self.seed, self.team.ranks.rank, phase.epoch)) % 2**31
        randomness = PrivateRandomness(seed, self.data.train.graphs.device)
        context = drawing(phase.draws, randomness)
        loader = self._loader(self.data.train, phase)
        for number, batch in enumerate(loader):
            with self.team.batch(loader.sizes[number]):
                if not self.team.share_weights(model, parameters):
                    break
                if batch is None:
                    continue
                clear_gradients(parameters)
                with context:
                    loss, _ = backpropagate(model, batch, parameters, totals, self.team)
                if phase.reports:
                    self.team.reported_loss(loss)
                self.team.collect_gradients(parameters)
        self.team.add_totals(totals)

    def _validate(self, phase: Phase) -> None:
        model, totals = self.net.module_, LossTotals()
        dataset = self.data.valid
        assert dataset is not None  # the leader validates on the same data
        model.eval()
        loader = self._loader(dataset, phase)
        with torch.no_grad():
            for number, batch in enumerate(loader):
                if batch is None:
                    continue
                with self.team.batch(loader.sizes[number]):
                    terms, _ = evaluate(model, batch)
                    totals.add(terms)
                    if phase.reports:
                        self.team.reported_loss(self.team.loss(terms, step=False))
        self.team.add_totals(totals)

    def _finish(self, phase: Phase) -> None:
        """Leave the net as the leader's is."""
        assert phase.result is not None  # of the last phase
        self.net.history[:] = phase.result["history"]
        self.net.checkpoints_ = phase.result["checkpoints"]
        unfreeze_all(self.net.module_, self.settings)

    def _loader(self, dataset: CrystalDataset, phase: Phase) -> BatchLoader:
        generator = None
        if phase.task == "train":
            assert phase.random_state is not None
            generator = torch.Generator()
            generator.set_state(phase.random_state)
        return BatchLoader(
            dataset,
            self.net.module_,
            batch_size=self.settings.batch_size,
            max_edges=self.settings.max_edges,
            dtype=next(self.net.module_.parameters()).dtype,
            generator=generator,
            share=self.team.share,
        )
