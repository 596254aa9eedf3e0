"""Excitations wired to a known cause: the analysis finds that cause and no other."""

import tracemalloc
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from samplecnn import ModelConfig, SampleCNN, Task
from samplecnn.analysis import excitations, plots
from samplecnn.analysis.excitation import excitation_modules, loudness
from samplecnn.analysis.excitation_result import BlockExcitations, Excitations
from samplecnn.analysis.excitation_text import sentences, trend
from samplecnn.errors import UsageError
from samplecnn.shards.arrow import ShardWriter, shard_name
from samplecnn.shards.arrow_segments import ArrowSegments

WINDOW, RATE = 81, 8000
CLASSES = ("above", "below")


def task(classes: tuple[str, ...] = CLASSES, kind: str = "multiclass") -> Task:
    return Task("pulses", classes, kind=kind, sample_rate=RATE, window=WINDOW)


def pulses(level: float, side: int) -> np.ndarray:
    """A ramp of a given RMS that lies above zero, or below it."""
    wave = np.linspace(0.2, 1, WINDOW)
    return side * level * wave / np.sqrt(np.mean(wave**2))


@pytest.fixture(scope="module")
def segments(tmp_path_factory):
    """120 segments: every level once above zero and once below, so that level and class are independent."""
    folder = tmp_path_factory.mktemp("pulses")
    with ShardWriter(folder / shard_name("test", 1, 1), task()) as shard:
        for number, level in enumerate(np.linspace(0.3, 0.4, 60)):
            for index, side in enumerate((1, -1)):
                sound = np.round(32768 * pulses(level, side)).astype(np.int16)
                shard.add(f"{number}-{index}", [index], sound[None])
    return ArrowSegments(folder, "test")


@torch.no_grad()
def wired() -> SampleCNN:
    """Block 0's units: 0 grows with the level, 1 falls with it, 2 separates above from below, the others are 0.5."""
    net = SampleCNN(ModelConfig(block="se", num_blocks=1, features=4, num_classes=2, amplifying_ratio=1.0), task())
    for name, value in net.named_parameters():
        if not name.endswith("norm.weight") and name != "norm0.weight":
            value.zero_()
    net.conv0.weight[0], net.conv0.weight[1] = 1 / 3, -1 / 3
    block = net.blocks[0]
    for feature in range(2):
        block.conv.weight[feature, feature, 1] = 1
    excitation = block.excitation
    excitation.ex0.weight[0, :2] = 1
    excitation.ex0.weight[1, 0] = excitation.ex0.weight[2, 1] = 1
    excitation.ex1.weight[0, 0], excitation.ex1.weight[1, 0] = 0.2, -0.2
    excitation.ex1.weight[2, 1], excitation.ex1.weight[2, 2] = 0.2, -0.2
    return net.eval()


def test_units_wired_to_loudness_correlate_with_it_and_no_others(segments):
    net = wired()
    found = excitations(net, segments)
    up, down, side, *fixed = found.blocks[0].loudness_correlation
    assert up == pytest.approx(1, abs=2e-3) and down == pytest.approx(-1, abs=2e-3)
    assert abs(side) < 0.01
    assert len(fixed) == 5 and np.isnan(fixed).all()
    assert found.loudness.min() == pytest.approx(20 * np.log10(0.3), abs=0.01)


def test_a_unit_wired_to_the_class_has_its_variance_between_classes(segments):
    found = excitations(wired(), segments)
    block = found.blocks[0]
    assert block.eta_squared[2] > 0.99 and np.isnan(block.eta_squared[3])
    assert block.eta_squared[0] == pytest.approx(0, abs=0.01)
    assert block.class_std[2] > 20 * block.class_std[0] and block.class_std[3] == 0
    assert found.chance == pytest.approx(1 / 119)
    assert found.counts.tolist() == [60, 60]


