"""The start of a run: options, data, network, run directory."""

from pathlib import Path

import torch

from samplecnn import model_files
from samplecnn.datasets.custom import slug
from samplecnn.errors import OptionError, UsageError
from samplecnn.evaluation.baselines import baseline_remark
from samplecnn.interop.keras import unsupported
from samplecnn.models import SampleCNN
from samplecnn.processes import ONE, LostProcess, Processes, join
from samplecnn.shards import Segments
from samplecnn.system.arguments import checked
from samplecnn.training import depth
from samplecnn.training.checkpoint import RunState, resume_call
from samplecnn.training.data import open_splits, record_of, seen_clips, with_statistics
from samplecnn.training.forecast import forecast
from samplecnn.training.head_run import train_head
from samplecnn.training.logging import log
from samplecnn.training.loop import Run
from samplecnn.training.options import TrainOptions, resolved
from samplecnn.training.precision import training_precision
from samplecnn.training.result import TrainResult
from samplecnn.training.scored import ScoredRun
from samplecnn.training.start import background_of, config_of, initial_weights, new_run, options_for


@checked
def train(
    dataset: str,
    name: str | None = None,
    *,
    recipe: str | None = None,
    data_dir: str | Path = TrainOptions.data_dir,
    log_dir: str | Path = TrainOptions.log_dir,
    block: str | None = None,
    amplifying_ratio: float | None = None,
    pool_size: int | None = None,
    filter_size: int | None = None,
    first_size: int | None = None,
    pooling: str | None = None,
    frontend: str | None = None,
    mels: int | None = None,
    multi: bool | None = None,
    features: int | None = None,
    dropout: float | None = None,
    batch_size: int | None = None,
    optimizer: str | None = None,
    lr: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    warmup: int | None = None,
    lr_decay: float | None = None,
    num_stages: int | None = None,
    max_epochs: int | None = None,
    passes: int | None = None,
    patience: int | None = None,
    average: float | None = None,
    norm_update: float | None = None,
    norm_estimate: int | None = None,
    label_smoothing: float | None = None,
    class_weights: bool | None = None,
    crop: float | None = None,
    shift: float | None = None,
    speed: float | None = None,
    gain: float | None = None,
    polarity: bool | None = None,
    filter: float | None = None,
    noise: float | None = None,
    reverb: float | None = None,
    background: str | Path | None = None,
    mask: float | None = None,
    mixing: str | None = None,
    mixing_share: float | None = None,
    num_readers: int = TrainOptions.num_readers,
    skip_corrupt: bool = TrainOptions.skip_corrupt,
    precision: str = TrainOptions.precision,
    device: str = TrainOptions.device,
    compile: bool = TrainOptions.compile,
    seed: int = TrainOptions.seed,
    init_from: str | Path | None = TrainOptions.init_from,
    freeze: int | str = TrainOptions.freeze,
    depth_rate: float = TrainOptions.depth_rate,
    head_only: bool = TrainOptions.head_only,
    fold: str | None = TrainOptions.fold,
    baseline: bool = TrainOptions.baseline,
) -> TrainResult:
    """Trains a SampleCNN on a built data set.

    None leaves an argument to the recipe, whose values `samplecnn train --help` lists. The network's arguments, from
    `block` to `mels` and `features`, are first those of the model of `init_from`, if there is one.

    Args:
        dataset: mtt, scd, dcs, demo, a folder or a manifest, as `samplecnn.build` took it; or a folder of TFRecords.
        name: of the run, part of its directory's name; None takes the block, with "_multi" if it applies.
        recipe: "original", the paper's procedure, or "modern": augmentation, AdamW over one cosine cycle, averaged
            weights. None: original for mtt, scd and dcs, modern for other data.
        data_dir: folder of the built data sets.
        log_dir: folder in which the run directory is made.
        block: building block of the network: basic, se, res1, res2, rese1 or rese2; None: se.
        amplifying_ratio: hidden width of the excitations, as a share of the features; with 0, rese1 and rese2 have no
            excitations: they are res1 and res2. None: 0.125.
        pool_size: frames that every block pools, at least 2; None: 3. Window and pool size decide the number of blocks.
        filter_size: frames of the blocks' convolutions; None: 3. With a pool size of m too, the m^n models of SMC 2017.
        first_size: samples of the first convolution, its width and stride; None: the pool size.
        pooling: "max" (None), or "strided": the last convolution of every block has a stride instead.
        frontend: "waveform" (None), or "logmel": log-mel frames every 10 ms or so, in place of the first convolution
            and the blocks that bring the waveform to their rate; the other blocks stay as they are.
        mels: bands of the log-mel frames; None: 64.
        multi: multi-level feature aggregation: the last three blocks feed the classifier. A recipe's does not apply
            where the window gives fewer blocks.
        features: width of the first layers.
        dropout: share of the last hidden layer's features that is dropped, from 0 to below 1.
        batch_size: segments in a batch, of all processes together.
        optimizer: "sgd" with Nesterov momentum, or "adamw".
        lr: learning rate of the first stage.
        momentum: of the optimizer, from 0 to below 1; AdamW's first beta.
        weight_decay: with SGD, wd in the penalty wd * sum(w ** 2) on convolution kernels, which the losses that decide
            the best epoch do not include (in the original the option has no effect); with AdamW, kernels and matrices
            shrink by wd * rate a step.
        schedule: "stages", each with a constant rate; or "cosine", in which a stage's rate falls to 0 over
            `max_epochs`, whatever the patience.
        warmup: steps over which the first stage's learning rate rises from 0; the paper has none.
        lr_decay: factor from one stage's learning rate to the next.
        num_stages: number of stages.
        max_epochs: epochs after which a stage ends in any case.
        passes: over the training split in an epoch; several make sense for small data sets.
        patience: epochs without a better validation loss after which a stage ends; 0 is the same as 1.
        average: time constant, in epochs, of the moving average of the weights that are scored and kept; 0: none.
        norm_update: share of each batch's statistics in the running averages of the batch norms.
        norm_estimate: training segments, without augmentation, from which the statistics of the batch norms are
            estimated before each validation; 0 takes the running averages.
        label_smoothing: share of the labels that is spread over all classes, from 0 to below 1.
        class_weights: weights classes by one over the square root of their frequency.
        crop: length of the training crops, as a share of the window; they are taken from anywhere in a clip. 0: whole
            segments.
        shift: maximum shift in time, as a share of the window; padded with zeros.
        speed: maximum change of speed and pitch, in octaves.
        gain: maximum change of level, in dB.
        polarity: inverts the polarity of segments, with a probability of one half.
        filter: maximum deviation of a random frequency response, in dB, for half of the segments.
        noise: share of the segments to which noise is added, coloured at random, 5 to 40 dB below them.
        reverb: longest reverberation time, in seconds: half of the segments get the decaying echoes of a random room,
            -3 to 15 dB below them.
        background: folder of recordings, or one file; excerpts are mixed with segments, 0 to 30 dB below them.
        mask: maximum length of a span that is set to zero, as a share of the window.
        mixing: "mixup" or "between-class": segments are sums of two, with labels to match; or "none".
        mixing_share: share of the segments that are mixed.
        num_readers: threads that read batches ahead.
        skip_corrupt: skips damaged TFRecords instead of stopping at the first.
        precision: "fp32"; "bf16"; "tf32" on NVIDIA GPUs; "auto" takes bf16 if it is faster.
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" takes an NVIDIA or AMD GPU if there is one.
        compile: on a GPU, fuses operations with torch.compile, in place of `kernels.gpu`.
        seed: of the initial values, the order of the segments and dropout.
        init_from: a model to take initial weights from: a run directory, a .safetensors or an .h5 file, or a packaged
            model's name.
        freeze: number of blocks, counted from the input, that are not trained, nor is the first layer; or "all". Their
            batch norms use the stored statistics, and waveforms are standardised as for the model of `init_from`.
        depth_rate: ratio of learning rates from one part to the next, from the classifier through the blocks down to
            the first layer; 1: the same rate for all.
        head_only: fits a new output layer on the network of `init_from`, which is not changed, in seconds.
        fold: of a cross-validation, in place of the splits that the data set was built with: "2/5" is the second of
            five drawn folds, anything else a value of the data set's fold column.
        baseline: after a training on few clips, reports what quick baselines reach on the validation clips.

    Returns:
        The run directory, the test scores of the last stage and the final model file.

    Raises:
        UsageError: an unknown or unusable option, a data set that is not built, an empty split.
        SampleCNNError: the loss is no longer finite; the last good checkpoint is kept.

    Example:
        >>> import contextlib, io, tempfile, samplecnn
        >>> from samplecnn.datasets.generated import generate
        >>> data = tempfile.mkdtemp()
        >>> _ = generate(f"{data}/demo/raw", clips_per_class=4)  # 40 recordings of a second each
        >>> _ = samplecnn.build("demo", data, workers=1, progress=False)
        >>> with contextlib.redirect_stdout(io.StringIO()):  # the progress of each epoch
        ...     result = samplecnn.train(
        ...         "demo", data_dir=data, log_dir=f"{data}/log", block="basic", features=4, max_epochs=1
        ...     )
        >>> result.final.exists(), 0 <= result.scores.roc_auc <= 1
        (True, True)
        >>> samplecnn.train("demo", epochs=3)
        Traceback (most recent call last):
        ...
        samplecnn.errors.UsageError: train has no option 'epochs'; did you mean max_epochs?
    """
    given = dict(locals())  # the arguments are the fields of TrainOptions
    processes = join()
    options = resolved(given)
    check_batch(options, processes)
    splits = open_splits(options)
    options = options_for(given, len(splits["train"]), splits["train"].task)
    return train_head(options, splits) if options.head_only else start_run(options, splits, processes=processes)


