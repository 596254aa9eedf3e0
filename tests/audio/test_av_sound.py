"""Formats that libsndfile does not know, written and read by PyAV: onset, length, level, streams, damage, limits."""

import io
import shutil
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import soxr

from samplecnn import av_sound
from samplecnn.audio import Remarks, decode, stream
from samplecnn.errors import AudioError
from samplecnn.tagging.find import find_files

av = pytest.importorskip("av", reason="needs PyAV (the extra av)")
RATE = 44100
# Container, codec, rate, suffix; lossless or not; whether the file tells its exact length.
FORMATS = {
    "m4a": ("ipod", "aac", RATE, True),
    "alac": ("ipod", "alac", RATE, True),
    "aac": ("adts", "aac", RATE, False),
    "webm": ("webm", "libopus", 48000, False),
    "mka": ("matroska", "aac", RATE, False),
    "wma": ("asf", "wmav2", RATE, False),
    "ac3": ("ac3", "ac3", RATE, False),
    "eac3": ("mp4", "eac3", RATE, False),
    "wv": ("wv", "wavpack", RATE, True),
    "flv": ("flv", "aac", RATE, False),
    "avi": ("avi", "libmp3lame", RATE, False),
}


def signal(rate: int = RATE) -> np.ndarray:
    """3 s: silence, from 1 s on a tone of 1 kHz, silence from 2 s on."""
    time = np.arange(3 * rate) / rate
    return np.where((time >= 1) & (time < 2), 0.5 * np.sin(2 * np.pi * 1000 * time), 0).astype(np.float32)


def encoded(container: str, codec: str, rate: int, waves: list[np.ndarray], video: bool = False) -> bytes:
    """A file with an audio stream of two channels for each waveform, and a video stream before them."""
    memory = io.BytesIO()
    with av.open(memory, "w", format=container) as output:
        if video:
            picture = output.add_stream("mpeg4", rate=5)
            picture.width, picture.height, picture.pix_fmt = 64, 64, "yuv420p"
        streams = [output.add_stream(codec, rate=rate, layout="stereo", bit_rate=192000) for _ in waves]
        if video:
            for _ in range(8):
                output.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
            output.mux(picture.encode(None))
        for each, wave in zip(streams, waves, strict=True):
            each.codec_context.time_base = Fraction(1, rate)
            if codec == "wavpack":
                each.codec_context.format = "s16p"  # its first one has 8 bits
            frame = av.AudioFrame.from_ndarray(np.stack([wave, wave / 2]), format="fltp", layout="stereo")
            frame.sample_rate = rate
            resampler = av.AudioResampler(format=each.codec_context.format, layout="stereo", rate=rate)
            done = 0
            for part in [*resampler.resample(frame), None]:
                if part is not None:
                    part.pts, part.time_base = done, Fraction(1, rate)
                    done += part.samples
                output.mux(each.encode(part))
    return memory.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded")
    for suffix, (container, codec, rate, _) in FORMATS.items():
        (folder / f"x.{suffix}").write_bytes(encoded(container, codec, rate, [signal(rate)]))
    return folder