def test_a_linear_function_of_the_level_has_correlation_one(segments):
    """An excitation that is linear in the level in dB."""
    net = wired()
    place = net.blocks[0].excitation
    levels = iter(torch.from_numpy(loudness(segments.waveforms(np.arange(len(segments))))).split(10))
    slope = torch.tensor([0.01, -0.02, *[0.0] * 6])
    place.factors = lambda x: 0.5 + next(levels)[:, None] * slope
    place.forward = lambda x: x  # else the network's own call would use up levels, too
    found = excitations(net, segments, batch_size=10).blocks[0].loudness_correlation
    assert found[:2] == pytest.approx([1, -1], abs=1e-6) and np.isnan(found[2:]).all()


def test_one_segment_per_class_is_too_few_for_a_statement(segments, tmp_path):
    """Then all variance lies between classes, whatever the network does."""
    torch.manual_seed(0)
    net = SampleCNN(ModelConfig(block="se", num_blocks=3, features=8, num_classes=2), task()).eval()
    with torch.no_grad():
        for place in excitation_modules(net).values():
            place.ex0.weight.abs_().mul_(10)  # else the factors of an untrained network hardly differ
            place.ex1.weight.mul_(10)
    with ShardWriter(tmp_path / shard_name("test", 1, 1), task()) as shard:
        for index, side in enumerate((1, -1)):
            shard.add(str(index), [index], np.round(32768 * pulses(0.3, side)).astype(np.int16)[None])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        *_, few = sentences(excitations(net, ArrowSegments(tmp_path, "test")))
        *_, many = sentences(excitations(net, segments))
    assert few.startswith("2 segments of 2 classes are too few") and "block" not in few
    assert many.startswith("the share between classes ") and "in block2" in many and "by chance 0.8 %" in many


def factors_by_division(net, segments):
    """All factors, float32 [segments, units] of every block, from the ratio of outputs and inputs."""
    from samplecnn.audio import standardise

    seen: dict[str, torch.Tensor] = {}
    handles = [
        place.register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, (o / i[0]).nanmean(1)))
        for name, place in excitation_modules(net).items()
    ]
    wave = torch.from_numpy(standardise(segments.waveforms(np.arange(len(segments))), net.task))
    with torch.no_grad():
        net.features(wave)
    for handle in handles:
        handle.remove()
    return {name: value.numpy() for name, value in seen.items()}


@pytest.mark.parametrize("block", ["se", "rese1", "rese2"])
def test_running_sums_give_the_statistics_of_all_values(segments, block, tmp_path):
    torch.manual_seed(1)
    net = SampleCNN(ModelConfig(block=block, num_blocks=2, features=8, num_classes=2), task()).eval()
    found = excitations(net, segments, batch_size=7, parquet=tmp_path / "values.parquet")
    again = excitations(net, segments, batch_size=120)
    table = pq.read_table(tmp_path / "values.parquet")
    assert table["id"].to_pylist() == segments.ids and table["segment"].to_pylist() == [0] * 120
    labels = np.array([names[0] for names in table["labels"].to_pylist()])
    level = table["loudness_db"].to_numpy()
    assert np.array_equal(level, loudness(segments.waveforms(np.arange(120))))
    straight = factors_by_division(net, segments)
    for one, other in zip(found.blocks, again.blocks, strict=True):
        values = np.array(table[one.name].to_pylist())
        hand = straight[one.name]
        known = ~np.isnan(hand)
        assert values[known] == pytest.approx(hand[known], abs=1e-5)
        assert one.mean == pytest.approx(values.mean(axis=0), abs=1e-7)
        assert one.std == pytest.approx(values.std(axis=0), rel=1e-3, abs=1e-7)
        for number, name in enumerate(CLASSES):
            assert one.class_mean[number] == pytest.approx(values[labels == name].mean(axis=0), abs=1e-7)
        loose = values.std(axis=0) > 1e-5
        expected = [np.corrcoef(level, values[:, unit])[0, 1] for unit in np.flatnonzero(loose)]
        assert one.loudness_correlation[loose] == pytest.approx(expected, abs=1e-3)
        groups = [values[labels == name] for name in CLASSES]
        between = sum(len(g) * (g.mean(axis=0) - values.mean(axis=0)) ** 2 for g in groups) / 120
        assert one.eta_squared[loose] == pytest.approx((between / values.var(axis=0))[loose], abs=1e-3)
        assert one.histogram.sum() == values.size
        assert other.mean == pytest.approx(one.mean, abs=1e-6)
        assert np.nan_to_num(other.eta_squared) == pytest.approx(np.nan_to_num(one.eta_squared), abs=1e-3)


