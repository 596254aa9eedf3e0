"""Odd files, each with the expected result: the seconds that are decoded, or the error."""

from pathlib import Path

import numpy as np
import pytest

from samplecnn.audio import Remarks, decode, stream
from samplecnn.errors import AudioError

pytestmark = pytest.mark.usefixtures("without_av")  # what is said of formats that libsndfile does not decode

RATE = 8000
MP3 = 96_000 / 44_100  # four times 1.5 s at 16 kHz, with a header of 44.1 kHz
UNTAGGED = 85 * 1152 / 44_100  # whole frames
SHORT = 24_000 / 44_100
CUT = "cut short"

# Seconds; or the error; or the error and the seconds that are kept with accept_truncated.
EXPECTED: dict[str, float | str | tuple[str, float]] = {
    "aifc_sowt.aifc": 1.5,
    "aiff_ssnd_0.aiff": 1.5,
    "aiff_truncated.aiff": (CUT, 0.623),
    "au_truncated.au": (CUT, 0.624),
    "au_unknown_length.au": 1.5,
    "bext_big.wav": 1.5,
    "caf_truncated.caf": (CUT, 0.497),
    "cbr_no_xing.mp3": UNTAGGED,
    "channels_0.wav": "channel count is zero",
    "concatenated.mp3": 2 * MP3,
    "dc_offset.wav": 1.5,
    "double_length.wav": 1.5,
    "error_page.mp3": "not audio but a web page; download it again",
    "fake.aac": "AAC, which is not decoded here; convert it",
    "fake.m4a": "MPEG-4 audio or video (m4a, mp4, 3gp, mov), which is not decoded here; convert it",
    "fake.webm": "a WebM or Matroska file, which is not decoded here; convert it",
    "flac_id3.flac": 1.5,
    "flac_id3_art.flac": 1.5,
    "flac_truncated.flac": ("damaged", 0.504),
    "flac_unknown_total.flac": 1.5,
    "float_int16_range.wav": "times full scale; scale it",
    "float_peak_2.wav": 1.5,
    "header_cut_20.wav": "damaged",
    "header_only.wav": "holds no samples",
    "id3_art.mp3": MP3,
    "id3_art_no_xing.mp3": UNTAGGED,
    "id3_padding_zeros.mp3": MP3,
    "id3v1_ape.mp3": MP3,
    "inf.wav": "NaN or infinite samples",
    "inverted_stereo.wav": 1.5,
    "leading_zeros.mp3": MP3,
    "leading_zeros_60k.mp3": MP3,
    "left_only.wav": 1.5,
    "list_after_truncated.wav": 1.5,
    "list_zeros.wav": 1.5,
    "mp3_24k_mono.mp3": 1.0,
    "mp3_in_wav_0x55.wav": SHORT,
    "mp3_named.wav": 1.5,
    "nan.wav": "NaN or infinite samples",
    "nearly_inverted_stereo.wav": 1.5,
    "nist_named.wav": 1.5,
    "nist_shorten.wav": "the coding pcm,embedded-shorten-v2.00, which is not decoded here; decompress it",
    "odd_byte.wav": 0.0625,
    "off_by_100.wav": 1.5,
    "off_by_44.wav": 1.5,
    "ok.24.flac": 1.5,
    "ok.aiff": 1.5,
    "ok.alac.caf": 1.5,
    "ok.au": 1.5,
    "ok.caf": 1.5,
    "ok.flac": 1.5,
    "ok.ogg": 1.5,
    "ok.opus": 1.5,
    "ok.rf64": 1.5,
    "ok.sph": 1.5,
    "ok.voc": 1.5,
    "ok.w64": 1.5,
    "one_sample.wav": 1 / 16_000,
    "opus_android.oga": 1.504,
    "opus_chained.opus": 3.0,
    "opus_truncated.opus": (CUT, 0.874),
    "rate_0.wav": "damaged",
    "rate_11.wav": "implausible sample rate in its header, 11 Hz",
    "rate_192k.wav": 0.1,
    "rate_384k.flac": 0.05,
    "rate_8k.wav": 3.0,
    "rifx.wav": 1.5,
    "silent.wav": 1.5,
    "stream_7fffffff.wav": 1.5,
    "stream_arecord_80000000.wav": 1.5,
    "stream_arecord_old_7fffff00.wav": 1.5,
    "stream_ffffffdb.wav": 1.5,
    "stream_ffffffff.wav": 1.5,
    "stream_sox_7ffff000.wav": 1.5,
    "ten_samples.wav": 10 / 16_000,
    "text.wav": "not audio but text; download it again or leave it out",
    "truncated.wav": (CUT, 0.75),
    "truncated_xing.mp3": (CUT, 1.124),
    "unfinalised_0.wav": 1.5,
    "unfinalised_0_junk.wav": 1.5,
    "unfinalised_riff0_data_ok.wav": 1.5,
    "vbr.mp3": MP3,
    "vbr_no_xing.mp3": UNTAGGED,
    "vbr_no_xing_id3_info.mp3": UNTAGGED,
    "vorbis_chained.ogg": 3.0,
    "vorbis_no_eos.ogg": 1.5,
    "vorbis_trailing.ogg": 1.5,
    "vorbis_truncated.ogg": (CUT, 0.712),
    "w64_truncated.w64": (CUT, 0.622),
    "wav_alaw.wav": 1.5,
    "wav_double.wav": 1.5,
    "wav_float.wav": 1.5,
    "wav_gsm610.wav": 3.04,
    "wav_ima_adpcm.wav": 1.526,
    "wav_ms_adpcm.wav": 1.518,
    "wav_named.mp3": 1.5,
    "wav_pcm_16.wav": 1.5,
    "wav_pcm_24.wav": 1.5,
    "wav_pcm_32.wav": 1.5,
    "wav_pcm_u8.wav": 1.5,
    "wav_ulaw.wav": 1.5,
    "wavex_float_6ch.wav": 0.125,
    "wavex_pcm24_stereo.wav": SHORT,
    "zero_byte.wav": "empty, 0 bytes",
}
CANCELS = {"inverted_stereo.wav", "nearly_inverted_stereo.wav"}


