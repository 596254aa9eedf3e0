"""The mel scale and its filters, by values that are known."""

import numpy as np

from samplecnn.mel import filterbank, hertz, mel


def test_a_thousand_hertz_are_a_thousand_mel_and_back():
    assert abs(mel(1000.0) - 1000) < 0.1
    values = np.linspace(0, 11025, 50)
    assert np.allclose(hertz(mel(values)), values)


def test_filters_are_ordered_weigh_one_and_pass_a_tone_in_their_band():
    filters = filterbank(40, 1024, 22050)
    assert filters.shape == (40, 513) and np.allclose(filters.sum(axis=1), 1)
    peaks = filters.argmax(axis=1)
    assert (np.diff(peaks) > 0).all()
    time = np.arange(1024) / 22050
    for frequency in (300.0, 1000.0, 4000.0):
        power = np.abs(np.fft.rfft(np.hanning(1024) * np.sin(2 * np.pi * frequency * time))) ** 2
        loudest = (filters @ power).argmax()
        edges = hertz(np.linspace(0, mel(11025), 42))
        assert edges[loudest] <= frequency <= edges[loudest + 2]


def test_more_filters_than_bins_leave_none_empty():
    assert np.allclose(filterbank(64, 64, 8000).sum(axis=1), 1)