def test_segments_of_several_labels_count_for_each(tmp_path):
    names = ("loud", "quiet", "any", "never")
    with ShardWriter(tmp_path / shard_name("test", 1, 1), task(names, "multilabel")) as shard:
        for number in range(40):
            sound = pulses(0.4 if number % 2 else 0.1, 1)
            shard.add(str(number), [1 - number % 2, 2], np.round(32768 * sound).astype(np.int16)[None])
    net = wired()
    net.task = task(names, "multilabel")
    found = excitations(net, ArrowSegments(tmp_path, "test"))
    assert found.counts.tolist() == [20, 20, 40, 0]
    mean = found.blocks[0].class_mean[:, 0]
    assert mean[0] > mean[2] > mean[1] and np.isnan(mean[3])
    assert mean[2] == pytest.approx((mean[0] + mean[1]) / 2)
    assert not np.isnan(found.spread).any()
    merges, present = found.linkage()
    assert present == [0, 1, 2] and len(merges) == 2
    for draw in (plots.draw_excitations_units, plots.draw_excitations_clusters, plots.draw_excitations_spread):
        assert draw(found).axes


def test_classes_that_excite_alike_are_merged_first(tmp_path):
    """Two classes above zero, two below."""
    names, rng = ("up1", "down1", "up2", "down2"), np.random.default_rng(2)
    with ShardWriter(tmp_path / shard_name("test", 1, 1), task(names)) as shard:
        for number in range(80):
            sound = pulses(rng.uniform(0.3, 0.4), (1, -1)[number % 2])
            shard.add(str(number), [number % 4], np.round(32768 * sound).astype(np.int16)[None])
    net = wired()
    net.task = task(names)
    merges, present = excitations(net, ArrowSegments(tmp_path, "test")).linkage("block0")
    assert present == [0, 1, 2, 3]
    assert {frozenset(map(int, merge[:2])) for merge in merges[:2]} == {frozenset((0, 2)), frozenset((1, 3))}


class Endless(ArrowSegments):
    """A data set of any number of segments, generated when read."""

    def __init__(self, count: int) -> None:
        self.task, self.split, self.count = task(), "test", count
        self.segment = np.zeros(count, np.int32)
        self.labels = np.eye(2, dtype=np.uint8)[np.arange(count) % 2]

    def __len__(self) -> int:
        return self.count

    def waveforms(self, indices) -> np.ndarray:
        return np.random.default_rng(len(indices)).uniform(-1, 1, (len(indices), WINDOW)).astype(np.float32)


def test_memory_does_not_grow_with_the_data_set():
    net = SampleCNN(ModelConfig(block="se", num_blocks=2, features=32, num_classes=2), task()).eval()
    excitations(net, Endless(100))  # imports and compilation happen once
    peaks = []
    for count in (500, 5000):
        tracemalloc.start()
        excitations(net, Endless(count), batch_size=50)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    one_segment = 4 * 2 * 32  # bytes of its factors alone
    assert peaks[1] - peaks[0] < 4500 * one_segment / 2


def test_wrong_use_is_one_line(segments):
    with pytest.raises(
        UsageError, match=r"\(res2\) have no excitations; use a model with the blocks se, rese1 or rese2"
    ):
        excitations(SampleCNN(ModelConfig(block="res2", num_blocks=2, features=8, num_classes=2), task()), segments)
    with pytest.raises(UsageError, match="its test split has no segments"):
        excitations(wired(), Endless(0))
    with pytest.raises(UsageError, match="the model has no task"):
        excitations(SampleCNN(ModelConfig(num_blocks=2, features=8, num_classes=2)), segments)
    found = excitations(wired(), segments)
    with pytest.raises(UsageError, match="no excitations in 'block7'; there are block0"):
        found.block("block7")


