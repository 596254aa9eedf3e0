"""Training in stages, as the original does it (its train.py), in a loop that can be stopped anywhere and go on.

Every stage starts from the best weights so far with a fresh optimizer and a smaller learning rate, and ends when the
validation loss no longer falls. A checkpoint at every epoch's end, and every few minutes within one, holds all that
decides what comes next, so that a resumed run takes exactly the steps of one that was never interrupted.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from samplecnn import __version__, model_files
from samplecnn.errors import SampleCNNError
from samplecnn.evaluation import Scores, predict, score
from samplecnn.hardware import dtype, tuned
from samplecnn.interop.keras import h5
from samplecnn.models import SampleCNN, activate
from samplecnn.shards import Segments
from samplecnn.system.allocator import keep_freed_memory
from samplecnn.system.log import is_quiet
from samplecnn.system.progress import Progress, duration
from samplecnn.training.batches import batches, epoch_order, standardised
from samplecnn.training.checkpoint import Checkpoint, RunState, save_checkpoint
from samplecnn.training.interrupt import deferred_interrupt
from samplecnn.training.logging import Record
from samplecnn.training.losses import cross_entropy
from samplecnn.training.options import TrainOptions
from samplecnn.training.step import Step

LR_TIME_DECAY = 1e-6  # the original's SGD(decay=1e-6): lr / (1 + 1e-6 * step), counted in every stage anew
CHECKPOINT_EVERY = 300.0  # seconds
CHECK_EVERY = 25  # steps between looks at the loss on a GPU, which has to wait for each


@dataclass(frozen=True)
class TrainResult:
    """A finished run: its directory, the test scores of the last stage and the final file."""

    run: Path
    scores: Scores
    final: Path


class Run:
    """A training run: the network, the data, and where it stands."""

    def __init__(
        self,
        run: Path,
        options: TrainOptions,
        model: SampleCNN,
        splits: dict[str, Segments],
        device: torch.device,
        precision: str,
        state: RunState,
    ) -> None:
        keep_freed_memory()
        assert model.task is not None
        self.run, self.options, self.splits, self.device, self.precision = run, options, splits, device, precision
        self.state, self.task = state, model.task
        self.model = model.to(device)
        self.best: dict[str, Tensor] | None = None
        self.optimizer = self.fresh_optimizer()
        self.step = Step(self.model, self.task, self.way(), log)
        self.saved_at = time.monotonic()

    def fit(self) -> TrainResult:
        """Trains all stages that are left, and writes the final files."""
        state, options, segments = self.state, self.options, self.splits["train"]
        log(
            f"run {self.run}\n{self.model.config.signature}: {self.model.num_values():,} parameters, "
            f"{len(segments):,} training segments of {segments.folder}, {self.precision} on {self.device.type}, "
            f"{torch.get_num_threads()} threads"
        )
        for line in (line for split in self.splits.values() for line in split.warnings()):
            log(line)
        self.record = Record(self.run, state.history, state.total_steps)
        try:
            if state.total_steps == 0:
                self.save()
            while state.stage < options.num_stages:
                while state.epoch < options.max_epochs and state.bad_epochs < options.patience:
                    self.train_epoch()
                    self.end_epoch(self.validate())
                scores = self.end_stage()
            return self.write_final(scores)
        except KeyboardInterrupt:
            log(f"\nstopped; go on with: samplecnn train --resume {self.run}")
            raise
        except OSError:
            log(f"the last good checkpoint is kept: samplecnn train --resume {self.run}")
            raise
        except torch.OutOfMemoryError as error:
            raise SampleCNNError(
                f"the memory of {self.device} does not hold a training step with a batch of {options.batch_size}; "
                "start again with a smaller --batch-size"
            ) from error
        finally:
            self.record.close()

    def train_epoch(self) -> None:
        """The steps of one epoch that are left, from `state.step` on."""
        state, options, segments = self.state, self.options, self.splits["train"]
        order = epoch_order(len(segments), options.seed, state.stage, state.epoch)
        self.model.train()
        self.model.compute_dtype = dtype(self.precision)
        pending: list[tuple[Tensor, int]] = []  # losses not yet looked at, with their numbers of segments
        began, first = time.monotonic(), state.epoch_seconds
        bar = Progress(len(order), self.where(), "segments", done=state.step * options.batch_size)
        source = batches(segments, order, options.batch_size, options.num_readers, state.step, self.device)
        with bar, deferred_interrupt() as interrupt, tuned(self.device, self.precision):
            for audio, labels in source:
                lr = self.learning_rate()
                loss = self.step(self.optimizer, audio, labels, lr)
                pending.append((loss, len(audio)))
                state.step += 1
                state.stage_steps += 1
                state.total_steps += 1
                if self.device.type == "cpu" or state.step % CHECK_EVERY == 0 or interrupt.requested:
                    self.look_at(pending)
                    self.record.loss(state.total_steps, float(loss), lr)
                    mean = state.loss_sum / min(state.step * options.batch_size, len(order))
                    bar.advance(sum(n for _, n in pending), note=f"loss {mean:.4f}")
                    pending.clear()
                    state.epoch_seconds = first + time.monotonic() - began
                    if interrupt.requested:
                        self.save()
                        raise KeyboardInterrupt
                    if time.monotonic() - self.saved_at > CHECKPOINT_EVERY:
                        self.save()
            self.look_at(pending)
            bar.advance(sum(n for _, n in pending))
        state.epoch_seconds = first + time.monotonic() - began

    def learning_rate(self) -> float:
        """Of the next step: the stage's, slowly decaying, and rising over the first steps of the first stage.

        With the original's initial values the gradient of a kernel is a hundred times the kernel. At the full rate, the
        first step turns all filters of a layer to what the first batch varies most in, its loudness, and thousands of
        steps pass before they part again (docs/training.md has the measurement).
        """
        state, options = self.state, self.options
        rate = options.lr * options.lr_decay**state.stage / (1 + LR_TIME_DECAY * state.stage_steps)
        if state.stage == 0 and state.stage_steps < options.warmup:
            rate *= (state.stage_steps + 1) / options.warmup
        return rate

    def way(self) -> str:
        """How steps are taken; said where --compile changes nothing."""
        if self.options.compile and self.device.type == "cpu":
            log("--compile is for GPUs: on a CPU the passes that count are compiled as it is")
        return "compile+graph" if self.options.compile and self.device.type != "cpu" else "eager"

    def look_at(self, pending: Iterable[tuple[Tensor, int]]) -> None:
        """Adds losses to the epoch's sum; one that is no number ends the run before it can reach a checkpoint."""
        pending = list(pending)
        if not pending:
            return
        values = torch.stack([loss for loss, _ in pending]).tolist()  # one wait for all
        for value, (_, count) in zip(values, pending, strict=True):
            if not math.isfinite(value):
                raise SampleCNNError(
                    f"{self.run}: the loss became {value} in {self.where()}; the last good checkpoint is kept. "
                    f"Start again with a smaller --lr (it was {self.options.lr:g})"
                )
            self.state.loss_sum += value * count

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss and scores over the validation segments, in the precision of the training."""
        segments, options = self.splits["val"], self.options
        order = np.arange(len(segments))
        self.model.eval()
        losses, counts, outputs = [], [], []
        bar = Progress(len(segments), f"{self.where()} validation", "segments")
        with bar, tuned(self.device, self.precision):
            for audio, labels in batches(segments, order, options.batch_size, options.num_readers, device=self.device):
                logits = self.model(standardised(audio, self.task))
                losses.append(cross_entropy(logits, labels, self.task))
                counts.append(len(audio))
                outputs.append(activate(logits, self.task))
                bar.advance(len(audio))
        total = sum(value * count for value, count in zip(torch.stack(losses).tolist(), counts, strict=True))
        probabilities = torch.cat(outputs).cpu().numpy()
        if not np.isfinite(probabilities).all():
            self.look_at([(torch.tensor(float("nan")), 1)])
        scores = score(segments.labels, probabilities, self.task)
        figures = {"val_loss": total / len(segments), "val_roc_auc": scores.roc_auc}
        if self.task.kind == "multiclass":
            figures["val_accuracy"] = scores.accuracy
        return figures

    def end_epoch(self, figures: dict[str, float]) -> None:
        """Notes the epoch, keeps its weights if they are the stage's best, and saves a checkpoint."""
        state = self.state
        count = len(self.splits["train"])
        better = figures["val_loss"] < state.best_loss
        if better:
            state.best_loss, state.bad_epochs = figures["val_loss"], 0
            self.best = copied(self.model)
        else:
            state.bad_epochs += 1
        state.seconds += state.epoch_seconds
        row = {
            "event": "epoch",
            "stage": state.stage + 1,
            "epoch": state.epoch + 1,
            "total_steps": state.total_steps,
            "lr": self.options.lr * self.options.lr_decay**state.stage,
            "train_loss": state.loss_sum / count,
            **figures,
            "best": better,
            "segments_per_second": count / max(state.epoch_seconds, 1e-9),
            "seconds": state.seconds,
        }
        accuracy = f"  accuracy {figures['val_accuracy']:.4f}" if "val_accuracy" in figures else ""
        log(
            f"{self.where()}  loss {row['train_loss']:.4f}  validation: loss {figures['val_loss']:.4f}{accuracy}"
            f"  ROC-AUC {figures['val_roc_auc']:.4f}  {row['segments_per_second']:.1f} segments/s"
            f"  {duration(state.epoch_seconds)}{'  best' if better else ''}"
        )
        state.epoch += 1
        state.step, state.loss_sum, state.epoch_seconds = 0, 0.0, 0.0
        self.record.add(row)
        if better:
            self.save_model()
        self.record.draw(at_once=False)
        self.save()

    def end_stage(self) -> Scores:
        """Goes back to the stage's best weights, scores the test set with them, and makes ready for the next stage."""
        state = self.state
        assert self.best is not None
        self.model.load_state_dict(self.best)
        self.save_model()  # an interrupted write may have left those of an earlier stage
        found = predict(
            self.model,
            self.splits["test"],
            self.options.batch_size,
            progress=True,
            num_readers=self.options.num_readers,
        )
        scores = score(found.y_true, found.y_prob, self.task)
        log(f"stage {state.stage + 1}/{self.options.num_stages} test: {scores}")
        self.record.add(
            {
                "event": "test",
                "stage": state.stage + 1,
                "total_steps": state.total_steps,
                "roc_auc": scores.roc_auc,
                "pr_auc": scores.pr_auc,
                "accuracy": scores.accuracy,
                "f1": scores.f1,
                "exact_match": scores.exact_match,
            }
        )
        self.record.draw()
        state.stage += 1
        state.epoch = state.stage_steps = state.bad_epochs = 0
        state.best_loss = float("inf")
        if state.stage < self.options.num_stages:
            self.best, self.optimizer = None, self.fresh_optimizer()
            self.save()
        return scores

    def write_final(self, scores: Scores) -> TrainResult:
        """The file that the original leaves, named by the scores."""
        name = f"final-auc_{scores.roc_auc:.6f}-acc_{scores.accuracy:.6f}-f1_{scores.f1:.6f}.h5"
        h5.write(self.model, self.run / name)
        self.state.finished = True
        self.save()
        log(f"final scores: {scores}\nfinal model: {self.run / name}")
        return TrainResult(self.run, scores, self.run / name)

    def fresh_optimizer(self) -> torch.optim.Optimizer:
        """Nesterov's SGD; the penalty wd * sum(w ** 2) on convolution kernels has the gradient 2 * wd * w."""
        kernels = [module.weight for module in self.model.modules() if isinstance(module, nn.Conv1d)]
        chosen = {id(kernel) for kernel in kernels}
        others = [value for value in self.model.parameters() if id(value) not in chosen]
        groups: list[dict[str, Any]] = [
            {"params": kernels, "weight_decay": 2 * self.options.weight_decay},
            {"params": others},
        ]
        momentum = self.options.momentum
        fused = self.device.type in ("cpu", "cuda")
        return torch.optim.SGD(groups, lr=self.options.lr, momentum=momentum, nesterov=momentum > 0, fused=fused)

    def save_model(self) -> None:
        """Writes the model with the stage's best weights, and how it came about."""
        best = [row for row in self.state.history if row["event"] == "epoch" and row["best"]][-1]
        elsewhere = ("data_dir", "log_dir", "name", "num_readers", "device")  # which do not change what is learned
        options = {name: value for name, value in self.options.to_dict().items() if name not in elsewhere}
        training = {
            "samplecnn": __version__,
            "stage": best["stage"],
            "epoch": best["epoch"],
            "steps": best["total_steps"],
            "val_loss": best["val_loss"],
            "segments": len(self.splits["train"]),
            "options": {**options, "precision": self.precision},
        }
        model_files.save(self.model, self.run, training)

    def save(self) -> None:
        cuda = self.device.type == "cuda"
        save_checkpoint(
            self.run,
            Checkpoint(
                options=self.options.to_dict(),
                model=self.model.config.to_dict(),
                task=self.task.to_dict(),
                segments=len(self.splits["train"]),
                precision=self.precision,
                state=self.state,
                weights=self.model.state_dict(),
                best=self.best,
                optimizer=self.optimizer.state_dict(),
                random_state=torch.get_rng_state(),
                device_random_state=torch.cuda.get_rng_state(self.device) if cuda else None,
            ),
        )
        self.saved_at = time.monotonic()

    def where(self) -> str:
        return f"stage {self.state.stage + 1}/{self.options.num_stages} epoch {self.state.epoch + 1}"


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def log(text: str) -> None:
    """Reports the course of a training on stdout, unless the program is to be quiet."""
    if not is_quiet():
        print(text, flush=True)