def check_batch(options: TrainOptions, processes: Processes) -> None:
    """Raises UsageError if several processes cannot divide the batches of a run."""
    if processes.count == 1:
        return
    if options.head_only:
        raise UsageError("--head-only takes seconds in one process; start it without torchrun")
    if options.batch_size < processes.count:
        raise OptionError("batch_size", f"must be at least the number of processes, {processes.count}, which divide it")


def start_run(
    options: TrainOptions, splits: dict[str, Segments], scored: ScoredRun | None = None, processes: Processes = ONE
) -> TrainResult:
    """Starts a new run and trains it to its end.

    Args:
        options: of the run.
        splits: of the data set; of a final model "train" alone, with every clip.
        scored: the run that a final model is like.
        processes: that divide every batch.
    """
    task = splits["train"].task
    config = config_of(options, task)
    problem = unsupported(config)
    if problem is not None:  # reported before training, not after it
        log(f"Keras cannot represent {problem}: the run ends with model.safetensors, without an .h5 file")
    torch_device = processes.device(options.device)
    chosen = processes.once(lambda: training_precision(options.precision, torch_device))
    source = None if options.init_from is None else model_files.load(options.init_from)
    if source is not None and source.task is not None and options.freeze:
        task = with_statistics(splits, source.task)
    torch.manual_seed(options.seed)
    model = SampleCNN(config, task)
    depth.freeze(model, options)
    if source is not None:
        log(initial_weights(model, source, str(options.init_from)))
    recordings = background_of(options, task)
    data, seen = record_of(splits["train"]), processes.once(lambda: seen_clips(options, splits))
    name = f"{slug(task.name)}-{options.name or config.signature}"
    run = processes.once(lambda: new_run(Path(options.log_dir), name))
    saved = processes.once(lambda: seen.save(run))
    state, where = RunState(), (torch_device, chosen)
    return run_to_end(Run(run, options, model, splits, *where, state, data, saved, recordings, scored, processes))


def run_to_end(run: Run) -> TrainResult:
    """Trains a run to its end, with a line on its expected duration before and one on quick baselines after it."""
    try:
        result = run.fit(lambda: log(forecast(run))) if run.options.schedule == "cosine" else run.fit()
    except LostProcess as error:
        raise LostProcess(f"{error}; continue with: {resume_call(run.run)}") from error
    if run.scored is not None and run.processes.is_first:
        remark = run.scored.pass_on(run.run)
        if remark:
            log(remark)
    if run.options.baseline and run.scored is None and run.processes.is_first:
        remark = baseline_remark(run.model, run.splits, run.options.num_readers, run.options.batch_size)
        if remark:
            log(remark)
    return result