def test_level_of_silence_and_of_full_scale(tone):
    waves = np.stack([np.zeros(100, np.float32), np.ones(100, np.float32), tone(441, 100 / 22050)])
    assert loudness(waves) == pytest.approx([-100, 0, 20 * np.log10(0.5 / np.sqrt(2))], abs=0.01)


def test_the_network_is_not_changed(segments):
    net = wired().train()
    excitations(net, segments)
    assert net.training and not net.blocks[0].excitation._forward_pre_hooks


def test_pictures(segments, tmp_path):
    found = excitations(wired(), segments)
    loud = plots.draw_excitations_loudness(found)
    dots = np.concatenate([line.get_ydata() for line in loud.axes[0].lines if line.get_marker() == "."])
    known = found.blocks[0].loudness_correlation
    assert np.allclose(np.sort(dots), np.sort(known[~np.isnan(known)]))
    for number, draw in enumerate((plots.draw_excitations_units, plots.draw_excitations_distribution)):
        assert plots.save_figure(draw(found), tmp_path / f"{number}.png").stat().st_size > 5000
    assert plots.save_figure(plots.draw_excitations_spread(found), tmp_path / "s.svg").read_text().startswith("<?xml")
    image = plots.draw_excitations_units(found).axes[0].images[0].get_array()
    deviations = found.blocks[0].class_mean - found.blocks[0].mean
    assert np.allclose(np.sort(image.ravel()), np.sort(deviations.ravel()))


def test_a_trend_is_only_claimed_where_every_block_follows_it():
    names = [f"block{number}" for number in range(5)]
    assert (
        trend(names, np.array([0.06, 0.2, 0.3, 0.4, 0.51]))
        == "grows with depth, from 6.0 % in block0 to 51.0 % in block4"
    )
    assert trend(names, np.array([0.5, 0.4, 0.3, 0.3, 0.1])).startswith("falls with depth, from 50.0 % in block0")
    dip = trend(names, np.array([0.2, 0.5, 0.17, 0.3, 0.6]))  # correlates with depth by 0.6, yet falls to a third
    assert (
        dip
        == "grows from 20.0 % in block0 to 60.0 % in block4, but not steadily: it falls in block2 (50.0 % to 17.0 %)"
    )
    assert "with depth" not in dip
    zigzag = trend([*names, "block5", "block6", "block7", "tail"], np.array([1, 9, 2, 8, 3, 7, 4, 6, 5]) / 10)
    assert "block2" in zigzag and "block4" in zigzag and zigzag.endswith(" and 1 more")
    assert trend(names, np.full(5, 0.25)) == "is 25.0 % in every block"
    assert trend(names, np.array([0.1, 0.4, 0.2, 0.3, 0.1])).startswith("is the same in the first and the last block")


def test_pictures_of_many_classes_are_bounded():
    """300 classes: every picture shows those with the most segments, notes it in the title, and stays small."""
    generator = np.random.default_rng(0)
    classes, units = 300, 16
    counts = np.arange(1, classes + 1)
    blocks = tuple(
        BlockExcitations(
            name=f"block{number}", mean=np.full(units, 0.5), std=np.full(units, 0.1),
            class_mean=generator.uniform(0.3, 0.7, (classes, units)), loudness_correlation=np.zeros(units),
            eta_squared=np.full(units, 0.2), histogram=generator.integers(1, 9, (classes, 50)),
        )
        for number in range(2)
    )  # fmt: skip
    names = tuple(f"class {number}" for number in range(classes))
    found = Excitations(names, blocks, counts, int(counts.sum()), np.zeros(9, np.float32), "many")
    for draw in (plots.draw_excitations_units, plots.draw_excitations_distribution, plots.draw_excitations_clusters):
        figure = draw(found)
        assert np.prod(figure.get_size_inches()) * figure.dpi**2 <= 10e6  # 40 MB
        assert "100 of 300 classes: those with the most segments" in figure.get_suptitle()
    shown = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert sorted(shown) == sorted(names[200:])