def onset(wave: np.ndarray, rate: int) -> float:
    """Seconds until the tone's level is reached, by its envelope over 2 ms."""
    power = np.convolve(wave.astype(np.float64) ** 2, np.ones(rate // 500) / (rate // 500), "same")
    return float(np.argmax(power > power.max() / 4)) / rate


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_tone_begins_within_a_millisecond_of_its_place(files, suffix):
    _, codec, rate, exact = FORMATS[suffix]
    wave = decode(files / f"x.{suffix}", rate)
    wanted = 0.75 * signal(rate)  # the mean of both channels
    assert onset(wave, rate) == pytest.approx(onset(wanted, rate), abs=0.001)
    tone = slice(int(1.1 * rate), int(1.9 * rate))
    assert np.sqrt((wave[tone] ** 2).mean()) == pytest.approx(
        0.375 / np.sqrt(2),
        rel=0.04 if codec == "libmp3lame" else 0.02,  # LAME lowers the level by 3 %
    )
    assert len(wave) == 3 * rate if exact else abs(len(wave) / rate - 3) < 0.06
    if codec in ("alac", "wavpack"):
        np.testing.assert_allclose(wave, wanted, atol=1e-4)


def test_pieces_resampling_and_the_first_seconds(files):
    path = files / "x.m4a"
    whole = decode(path, 22050)
    np.testing.assert_array_equal(np.concatenate(list(stream(path, 22050))), whole)
    np.testing.assert_array_equal(decode(path, 22050, 1.5), whole[: int(1.5 * 22050)])
    np.testing.assert_array_equal(decode(path, 22050), whole, "the worker is used again")
    reference = soxr.resample(decode(path, RATE), RATE, 22050, quality="HQ")
    np.testing.assert_allclose(whole, reference[: len(whole)], atol=1e-6)


def test_open_files_and_bytes_in_memory(files):
    path = files / "x.webm"
    wanted = decode(path, 16000)
    with path.open("rb") as file:
        np.testing.assert_array_equal(decode(file, 16000), wanted)
    np.testing.assert_array_equal(decode(io.BytesIO(path.read_bytes()), 16000), wanted)


def test_the_first_audio_stream_of_a_video(tmp_path):
    other = np.full(3 * RATE, 0.1, np.float32)
    for container, codec in (("mp4", "aac"), ("matroska", "ac3")):
        path = tmp_path / f"film.{'mp4' if container == 'mp4' else 'mkv'}"
        path.write_bytes(encoded(container, codec, RATE, [signal(), other], video=True))
        assert onset(decode(path, RATE), RATE) == pytest.approx(onset(signal(), RATE), abs=0.001)
    silent = tmp_path / "silent.mp4"
    silent.write_bytes(encoded("mp4", "aac", RATE, [], video=True))
    with pytest.raises(AudioError, match=r"silent\.mp4: has no sound in it"):
        decode(silent, RATE)


def test_folders_are_searched_for_them(files):
    found = {path.rpartition(".")[2] for path in find_files([files]).files}
    assert found == set(FORMATS)


def test_damaged_files_are_named_and_never_crash(files, tmp_path):
    whole = (files / "x.m4a").read_bytes()
    cut = tmp_path / "cut.mka"
    data = (files / "x.mka").read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioError, match=r"cut\.mka: (cut short|damaged)"):
        decode(cut, RATE)
    remarks = Remarks()
    kept = decode(cut, RATE, None, True, remarks)
    assert 1 < len(kept) / RATE < 2 and remarks.missing
    for name, content in {"head.m4a": whole[:100], "junk.m4a": b"\0\0\0\x20ftypM4A " + bytes(5000)}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AudioError, match=name):
            decode(tmp_path / name, RATE)
    rng = np.random.default_rng(0)
    for _ in range(8):
        broken = bytearray(whole)
        for place in rng.integers(0, len(broken), 20):
            broken[place] = rng.integers(0, 256)
        try:
            wave = decode(io.BytesIO(broken), RATE)
        except AudioError:
            continue
        assert np.isfinite(wave).all() and len(wave) < 100 * RATE


def test_playlists_open_nothing_else(files, tmp_path):
    shutil.copy(files / "x.aac", tmp_path / "x.aac")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:3,\nx.aac\n#EXT-X-ENDLIST\n"
    for name, text in {"list.aac": playlist, "list.m4a": "ffconcat version 1.0\nfile x.aac\n"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(AudioError, match=name):
            decode(tmp_path / name, RATE)


def test_a_worker_that_dies_is_one_files_error(files, monkeypatch):
    taken = []
    real = av_sound._Workers.take
    monkeypatch.setattr(av_sound._Workers, "take", lambda self: taken.append(real(self)) or taken[-1])
    pieces = av_sound.AvSound(io.BytesIO((files / "x.wv").read_bytes()), None, 1)
    taken[0][1].kill()
    with pytest.raises(AudioError, match="its decoder was ended by SIGKILL"):
        while len(pieces.read(RATE)):
            pass
    assert len(decode(files / "x.wv", RATE)) == 3 * RATE


def test_a_worker_of_which_only_the_first_seconds_were_wanted_decodes_the_next_file(files):
    av_sound._workers.close()
    for _ in range(3):
        assert len(decode(files / "x.m4a", RATE, 0.2)) == int(0.2 * RATE)
    ((_, count, worker),) = av_sound._workers.idle
    assert count == 3 and worker.process.poll() is None
    assert len(decode(files / "x.wv", RATE)) == 3 * RATE


def test_transport_streams_are_told_from_programs_by_their_content(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/x.ts").write_bytes(encoded("mpegts", "aac", RATE, [signal()]))
    (tmp_path / "in/program.ts").write_text("Get: const G = 1\n" * 500)
    found = find_files([tmp_path / "in"])
    assert [name.rpartition("/")[2] for name in found.files] == ["x.ts"] and "1 .ts" in found.notes[0]
    wave = decode(found.files[0], RATE)
    assert abs(len(wave) / RATE - 3) < 0.1 and abs(onset(wave, RATE) - 1) < 0.001


def test_without_pyav_the_remedy_is_named(files, without_av):
    for suffix in ("m4a", "webm", "wv"):
        with pytest.raises(AudioError, match=r"not decoded here; convert it .* or pip install 'samplecnn\[av\]'"):
            decode(files / f"x.{suffix}", RATE)


def test_what_libsndfile_knows_never_reaches_pyav(tmp_path, monkeypatch):
    monkeypatch.setattr(av_sound, "AvSound", None)
    soundfile.write(tmp_path / "x.m4a", signal(), RATE, format="WAV")
    assert len(decode(tmp_path / "x.m4a", RATE)) == 3 * RATE
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(AudioError, match="not audio but text"):
        decode(tmp_path / "text.wav", RATE)
    (tmp_path / "text.m4a").write_text("no sound")
    with pytest.raises(AudioError, match="not audio but text"):
        decode(tmp_path / "text.m4a", RATE)
