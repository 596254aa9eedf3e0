"""Training in stages, as the original does it (its train.py), in a loop that can be interrupted anywhere and resumed.

Every stage starts from the best weights of the stage before with a fresh optimizer and a smaller learning rate, and
ends when the validation loss no longer falls. A checkpoint at every epoch's end, and every few minutes within one,
contains all state that determines what follows: a resumed run takes exactly the steps of an uninterrupted one.
"""

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samplecnn import model_files
from samplecnn.errors import SampleCNNError
from samplecnn.evaluation import Scores
from samplecnn.hardware import dtype, random_state, tuned
from samplecnn.models import SampleCNN
from samplecnn.processes import ONE, Processes
from samplecnn.shards import Segments
from samplecnn.shards.identity import BuildRecord
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.progress import Progress
from samplecnn.training.averaging import Average, scored_weights, set_norm_update
from samplecnn.training.checkpoint import Checkpoint, RunState, Weights, after_disk_error, resume_call, save_checkpoint
from samplecnn.training.data import background_hash
from samplecnn.training.depth import description
from samplecnn.training.feed import Feed
from samplecnn.training.interrupt import deferred_interrupt
from samplecnn.training.logging import epoch_line, log, run_log
from samplecnn.training.losses import loss_of
from samplecnn.training.options import TrainOptions
from samplecnn.training.record import training_record
from samplecnn.training.result import TrainResult, show_final, write_final
from samplecnn.training.schedule import epochs_left, learning_rate, stage_has_ended, stage_rate
from samplecnn.training.scored import SCORES, ScoredRun
from samplecnn.training.step import Step, mode_of, new_optimizer
from samplecnn.training.validation import test_scores, validate

CHECKPOINT_INTERVAL = 300.0  # seconds
LOSS_CHECK_STEPS = 25  # steps between reads of the loss on a GPU, each of which waits for the GPU