@pytest.fixture
def folder(shared) -> Path:
    if not (shared / "attacks" / "audio").is_dir():
        pytest.skip("the folder of odd recordings is not there")
    return shared / "attacks" / "audio"


def test_every_odd_file_is_listed(folder):
    assert {path.name for path in folder.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_odd_file(folder, name):
    expected = EXPECTED[name]
    path = folder / name
    remarks = Remarks()
    if isinstance(expected, float):
        check(path, expected, False)
        decode(path, RATE, None, True, remarks)
        assert not remarks.missing, "nothing is missing"
        assert remarks.cancels == (name in CANCELS)
        return
    words = expected if isinstance(expected, str) else expected[0]
    with pytest.raises(AudioError) as caught:
        decode(path, RATE)
    assert words in str(caught.value) and "; " in str(caught.value) and str(caught.value).startswith(str(path))
    if isinstance(expected, str):
        with pytest.raises(AudioError):
            decode(path, RATE, None, True)
        return
    assert "--accept-truncated" in str(caught.value)
    check(path, expected[1], True)
    wave = decode(path, RATE, None, True, remarks)
    assert words in remarks.missing and remarks.kept.startswith(f"kept {len(wave) / RATE:.2f} s; ")


def check(path: Path, seconds: float, accept: bool) -> None:
    """Decoded at once and in blocks; the length to a frame of 26 ms, of uncompressed sound to a sample."""
    wave = decode(path, RATE, None, accept)
    assert np.array_equal(wave, np.concatenate(list(stream(path, RATE, None, accept))))
    exact = path.suffix not in (".mp3", ".ogg", ".oga", ".opus") and not accept
    assert len(wave) / RATE == pytest.approx(seconds, abs=1.01e-3 if exact else 1152 / 44_100)
    first = decode(path, RATE, seconds / 2, accept)
    assert np.allclose(first, wave[: int(seconds / 2 * RATE)], atol=1e-6)
