"""A part of a recording, decoded without what lies before it, has the samples that the whole recording has there."""

import io

import numpy as np
import pytest
import soundfile
from sounds import CountingFile

from samplecnn.audio import Remarks, decode, stream
from samplecnn.errors import AudioError

SECONDS = 6
# Suffix: subtype, rate. GSM cannot seek; Opus and mp3 predict from what lies before.
FORMATS = {
    "wav": ("PCM_16", 44100),
    "aiff": ("PCM_24", 16000),
    "flac": ("PCM_16", 48000),
    "ogg": ("VORBIS", 44100),
    "opus": ("OPUS", 48000),
    "mp3": ("MPEG_LAYER_III", 44100),
    "gsm.wav": ("GSM610", 8000),
    "ima.wav": ("IMA_ADPCM", 11025),
}


def sweep(rate: int, seconds: float = SECONDS) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(time))
    return 0.4 * np.sin(2 * np.pi * (200 + 100 * time) * time) + 0.05 * noise


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    for suffix, (subtype, rate) in FORMATS.items():
        kind = "OGG" if suffix == "opus" else None
        soundfile.write(folder / f"x.{suffix}", sweep(rate), rate, subtype=subtype, format=kind)
    return folder


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("sample_rate", [22050, 16000])
def test_parts_equal_the_whole(files, suffix, sample_rate):
    path = files / f"x.{suffix}"
    whole = decode(path, sample_rate)
    for start, seconds in [(0.0, 1.0), (0.01, 0.5), (0.6, 0.25), (1.23456, 2.0), (4.9, None), (5.9, 3.0)]:
        part = decode(path, sample_rate, seconds, start=start)
        first = round(start * sample_rate)
        expected = whole[first:] if seconds is None else whole[first : first + int(seconds * sample_rate)]
        assert len(part) == len(expected) > 0
        assert np.abs(part - expected).max() < 1 / 32768, (start, seconds)
        assert np.array_equal(np.concatenate(list(stream(path, sample_rate, seconds, start=start))), part)


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
@pytest.mark.parametrize("start", [0.5, 1.9, 2.1, 3.7])
def test_parts_of_joined_files(tmp_path, suffix, start):
    """Two recordings of 2 s in one file, of different rates where the format allows it; the part may be in either."""
    pieces = []
    for rate in (44100, 44100 if suffix == "mp3" else 32000):
        memory = io.BytesIO()
        soundfile.write(memory, sweep(rate, 2), rate, format=suffix.upper())
        pieces.append(memory.getvalue())
    (tmp_path / "x").with_suffix(f".{suffix}").write_bytes(b"".join(pieces))
    path = tmp_path / f"x.{suffix}"
    whole = decode(path, 22050)
    assert len(whole) >= 4 * 22050
    part = decode(path, 22050, 0.25, start=start)
    expected = whole[round(start * 22050) :][: len(part)]
    assert len(part) == int(0.25 * 22050) and np.abs(part - expected).max() < 1 / 32768


def test_only_the_part_is_read(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.zeros(16000 * 600, np.int16), 16000)

    counting = CountingFile(tmp_path / "long.wav")
    wrapped = io.BufferedReader(counting, 4096)
    assert len(decode(wrapped, 16000, 2.0, start=500.0)) == 2 * 16000
    assert counting.taken < 4 * 16000 * 2


def test_a_start_behind_the_end_is_named(files):
    with pytest.raises(AudioError, match=r"x\.flac: ends after 6\.00 s, before the start at 7 s; correct it"):
        decode(files / "x.flac", 22050, 1.0, start=7.0)


def test_a_part_of_a_truncated_recording_is_whole(files, tmp_path):
    data = (files / "x.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    whole = decode(files / "x.flac", 22050, 2.0)
    part = decode(tmp_path / "cut.flac", 22050, 1.0, start=1.0)
    assert np.abs(part - whole[22050:]).max() < 1 / 32768
    with pytest.raises(AudioError, match=r"cut\.flac"):
        decode(tmp_path / "cut.flac", 22050, 1.0, start=5.0)
    remarks = Remarks()
    assert len(decode(tmp_path / "cut.flac", 22050, 3.0, accept_truncated=True, remarks=remarks, start=2.0)) > 0
    assert "kept" in remarks.kept


def test_parts_of_formats_that_pyav_decodes(tmp_path):
    av = pytest.importorskip("av", reason="needs PyAV (the extra av)")
    with av.open(str(tmp_path / "x.m4a"), "w", format="ipod") as output:
        track = output.add_stream("aac", rate=44100, layout="mono", bit_rate=128000)
        frame = av.AudioFrame.from_ndarray(sweep(44100).astype(np.float32)[None], format="fltp", layout="mono")
        frame.sample_rate = 44100
        for packet in [*track.encode(frame), *track.encode(None)]:
            output.mux(packet)
    whole = decode(tmp_path / "x.m4a", 22050)
    part = decode(tmp_path / "x.m4a", 22050, 0.5, start=3.3)
    assert np.abs(part - whole[round(3.3 * 22050) :][: len(part)]).max() < 1 / 32768