class Run:
    """A training run: the network, the data, and its state."""

    def __init__(
        self,
        run: Path,
        options: TrainOptions,
        model: SampleCNN,
        splits: dict[str, Segments],
        device: torch.device,
        precision: str,
        state: RunState,
        data: BuildRecord,
        seen: dict[str, Any],
        background: np.ndarray | None = None,
        scored: ScoredRun | None = None,
        processes: Processes = ONE,
    ) -> None:
        keep_freed_memory()
        assert model.task is not None
        self.run, self.options, self.splits, self.device, self.precision = run, options, splits, device, precision
        self.state, self.task, self.data, self.seen = state, model.task, data, seen
        self.scored = scored  # the run that decides the epochs of a final model, which has no validation and no test
        self.processes = processes  # that divide every batch; the first one writes all files
        self.model = model.to(device)
        self.best: Weights | None = None
        self.last: Weights | None = None  # of the last epoch of the last stage, when that has ended
        self.feed = Feed(splits["train"], options, device, background, processes)
        self.background = background_hash(background)
        set_norm_update(self.model, options.norm_update)
        self.optimizer, self.average = new_optimizer(self.model, options), self.new_average()
        loss = loss_of(options, self.task, splits["train"].labels, device)
        self.step = Step(self.model, self.task, mode_of(options.compile, device, log, processes.count), log, loss)
        self.saved_at = time.monotonic()

    def fit(self, announce: Callable[[], None] = lambda: None) -> TrainResult:
        """Trains all remaining stages, and writes the final files; `announce` is called before the first step."""
        state, options, segments = self.state, self.options, self.splits["train"]
        log(
            f"run {self.run}\n{self.model.title}: {self.model.size}, {len(segments):,} training segments of "
            f"{segments.folder}, {self.precision} on {self.device.type}, {torch.get_num_threads()} threads"
            + (f" in each of {self.processes.count} processes" if self.processes.count > 1 else "")
        )
        for line in (
            *description(self.model, options),
            *(w for split in self.splits.values() for w in split.warnings()),
        ):
            log(line)
        self.log = run_log(self.run, state.history, state.total_steps, self.processes.is_first)
        try:
            if state.total_steps == 0 or (state.history and state.history[-1]["event"] == "extended"):
                self.save()
            announce()
            while True:
                while not stage_has_ended(options, state, self.scored):
                    self.train_epoch()
                    with scored_weights(self.model, self.average, self.feed.unaugmented()):
                        self.end_epoch(self.validate())
                    self.save()
                is_last = state.stage + 1 >= options.num_stages
                scores = self.end_stage(is_last)
                if is_last:
                    return self.finish(scores)
        except KeyboardInterrupt:
            log(f"\nstopped; continue with: {resume_call(self.run)}")
            raise
        except OSError as error:
            after_disk_error(self.run, error)
            raise
        except torch.OutOfMemoryError as error:
            raise SampleCNNError(
                f"the memory of {self.device} does not hold a training step with a batch of {options.batch_size}; "
                "start again with a smaller --batch-size"
            ) from error
        finally:
            self.log.close()

    def train_epoch(self) -> None:
        """Takes the remaining steps of one epoch, from `state.step` on."""
        state, options, count = self.state, self.options, len(self.feed)
        self.model.train()
        self.model.compute_dtype = dtype(self.precision)
        unread: list[tuple[Tensor, int]] = []  # losses that are still on the device, with their numbers of segments
        began, first = time.monotonic(), state.epoch_seconds
        bar = Progress(count, self.position(), "segments", done=state.step * options.batch_size)
        with bar, deferred_interrupt(self.processes.count > 1) as interrupt, tuned(self.device, self.precision):
            for audio, labels, share, total in self.feed.epoch(state):
                rate = learning_rate(options, state, self.feed.steps * options.max_epochs)
                loss = self.step(self.optimizer, audio, labels, rate, share)
                if self.average is not None:
                    self.average.update()
                unread.append((loss, total))
                state.step += 1
                state.stage_steps += 1
                state.total_steps += 1
                at_once = self.device.type == "cpu" or (share is None and interrupt.requested)
                if at_once or state.step % LOSS_CHECK_STEPS == 0:
                    stop = self.processes.any(interrupt.requested)  # all at the same step
                    self.add_losses(unread)
                    self.log.step(state.total_steps, float(loss), rate)
                    mean = state.loss_sum / min(state.step * options.batch_size, count)
                    bar.advance(sum(n for _, n in unread), note=f"loss {mean:.4f}")
                    unread.clear()
                    state.epoch_seconds = first + time.monotonic() - began
                    if stop:
                        self.save()
                        raise KeyboardInterrupt
                    if time.monotonic() - self.saved_at > CHECKPOINT_INTERVAL:
                        self.save()
            self.add_losses(unread)
            bar.advance(sum(n for _, n in unread))
        state.epoch_seconds = first + time.monotonic() - began

    def add_losses(self, losses: Iterable[tuple[Tensor, int]]) -> None:
        """Adds losses to the epoch's sum; a non-finite one ends the run before it can reach a checkpoint."""
        losses = list(losses)
        if not losses:
            return
        values = torch.stack([loss for loss, _ in losses]).tolist()  # waits for the device once
        for value, (_, count) in zip(values, losses, strict=True):
            if not math.isfinite(value):
                raise self.diverged(value)
            self.state.loss_sum += value * count

    def diverged(self, loss: float) -> SampleCNNError:
        return SampleCNNError(
            f"{self.run}: the loss became {loss} in {self.position()}; the last good checkpoint is kept. "
            f"Start again with a smaller --lr (it was {self.options.lr:g})"
        )

    def new_average(self) -> Average | None:
        """A new average of the weights, if the run has one."""
        share = self.options.average
        return Average(self.model, share * self.feed.steps) if share else None

    def validate(self) -> dict[str, float | None]:
        """Loss and scores over the validation segments, in the precision of the training."""
        if self.scored is not None:
            return {"val_loss": None}
        sizes, where = (self.options.batch_size, self.options.num_readers), (self.device, self.precision)
        title = f"{self.position()} validation"
        figures = validate(self.model, self.splits["val"], *sizes, *where, title, self.processes)
        if figures is None:
            raise self.diverged(float("nan"))
        return {**figures}

    def end_epoch(self, figures: dict[str, float | None]) -> None:
        """Records the epoch, and keeps its weights if they are the stage's best, or if there is no validation."""
        state, count, loss = self.state, len(self.feed), figures["val_loss"]
        better = loss is None or loss < state.best_loss
        if better:
            state.best_loss, state.bad_epochs = state.best_loss if loss is None else loss, 0
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        else:
            state.bad_epochs += 1
        state.seconds += state.epoch_seconds
        row = {
            "event": "epoch",
            "stage": state.stage + 1,
            "epoch": state.epoch + 1,
            "total_steps": state.total_steps,
            "lr": stage_rate(self.options, state.stage),
            "train_loss": state.loss_sum / count,
            **figures,
            "best": better,
            "segments_per_second": count / max(state.epoch_seconds, 1e-9),
            "seconds": state.seconds,
        }
        position = self.position()
        state.epoch += 1
        log(epoch_line(position, row, state.epoch_seconds, epochs_left(self.options, state, self.scored)))
        state.step, state.loss_sum, state.epoch_seconds = 0, 0.0, 0.0
        self.log.add(row)
        if better:
            self.save_model()
        self.log.draw(at_once=False)

    def end_stage(self, is_last: bool) -> Scores | None:
        """Reloads the stage's best weights, scores the test set with them, and prepares the next stage.

        After the last one the state stays that of the last epoch's end, from which the run can be extended.
        """
        state, options = self.state, self.options
        assert self.best is not None
        self.last = {name: value.clone() for name, value in self.model.state_dict().items()} if is_last else None
        self.model.load_state_dict(self.best)
        self.save_model()  # an interrupted write may have left the files of an earlier stage
        scores = self.test() if self.scored is None else None
        self.log.draw()
        if not is_last:
            state.stage += 1
            state.epoch = state.stage_steps = state.bad_epochs = 0
            state.best_loss = float("inf")
            self.best, self.optimizer, self.average = None, new_optimizer(self.model, options), self.new_average()
            self.save()
        return scores

    def test(self) -> Scores:
        """Scores of the test split, which are recorded."""
        state, options = self.state, self.options
        scores = test_scores(self.model, self.splits["test"], options.batch_size, options.num_readers, self.processes)
        log(f"stage {state.stage + 1}/{options.num_stages} test: {scores}")
        values = {name: getattr(scores, name) for name in SCORES}
        self.log.add({"event": "test", "stage": state.stage + 1, "total_steps": state.total_steps, **values})
        return scores

    def finish(self, scores: Scores | None) -> TrainResult:
        """Writes the final files."""
        result = self.processes.once(lambda: write_final(self.model, self.run, scores))
        self.state.finished = True
        self.save()
        return show_final(result, self.scored)

    def save_model(self) -> None:
        """Writes the model with the stage's best weights, and how they were trained."""
        if not self.processes.is_first:
            return
        count = len(self.splits["train"])
        record = training_record(self.options, self.precision, self.state.history, count, self.seen, self.scored)
        model_files.save(self.model, self.run, record)

    def save(self) -> None:
        """Writes the checkpoint, of several processes the first one's."""
        if not self.processes.is_first:
            return
        save_checkpoint(
            self.run,
            Checkpoint(
                options=self.options.to_dict(),
                model=self.model.config.to_dict(),
                task=self.task.to_dict(),
                segments=len(self.splits["train"]),
                precision=self.precision,
                state=self.state,
                weights=self.last or self.model.state_dict(),
                best=self.best,
                optimizer=self.optimizer.state_dict(),
                random_state=torch.get_rng_state(),
                device_random_state=random_state(self.device),
                average=None if self.average is None else self.average.state(),
                data=self.data.to_dict(),
                scored=None if self.scored is None else self.scored.to_dict(),
                processes=self.processes.count,
                background=self.background,
            ),
        )
        self.saved_at = time.monotonic()

    def position(self) -> str:
        return f"stage {self.state.stage + 1}/{self.options.num_stages} epoch {self.state.epoch + 1}"
