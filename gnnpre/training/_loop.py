"""The training loop: epochs of steps and of validation, all of it on one explicit state."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from skorch.exceptions import SkorchException
from skorch.utils import TeeGenerator
from torch import Tensor

from gnnpre._warnings import TrainingWarning, warn_user
from gnnpre.graphs import CrystalBatch

from ._average import LossTotals
from ._batch_reports import begin_batch, end_batch, read_losses, sees_batches
from ._callbacks import check_monitors, recall_best_scores
from ._epochs import EpochCheckpoints
from ._graphed_steps import GraphedSteps
from ._interrupt import CtrlC
from ._loader import BatchLoader, TrainingData
from ._memory import with_half_batches
from ._net import CrystalNet
from ._outcome import finish, judge_epoch, record_losses
from ._progress import Progress
from ._resume import StateFile
from ._settings import TrainingSettings
from ._state import TrainingState
from ._steps import (
    backpropagate,
    clear_gradients,
    clip_gradients,
    drawing,
    drawn_batches,
    evaluate,
)
from ._strategies import set_trainable
from ._team import Alone, Phase
from ._time_limit import TimeLimit, seconds_of

__all__ = ["TrainingLoop"]

_Batch = tuple[CrystalBatch, dict[str, Tensor]]


@dataclass
class TrainingLoop:
    """One training: the objects that stay the same while :class:`TrainingState` changes.

    Attributes
    ----------
    net : CrystalNet
        The net that the user's callbacks see.
    data : TrainingData
        Crystals and targets to train on and to validate on.
    settings : TrainingSettings
        The user's settings; batches become smaller where memory does not suffice.
    ctrl_c : CtrlC
        Whether the user has pressed Ctrl-C.
    state_file : StateFile or None
        File to resume from.
    epoch_checkpoints : EpochCheckpoints or None
        Writer of the models of chosen epochs.
    limit : TimeLimit
        The user's ``max_time``.
    team : Alone or Leader
        The processes that share the batches.
    is_halved : bool
        Whether the batches have been halved for want of memory.
    is_warned : bool
        Whether the user knows that no label counts in the validation.
    graphs : GraphedSteps or None
        Steps that the GPU has recorded, under ``compile="cuda_graphs"``.
    """

    net: CrystalNet
    data: TrainingData
    settings: TrainingSettings
    ctrl_c: CtrlC
    state_file: StateFile | None = None
    epoch_checkpoints: EpochCheckpoints | None = None
    limit: TimeLimit = field(default_factory=lambda: TimeLimit(None))
    team: Alone = field(default_factory=Alone)
    is_halved: bool = False
    is_warned: bool = False
    graphs: GraphedSteps | None = None

    def run(self, state: TrainingState) -> None:
        """Train until the last epoch, until it no longer helps, or until a callback stops it."""
        settings = self.settings
        self._begin(state)
        self.limit = TimeLimit(seconds_of(settings.max_time), spent=state.seconds)
        progress = Progress(settings.verbose, settings.max_epochs, state, self.limit)
        try:
            while state.epoch < settings.max_epochs and not (state.stopped or state.diverged):
                # A resumed training may stand at its end already, so this comes before the epoch.
                patience = settings.patience if state.validates else None
                if state.best.has_stalled(state.epoch, patience):
                    break
                self._run_epoch_in_memory(state, progress)
        # Ctrl-C keeps the best weights so far.
        except KeyboardInterrupt:
            finish(state, self.net, self.settings)
            raise
        finally:
            progress.close()
        finish(state, self.net, self.settings)
        result = {"history": list(self.net.history), "checkpoints": self.net.checkpoints_}
        self.team.begin(Phase("end", result=result), state.model)
        self.net.notify("on_train_end", X=self.data.train.graphs, y=self.data.train.labels)

    def _epochs_done(self, state: TrainingState) -> float:
        """Return how far the training is, in epochs: by the clock where ``max_time`` is shorter."""
        return max(state.epoch, self.limit.used() * self.settings.max_epochs)

    def _begin(self, state: TrainingState) -> None:
        """Start the callbacks, and restore the state of an interrupted run."""
        net = self.net
        net.notify("on_train_begin", X=self.data.train.graphs, y=self.data.train.labels)
        # A callback (LoadInitState) may have loaded an earlier training: this one comes on top.
        state.history, state.n_earlier = net.history, len(net.history)
        if self.state_file is None or not self.settings.resume:
            return
        if self.state_file.load(state, net.callbacks_, self.settings.max_epochs):
            if self.epoch_checkpoints is not None:
                self.epoch_checkpoints.resume(state)
            net.checkpoints_ = state.checkpoints
            recall_best_scores(net, self.data.train)

    def _run_epoch_in_memory(self, state: TrainingState, progress: Progress) -> None:
        """Run an epoch; where a GPU has too little memory, halve the batches, once."""
        while True:
            try:
                return self._run_epoch(state, progress)
            except torch.cuda.OutOfMemoryError as error:
                may_halve = not self.is_halved and type(self.team) is Alone
                self.settings = with_half_batches(self.settings, self.data, error, may_halve)
                self.is_halved = True
                self.graphs = None
            # Not in the block above: the error holds on to the tensors of the step.
            torch.cuda.empty_cache()
            state.history.pop()  # the epoch begins anew, with the weights of its steps so far

    def _run_epoch(self, state: TrainingState, progress: Progress) -> None:
        net, data = self.net, self.data
        start = time.perf_counter()
        datasets = {"dataset_train": data.train, "dataset_valid": data.valid}
        # 1. begin
        freeze = set_trainable(state.model, self.settings, self._epochs_done(state))
        net.notify("on_epoch_begin", **datasets)  # the net begins a row of the history
        # 2. train and validate
        self._train_epoch(state, freeze)
        if data.valid is not None:
            self._validate(state)
        read_losses(state.history)
        state.history.record("dur", time.perf_counter() - start)
        state.seconds += state.history[-1]["dur"]
        # 3. judge
        judge_epoch(state)
        if state.diverged:
            return
        # 4. save, after the user's callbacks, so that the state has all of the epoch
        if self.epoch_checkpoints is not None:
            self.epoch_checkpoints.save(state)
            net.checkpoints_ = state.checkpoints
        self._notify_epoch_end(state, datasets)
        progress.update(state)  # with the columns that callbacks have recorded
        if self.state_file is not None:
            self.state_file.save(state, net.callbacks_)

    def _notify_epoch_end(self, state: TrainingState, datasets: dict[str, Any]) -> None:
        """Call the user's callbacks; skorch's stop a training by raising KeyboardInterrupt."""
        try:
            # They keep, and score, the weights that the validation has judged.
            with state.evaluation_weights():
                self.net.notify("on_epoch_end", **datasets)
        except KeyboardInterrupt:
            if self.ctrl_c.pressed:
                raise
            state.stopped = True
        except (KeyError, SkorchException):
            check_monitors(self.net)
            raise

    def _train_epoch(self, state: TrainingState, freeze: bool) -> None:
        net, parameters = self.net, list(state.model.parameters())
        self.team.begin(self._phase("train", state, parameters, freeze), state.model)
        loader, totals = self._loader(state, training=True), LossTotals()
        self._prepare_graphs(state)
        state.model.train()
        for number, batch in enumerate(drawn_batches(loader, state), start=1):
            progress = (state.epoch - 1 + number / loader.n_batches) / self.settings.max_epochs
            # A schedule comes to its end with the time, whichever ends first.
            state.rate.before_step(state.optimizer, max(progress, self.limit.used()))
            begin_batch(net, batch, training=True)
            if not state.model.training:  # a callback has predicted
                state.model.train()
            if freeze:  # statistics of batch norm belong to the frozen backbone
                state.model.backbone.eval()
            with self.team.batch(loader.sizes[number - 1]):
                loss, predictions = self._step(state, batch, parameters, totals)
            end_batch(net, batch, loss, predictions, training=True)
            if self.limit.is_over():  # an epoch may take hours: it ends where it is
                state.stopped = True
                if number < loader.n_batches:
                    self.team.end_early()
                break
        self.team.add_totals(totals)
        record_losses(state.history, "train", totals, number)

    def _step(
        self,
        state: TrainingState,
        batch: _Batch,
        parameters: list[torch.nn.Parameter],
        totals: LossTotals,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Make one step of the optimizer on a batch."""
        # The first step has shown whether the model draws random numbers of its own.
        if self.graphs is not None and state.model_draws is not None:
            outcome = self.graphs.run(batch)
            if outcome is not None:
                loss, terms = outcome
                totals.add(terms)
                return loss, {}  # predictions are for callbacks, of which none looks at batches
        # 1. loss and gradient
        self.team.share_weights(state.model, parameters)
        clear_gradients(parameters)
        with drawing(state.model_draws, state.randomness):
            loss, predictions = backpropagate(state.model, batch, parameters, totals, self.team)
        if state.model_draws is None:
            state.model_draws = state.randomness.was_used
        reported = self.team.reported_loss(loss) if self.net.callbacks_ else loss
        # 2. all of the gradient, clipped
        self.team.collect_gradients(parameters)
        if self.settings.gradient_clip is not None:
            clip_gradients(parameters, self.settings.gradient_clip)
        if self.net.callbacks_:
            named = TeeGenerator(self.net.get_all_learnable_params())
            self.net.notify("on_grad_computed", named_parameters=named, batch=batch, training=True)
        # 3. step
        state.optimizer.step()
        if state.average is not None:
            state.average.update()
        return reported, predictions

    def _prepare_graphs(self, state: TrainingState) -> None:
        """Have steps recorded where the user asks for it."""
        if self.settings.compile != "cuda_graphs" or self.graphs is not None:
            return
        reason = None
        if type(self.team) is not Alone:
            reason = "several processes share the batches"
        elif sees_batches(self.net):
            reason = "a callback looks at single batches"
        self.graphs = GraphedSteps(state, self.settings.gradient_clip, reason)

    def _validate(self, state: TrainingState) -> None:
        start = time.perf_counter()
        loader, totals = self._loader(state, training=False), LossTotals()
        with torch.no_grad(), state.evaluation_weights():
            self.team.begin(self._phase("validate", state), state.model)
            for number, batch in enumerate(loader):
                begin_batch(self.net, batch, training=False)
                state.model.eval()
                with self.team.batch(loader.sizes[number]):
                    terms, predictions = evaluate(state.model, batch)
                    totals.add(terms)
                    if self.net.callbacks_:
                        loss = self.team.reported_loss(self.team.loss(terms, step=False))
                        end_batch(self.net, batch, loss, predictions, training=False)
        self.team.add_totals(totals)
        # A loss of zero, where no label counts, would make the first epoch the best.
        if totals.is_empty:
            self._warn_of_no_validation(len(loader.dataset))
        else:
            record_losses(state.history, "valid", totals, loader.n_batches)
        self.limit.validation = time.perf_counter() - start

    def _warn_of_no_validation(self, n: int) -> None:
        """Warn, once, that no label of the n validation crystals counts."""
        if self.is_warned:
            return
        self.is_warned = True
        warn_user(
            f"None of the {n} crystals held out for validation has a label that counts, with a "
            "weight above zero: there is no validation loss, and the training ends with the "
            "weights of its last epoch. Hold out other crystals, or set validation_fraction=0.",
            TrainingWarning,
        )

    def _phase(
        self,
        task: str,
        state: TrainingState,
        parameters: Sequence[torch.nn.Parameter] = (),
        freeze: bool = False,
    ) -> Phase:
        """Describe the next phase to the processes that take part in it."""
        return Phase(
            task,
            epoch=state.epoch,
            random_state=state.generator.get_state(),
            freeze=freeze,
            trainable=tuple(parameter.requires_grad for parameter in parameters),
            draws=state.model_draws,
            reports=bool(self.net.callbacks_),
            may_end_early=self.limit.seconds is not None,
        )

    def _loader(self, state: TrainingState, training: bool) -> BatchLoader:
        dataset = self.data.train if training else self.data.valid
        assert dataset is not None  # there is no validation without
        return BatchLoader(
            dataset,
            state.model,
            batch_size=self.settings.batch_size,
            max_edges=self.settings.max_edges,
            dtype=next(state.model.parameters()).dtype,
            generator=state.generator if training else None,
            share=self.team.share,
        )
