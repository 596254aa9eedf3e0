"""The one description of a network: its layers in order, with names, widths and receptive fields, and no weights.

Everything that must know the structure reads it here: the torch modules (`stages`, `samplecnn`), the folded graph of
the engines (`graph`), overlapping windows, the summary, Keras's layer names, exports and the plain re-creations of the
benchmarks. Nothing here needs PyTorch.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from samplecnn.models.blocks import BlockSpec
from samplecnn.models.config import MULTI_LEVELS, FirstPadding, ModelConfig, first_padding
from samplecnn.models.layer_specs import ConvSpec, DenseSpec, ExcitationSpec, LogMelSpec, StageSpec
from samplecnn.models.receptive_field import ReceptiveField


@dataclass(frozen=True)
class NetworkSpec:
    """A whole network, from the waveform [batch, samples] to logits [batch, classes].

    Args:
        first: the strided convolution on the waveform, with batch norm and ReLU; or log-mel frames with batch norm.
        first_padding: how it pads the waveform.
        stem: a residual stage behind it, without pooling.
        blocks: first to last.
        tail: a stage behind the last block, without pooling.
        levels: outputs of as many stages, the last ones, go to the head: each one's largest value over time.
        hidden: the dense layer of the head, with batch norm and ReLU.
        dropout: behind it.
        logit: the last layer.
    """

    first: ConvSpec | LogMelSpec
    first_padding: FirstPadding
    stem: StageSpec | None
    blocks: tuple[StageSpec, ...]
    tail: StageSpec | None
    levels: int
    hidden: DenseSpec
    dropout: float
    logit: DenseSpec

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        """Stem, blocks and tail, as far as there are any."""
        return tuple(stage for stage in (self.stem, *self.blocks, self.tail) if stage is not None)

    @property
    def convolutions(self) -> tuple[ConvSpec, ...]:
        """All of them; those of a stage's path before its shortcut."""
        first = (self.first,) if isinstance(self.first, ConvSpec) else ()
        return (*first, *(conv for stage in self.stages for conv in stage.convolutions))

    @property
    def hop(self) -> int:
        """Samples from one frame of the last block's output to the next."""
        return math.prod((self.first.stride, *(stage.stride for stage in self.blocks)))

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees just before the head, whose pooling looks at all frames."""
        return self.receptive_fields(self.hop)[-1].size

    @property
    def min_samples(self) -> int:
        """The shortest input of which every pooling leaves something."""
        return self.hop - (0 if self.first_padding == "valid" else self.first.stride - 1)

    def padding(self, samples: int) -> tuple[int, int]:
        """Zeros before and after a waveform of so many samples; below zero: samples left out."""
        if isinstance(self.first, LogMelSpec):
            return self.first.logmel.padding(samples)
        return first_padding(samples, self.first_padding, self.first.width)

    def first_frames(self, samples: int) -> int:
        """Frames after the first convolution, or log-mel frames."""
        return (samples + sum(self.padding(samples)) - self.first.width) // self.first.stride + 1

    def first_receptive_field(self, samples: int) -> ReceptiveField:
        """Receptive field after the first convolution, whose padding may depend on the number of samples."""
        return ReceptiveField(self.first.width, self.first.stride, -self.padding(samples)[0])

    def receptive_fields(self, samples: int) -> list[ReceptiveField]:
        """Receptive field after the first convolution and after each stage, along its path."""
        found = [self.first_receptive_field(samples)]
        for stage in self.stages:
            last = found[-1]
            for conv in stage.convs:
                last = last.conv(conv.width, conv.stride)
            found.append(last.pool(stage.pool))
        return found

    def conv_frames(self, samples: int) -> Iterator[tuple[ConvSpec | LogMelSpec, int]]:
        """Every convolution, and log-mel frames where there are any, with its number of output frames."""
        frames = self.first_frames(samples)
        yield self.first, frames
        for stage in self.stages:
            before = frames
            for conv in stage.convs:
                frames //= conv.stride
                yield conv, frames
            if stage.shortcut is not None:
                yield stage.shortcut, before // (1 if stage.shortcut_from_waveform else stage.shortcut.stride)
            frames //= stage.pool

    def macs(self, samples: int) -> int:
        """Multiply-accumulates of convolutions and dense layers for one input."""
        excitations = sum(stage.excitation.macs for stage in self.stages if stage.excitation is not None)
        convolutions = sum(conv.macs(frames) for conv, frames in self.conv_frames(samples))
        return convolutions + excitations + self.hidden.macs + self.logit.macs


@lru_cache(maxsize=64)
def network_spec(config: ModelConfig) -> NetworkSpec:
    """The layers of a network with these settings.

    Example:
        >>> spec = network_spec(ModelConfig(block="se", num_blocks=9, num_classes=50))
        >>> spec.receptive_field, spec.hop
        (118095, 59049)
    """
    kind = config.kind
    widths = [config.first_features, *config.widths]
    size = config.first_samples
    stages = [
        _stage(f"blocks.{i}", kind, channels, features, config, strided=config.pooling == "strided")
        for i, (channels, features) in enumerate(itertools.pairwise(widths))
    ]
    head = sum(config.widths[-MULTI_LEVELS:]) if config.multi else widths[-1]
    return NetworkSpec(
        first=ConvSpec("conv0", "norm0", 1, config.features, size, size)
        if config.logmel is None
        else LogMelSpec(config.logmel),
        first_padding=config.first_padding,
        stem=_stem(config) if kind.residual_ends else None,
        blocks=tuple(stages),
        tail=_tail(kind, config) if config.tail else None,
        levels=MULTI_LEVELS if config.multi else 1,
        hidden=DenseSpec("final_fc", head, head, "final_norm"),
        dropout=config.dropout,
        logit=DenseSpec("logit", head, config.num_classes),
    )


def _stage(
    name: str, kind: BlockSpec, channels: int, features: int, config: ModelConfig, strided: bool = False
) -> StageSpec:
    """A stage of that kind. A path of one convolution is called "conv", any other "convs.0", "convs.1", ...

    Args:
        strided: the last convolution has the stride of the pooling, and so has a shortcut's; both are at least as wide,
            so that they see all frames.
    """
    inputs = [channels] + [features] * (len(kind.convs) - 1)
    single = not kind.residual and len(kind.convs) == 1
    last = len(kind.convs) - 1
    stride = kind.pool if strided else 1
    convs = [
        ConvSpec(
            f"{name}.conv" if single else f"{name}.convs.{i}",
            f"{name}.norm" if single else f"{name}.norms.{i}",
            before,
            features,
            max(width, stride) if i == last else width,
            stride if i == last else 1,
            relu=not kind.residual or i < last,
        )
        for i, (before, width) in enumerate(zip(inputs, kind.convs, strict=True))
    ]
    shortcut = ConvSpec(
        f"{name}.scut_conv", f"{name}.scut_norm", channels, features, max(kind.shortcut, stride), stride, relu=False
    )
    return StageSpec(
        name,
        tuple(convs),
        residual=kind.residual,
        shortcut=shortcut if kind.residual and (channels != features or strided) else None,
        excitation=_excitation(name, features, config) if kind.excites else None,
        pool=1 if strided else kind.pool,
        inner_dropout=kind.inner_dropout,
    )


def _stem(config: ModelConfig) -> StageSpec:
    """The second half of a residual block that begins with the first convolution; its shortcut reads the waveform."""
    width = config.features
    return StageSpec(
        "stem",
        (ConvSpec("stem.conv", "stem.norm", width, width, relu=False),),
        residual=True,
        shortcut=ConvSpec(
            "stem.scut_conv", "stem.scut_norm", 1, width, config.first_samples, config.first_samples, relu=False
        ),
        excitation=_excitation("stem", width, config),
        shortcut_from_waveform=True,
    )


def _tail(kind: BlockSpec, config: ModelConfig) -> StageSpec:
    """1-wide convolutions without pooling: behind the last block, one frame is left of a window."""
    ends = BlockSpec((1, 1), residual=True, excites=True) if kind.residual_ends else BlockSpec((1,))
    width = config.widths[-1]
    return replace(_stage("tail", ends, width, width, config), pool=1)


def _excitation(stage: str, features: int, config: ModelConfig) -> ExcitationSpec:
    return ExcitationSpec(f"{stage}.excitation", features, int(features * config.amplifying_ratio))
