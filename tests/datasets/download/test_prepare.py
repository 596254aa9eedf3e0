"""`prepare` end to end: small data sets laid out as the published ones, from a local server."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from small_data_sets import EVALUATION, QUICK, TESTING, TRAINING, layout, serve
from zip_encryption import encrypted_zip

from samplecnn.datasets import REGISTRY
from samplecnn.datasets.download.prepare import prepare
from samplecnn.datasets.published import PUBLISHED, SCD
from samplecnn.errors import UsageError


def test_mtt_as_the_original_lays_it_out(server, tmp_path):
    published, _ = serve(server, "mtt")
    report = prepare("mtt", tmp_path, published=published, network=QUICK)
    raw = tmp_path / "mtt" / "raw"
    found = layout(raw)
    assert found[0] == "annotations_final.csv"
    assert len(found) == 41 and all(name.startswith("mp3/") for name in found[1:])  # and no archive remains
    assert sorted(path.name for path in (raw / "mp3").iterdir()) == list("0123456789abcdef")
    assert report.unpacked == {"mp3.zip": 40}
    assert report.downloaded == ["annotations_final.csv", "mp3.zip.001", "mp3.zip.002", "mp3.zip.003"]
    assert report.complete and report.sizes == published.expected
    assert all(clip.path.is_file() for clip in REGISTRY["mtt"].table(raw).clips)


def test_scd_as_the_original_lays_it_out(server, tmp_path):
    published, _ = serve(server, "scd")
    report = prepare("scd", tmp_path, published=published, network=QUICK)
    found = layout(tmp_path / "scd" / "raw")
    assert {"validation_list.txt", "testing_list.txt", "LICENSE", "_background_noise_/pink_noise.wav"} <= set(found)
    assert "zero/00000000_nohash_0.wav" in found and len(found) == 35 * 12 + 4
    assert report.complete and report.sizes == {"train": 350, "val": 35, "test": 35}


def test_dcs_as_the_original_lays_it_out(server, tmp_path):
    published, _ = serve(server, "dcs")
    report = prepare("dcs", tmp_path, published=published, network=QUICK)
    raw = tmp_path / "dcs" / "raw"
    assert sorted(path.name for path in raw.iterdir() if path.name != ".prepared") == [
        EVALUATION,
        "groundtruth_weak_label_evaluation_set.csv",
        "groundtruth_weak_label_testing_set.csv",
        "groundtruth_weak_label_training_set.csv",
        TESTING,
        TRAINING,
    ]
    assert [len(list((raw / folder).iterdir())) for folder in (TRAINING, TESTING, EVALUATION)] == [60, 17, 17]
    assert report.missing == 0 and sum(report.sizes.values()) == 60 + 17 + 17 and report.sizes["test"] == 17


def test_testing_zip_of_dcs_opens_with_either_published_password(server, tmp_path):
    published, _ = serve(server, "dcs")
    name = "Task_4_DCASE_2017_testing_set.zip"
    audio = {f"{TESTING}/Ytest{number:07}_30.000_40.000.wav": os.urandom(50) for number in range(17)}
    server.put(f"mirror/{name}", encrypted_zip(audio, "DCASE_2017_evaluation_set"))
    report = prepare("dcs", tmp_path, published=published, network=QUICK)
    assert report.unpacked[name] == 17


@pytest.mark.parametrize("name", ["mtt", "scd", "dcs"])
def test_second_run_has_nothing_to_do(server, tmp_path, name):
    published, _ = serve(server, name)
    prepare(name, tmp_path, published=published, network=QUICK)
    asked, before = len(server.requests), layout(tmp_path / name / "raw")
    report = prepare(name, tmp_path, published=published, network=QUICK)
    assert report.nothing_to_do and report.missing == 0
    assert len(server.requests) == asked and layout(tmp_path / name / "raw") == before
    if report.complete:
        assert "there was nothing to do" in report.text()


def test_data_set_unpacked_by_hand_is_recognised(server, tmp_path):
    published, _ = serve(server, "mtt")
    prepare("mtt", tmp_path, published=published, network=QUICK)
    shutil.rmtree(tmp_path / "mtt" / "raw" / ".prepared")
    asked = len(server.requests)
    assert prepare("mtt", tmp_path, published=published, network=QUICK).nothing_to_do
    assert len(server.requests) == asked


def test_kept_archives_are_unpacked_again_without_a_download(server, tmp_path):
    published, _ = serve(server, "mtt")
    raw = tmp_path / "mtt" / "raw"
    prepare("mtt", tmp_path, published=published, network=QUICK, keep_archives=True)
    assert {f"mp3.zip.00{i}" for i in (1, 2, 3)} <= set(layout(raw))
    asked = len(server.requests)
    victim = raw / "mp3" / "0" / "artist-album-00-title-0-29.mp3"
    victim.unlink()
    report = prepare("mtt", tmp_path, published=published, network=QUICK)
    assert not report.complete and report.missing == 1 and not victim.exists()
    assert "mp3/0/artist-album-00-title-0-29.mp3" in report.text() and "--again" in report.text()
    assert "1 of the 40 files of mp3.zip are missing, for example" in report.text()
    report = prepare("mtt", tmp_path, published=published, network=QUICK, again=True, keep_archives=True)
    assert report.complete and victim.exists() and len(server.requests) == asked


def test_again_downloads_an_archive_that_was_deleted(server, tmp_path):
    published, _ = serve(server, "scd")
    prepare("scd", tmp_path, published=published, network=QUICK)
    victim = tmp_path / "scd" / "raw" / "bed" / "00000003_nohash_0.wav"
    victim.unlink()
    report = prepare("scd", tmp_path, published=published, network=QUICK, again=True)
    assert victim.exists() and report.complete and report.downloaded == ["speech_commands_v0.02.tar.gz"]


def test_archive_is_unpacked_again_where_all_its_files_are_gone(server, tmp_path):
    published, _ = serve(server, "mtt")
    prepare("mtt", tmp_path, published=published, network=QUICK)
    shutil.rmtree(tmp_path / "mtt" / "raw" / "mp3")
    assert prepare("mtt", tmp_path, published=published, network=QUICK).unpacked == {"mp3.zip": 40}


def test_sizes_other_than_the_original_are_reported(server, tmp_path):
    published, _ = serve(server, "scd")
    report = prepare("scd", tmp_path, published=replace(published, expected=dict(SCD.expected)), network=QUICK)
    assert not report.complete
    assert "train: 350 clips, but the original has 84,843" in report.text()


def test_unknown_data_set(tmp_path):
    with pytest.raises(UsageError, match="'esc10' is not a published data set; expected dcs, mtt, scd"):
        prepare("esc10", tmp_path)


def test_published_addresses_are_sound():
    for name, published in PUBLISHED.items():
        assert published.licence and published.by_hand and set(published.expected) == {"train", "val", "test"}
        for download in published.downloads:
            assert all(url.startswith(("https://", "http://")) for url in download.urls)
            assert download.urls or download.instead_of
            assert Path(download.name).name == download.name
            kind, _, value = (download.checksum or "sha256:" + "0" * 64).partition(":")
            assert len(value) == {"sha256": 64, "md5": 32}[kind] and not value.strip("0123456789abcdef")
        assert REGISTRY[name].published is published
