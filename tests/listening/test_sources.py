"""Sound from pipes, files and addresses arrives as it was sent."""

import http.server
import io
import os
import threading
import time

import numpy as np
import pytest
import soundfile

from samplecnn.errors import AudioError, UsageError
from samplecnn.extras import is_installed
from samplecnn.listening.microphone import MAX_WAITING, RATE, MicrophoneSource, chosen, microphones
from samplecnn.listening.sources import PcmSource, RecordingSource, UrlSource

WAVE = 0.5 * np.sin(np.arange(8000) / 7).astype(np.float32)
STEREO = np.stack((WAVE, -0.25 * WAVE), axis=1)


def whole(source):
    return np.concatenate(list(source.blocks()))


def encoded(samples, format):
    if format == "f32le":
        return samples.astype("<f4").tobytes()
    if format == "u8":
        return np.rint(samples * 128 + 128).astype("u1").tobytes()
    bits = {"s16le": 15, "s32le": 31}[format]
    return np.rint(samples.astype(np.float64) * 2**bits).astype(f"<i{(bits + 1) // 8}").tobytes()


class Trickle(io.RawIOBase):
    """A pipe that gives three bytes at a time."""

    def __init__(self, data):
        self.rest = data

    def readable(self):
        return True

    def readinto(self, target):
        count = min(3, len(target), len(self.rest))
        target[:count], self.rest = self.rest[:count], self.rest[count:]
        return count


@pytest.mark.parametrize(("format", "step"), [("s16le", 2**-15), ("s32le", 2**-30), ("f32le", 0), ("u8", 2**-7)])
@pytest.mark.parametrize("samples", [WAVE[:, None], STEREO], ids=["mono", "stereo"])
def test_raw_samples(format, step, samples):
    data = encoded(samples, format)
    frame = len(data) // len(samples)
    for file, count in ((io.BytesIO(data), len(samples)), (Trickle(data[: 75 * frame + frame // 2]), 75)):
        source = PcmSource(io.BufferedReader(file), 8000, samples.shape[1], format)
        got = whole(source)
        assert got.dtype == np.float32 and (source.rate, source.channels) == (8000, samples.shape[1])
        np.testing.assert_allclose(got, samples[:count], atol=step)


@pytest.mark.parametrize(("subtype", "step"), [("PCM_16", 2**-15), ("PCM_32", 2**-30), ("PCM_U8", 2**-7)])
def test_a_wav_header_is_believed(subtype, step):
    file = io.BytesIO()
    soundfile.write(file, STEREO, 11025, subtype, format="WAV")
    data = file.getvalue() + b"LIST\x04\x00\x00\x00abcd"  # what follows the sound is not heard
    source = PcmSource(io.BufferedReader(io.BytesIO(data)), 8000, 1, "f32le")
    got = whole(source)
    assert (source.rate, source.channels, got.shape) == (11025, 2, STEREO.shape)
    np.testing.assert_allclose(got, STEREO, atol=step)


def test_a_wav_of_unknown_length_is_heard_to_its_end():
    file = io.BytesIO()
    soundfile.write(file, WAVE, 8000, "PCM_16", format="WAV")
    data = bytearray(file.getvalue())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\x7f"  # what a recorder writes that cannot go back
    assert len(whole(PcmSource(io.BufferedReader(io.BytesIO(data))))) == len(WAVE)


@pytest.mark.parametrize("data", [b"RIFF", b"RIFF\x00\x00\x00\x00WAVEnope", b"RIFF" + bytes(100)])
def test_a_damaged_wav_header_is_one_line(data):
    with pytest.raises(AudioError, match="WAV header that cannot be read"):
        PcmSource(io.BufferedReader(io.BytesIO(data)))


def test_wav_of_floats_names_the_remedy():
    file = io.BytesIO()
    soundfile.write(file, WAVE, 8000, "FLOAT", format="WAV")
    with pytest.raises(AudioError, match="send raw samples"):
        PcmSource(io.BufferedReader(io.BytesIO(file.getvalue())))


def test_unknown_format():
    with pytest.raises(UsageError, match="use s16le"):
        PcmSource(io.BytesIO(), format="s24")


def test_a_recording_in_real_time(tmp_path):
    soundfile.write(tmp_path / "a.wav", WAVE[:2400], 8000)
    begun = time.monotonic()
    arrived = [time.monotonic() - begun for _ in RecordingSource(str(tmp_path / "a.wav"), 8000, realtime=True).blocks()]
    assert len(arrived) == 6 and all(at >= 0.05 * (number + 1) for number, at in enumerate(arrived))


class Radio(http.server.BaseHTTPRequestHandler):
    """Sends a FLAC file, with its length as a recording or without as a stream that breaks off."""

    data = b""

    def do_GET(self):
        self.send_response(200)
        if self.path == "/recording":
            self.send_header("Content-Length", str(len(self.data)))
        self.end_headers()
        self.wfile.write(self.data)

    def log_message(self, *_):
        pass


@pytest.fixture
def radio():
    file = io.BytesIO()
    soundfile.write(file, WAVE, 8000, format="FLAC")
    Radio.data = file.getvalue()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Radio)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(not is_installed("av"), reason="PyAV is not installed")
def test_a_stream_at_an_address(radio):
    got = whole(UrlSource(f"{radio}recording", 8000))
    np.testing.assert_allclose(got[:, 0], WAVE, atol=1e-3)
    frames = 0
    for block in UrlSource(f"{radio}live", 8000, pause=0.01).blocks():  # connected again when it breaks off
        frames += len(block)
        if frames > 2.5 * len(WAVE):
            break


@pytest.mark.skipif(not is_installed("av"), reason="PyAV is not installed")
def test_an_address_that_does_not_answer():
    with pytest.raises(AudioError, match="2 times in a row; check the address"):
        whole(UrlSource("http://127.0.0.1:9/", 8000, attempts=2, pause=0.01))
    with pytest.raises(UsageError, match="not an address"):
        UrlSource("stream.mp3", 8000)


def test_microphones_are_chosen_by_number_or_part_of_their_name():
    names = ["Built-in", "USB Audio", "usb headset"]
    assert [chosen("0", names), chosen("audio", names)] == [0, 1]
    with pytest.raises(UsageError, match="'usb' is not clear"):
        chosen("usb", names)
    with pytest.raises(UsageError, match="is not known; microphones: there is none"):
        chosen("x", [])


@pytest.mark.skipif(not is_installed("miniaudio"), reason="miniaudio is not installed")
def test_sound_that_comes_too_fast_is_counted():
    source = MicrophoneSource()
    for _ in range(100):
        source.push(np.zeros(RATE // 10, np.float32))
    assert 10 - MAX_WAITING - 0.2 < source.lost < 10 - MAX_WAITING + 0.2


@pytest.mark.skipif(not is_installed("miniaudio"), reason="miniaudio is not installed")
def test_the_silent_microphone_of_alsa():
    silent = [name for name in microphones() if name.startswith("Discard all samples")]
    if not silent or os.name != "posix":
        pytest.skip("ALSA's null device is not here")
    blocks = MicrophoneSource(silent[0]).blocks()
    first = next(blocks)
    blocks.close()
    assert first.dtype == np.float32 and first.shape[1] == 1 and not first.any()
