"""Where the three published data sets come from, with the sizes and checksums of their files.

Addresses and layouts follow the README of the original code (tae-jun/sampleaudio) and the pages it names; the sources
of sizes and checksums are given next to them. None means that no trustworthy value is known: then only the length that
the server states, and the checksums inside an archive, can be checked.
"""

from samplecnn.datasets.base import Download, Published

_MTT_HOSTS = (
    "https://mirg.city.ac.uk/datasets/magnatagatune/",  # the current host
    "http://mi.soi.city.ac.uk/datasets/magnatagatune/",  # the address in the original README
)
_MTT_HUB = "https://huggingface.co/datasets/confit/magnatagatune/resolve/main/"
# Bytes of mp3.zip.001 to .003 as served by mirg.city.ac.uk; their sum is the 2.97 GB of the hub's joined mp3.zip.
_MTT_SIZES = (1_100_000_000, 1_100_000_000, 772_769_864)

MTT = Published(
    downloads=(
        Download(
            "annotations_final.csv",
            tuple(f"{host}annotations_final.csv" for host in (*_MTT_HOSTS, _MTT_HUB)),
        ),
        *(
            Download(
                f"mp3.zip.{number:03}",
                tuple(f"{host}mp3.zip.{number:03}" for host in _MTT_HOSTS),
                size=size,
                unpack="join:mp3.zip",
                into="mp3",  # the zip contains the folders 0 to f; the original's README puts them under mp3/
            )
            for number, size in enumerate(_MTT_SIZES, start=1)
        ),
        Download("mp3.zip", (f"{_MTT_HUB}mp3.zip",), unpack="zip", into="mp3", instead_of="mp3.zip"),
        # Result of `cat mp3.zip.* > mp3_all.zip` of the original's README: used where it exists, never downloaded.
        Download("mp3_all.zip", (), unpack="zip", into="mp3", instead_of="mp3.zip"),
    ),
    by_hand=(
        "MagnaTagATune: from https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset get annotations_final.csv and "
        "the audio mp3.zip.001, mp3.zip.002 and mp3.zip.003 (or the one file mp3.zip from "
        "https://huggingface.co/datasets/confit/magnatagatune)."
    ),
    licence=(
        "MagnaTagATune (CC BY-NC-SA; the audio is from Magnatune). Please cite: E. Law, K. West, M. Mandel, M. Bay and "
        "J. S. Downie, Evaluation of algorithms using games: the case of music annotation, ISMIR 2009."
    ),
    expected={"train": 15_250, "val": 1_529, "test": 4_332},
)

SCD = Published(
    downloads=(
        Download(
            "speech_commands_v0.02.tar.gz",
            (
                "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            ),
            # tensorflow/datasets, speech_commands/checksums.tsv; the same checksum in torchaudio's speechcommands.py
            size=2_428_923_189,
            checksum="sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
            unpack="tar",
        ),
    ),
    by_hand=(
        "Speech Commands v0.02: look for speech_commands_v0.02.tar.gz (2,428,923,189 bytes) at "
        "https://www.tensorflow.org/datasets/catalog/speech_commands or in the paper, https://arxiv.org/abs/1804.03209."
    ),
    licence=(
        "Speech Commands v0.02 (CC BY 4.0). Please cite: P. Warden, Speech Commands: a dataset for limited-vocabulary "
        "speech recognition, arXiv:1804.03209, 2018."
    ),
    expected={"train": 84_843, "val": 9_981, "test": 11_005},
)

_DCS_LABELS = "Task-4-Large-scale-weakly-supervised-sound-event-detection-for-smart-cars"


def _drive(file_id: str) -> tuple[str, ...]:
    # `confirm=t` skips the page that Google Drive shows for files too large for its virus scan.
    return (
        f"https://drive.usercontent.google.com/download?id={file_id}&export=download&confirm=t",
        f"https://docs.google.com/uc?export=download&id={file_id}",
    )


def _labels(part: str, size: int | None = None) -> Download:
    path = f"groundtruth_release/groundtruth_weak_label_{part}_set.csv"
    return Download(
        f"groundtruth_weak_label_{part}_set.csv",
        (
            f"https://raw.githubusercontent.com/ankitshah009/{_DCS_LABELS}/master/{path}",
            f"https://github.com/ankitshah009/{_DCS_LABELS}/raw/master/{path}",
        ),
        size=size,
    )


DCS = Published(
    downloads=(
        _labels("training"),
        _labels("testing"),
        _labels("evaluation", size=75_925),  # as in that repository
        Download(
            "DCASE_2017_evaluation_set_audio_files.zip",
            ("https://dl.dropboxusercontent.com/s/bbgqfd47cudwe9y/DCASE_2017_evaluation_set_audio_files.zip",),
            # DCASE-REPO/dcase_util, DCASE2017_Task4tagging_EvaluationSet
            size=863_120_639,
            checksum="md5:676b0b4a956db2445b16d7b13522808b",
            unpack="zip",
            password="DCASE_2017_evaluation_set",
        ),
        Download(
            "Task_4_DCASE_2017_testing_set.zip",
            _drive("1GfP5JATSmCqD8p3CBIkk1J90mfJuPI-k"),
            unpack="zip",
            # The original's README names the first, the page of the organisers the second.
            password=("DCASE_2017_testing_set", "DCASE_2017_evaluation_set"),
        ),
        Download(
            "Task_4_DCASE_2017_training_set.zip",
            _drive("1HOQaUHbTgCRsS6Sr9I9uE6uCjiNPC3d3"),
            unpack="zip",
            password="DCASE_2017_training_set",
        ),
    ),
    by_hand=(
        f"DCASE 2017 Task 4: the organisers' page https://github.com/ankitshah009/{_DCS_LABELS} links "
        "to the three audio zips and holds the three groundtruth_weak_label_*_set.csv under groundtruth_release/. "
        "Google Drive may require a click in a browser, or a wait of a day after too many downloads of a "
        "file: open https://drive.google.com/file/d/1HOQaUHbTgCRsS6Sr9I9uE6uCjiNPC3d3 (training) and "
        "https://drive.google.com/file/d/1GfP5JATSmCqD8p3CBIkk1J90mfJuPI-k (testing) there."
    ),
    licence=(
        "DCASE 2017 Task 4, a part of AudioSet (labels Apache 2.0; the audio belongs to its YouTube authors). "
        "Please cite: A. Mesaros et al., DCASE 2017 challenge setup: tasks, datasets and baseline system, "
        "DCASE Workshop 2017."
    ),
    expected={"train": 46_042, "val": 5_618, "test": 1_103},
)

PUBLISHED = {"mtt": MTT, "scd": SCD, "dcs": DCS}
