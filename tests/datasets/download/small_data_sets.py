"""Small data sets laid out like the published ones, served by a local server."""

import hashlib
import io
import os
import tarfile
import zipfile
from dataclasses import replace

from zip_encryption import encrypted_zip

from samplecnn.datasets import REGISTRY
from samplecnn.datasets.download.http import Network
from samplecnn.datasets.mtt import TAGS
from samplecnn.datasets.published import DCS, MTT, SCD

QUICK = Network(timeout=2.0, attempts=2, pause=0.01)

TRAINING = "unbalanced_train_segments_training_set_audio_formatted_and_segmented_downloads"

TESTING = "unbalanced_train_segments_testing_set_audio_formatted_and_segmented_downloads"

EVALUATION = "evaluation_set_formatted_audio_segments"


def zipped(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def mtt_files(clips=40):
    """By name on the server: the table of labels and the three parts of a zip with the folders 0 to f."""
    names = [f"{number % 16:x}/artist-album-{number:02}-title-0-29.mp3" for number in range(clips)]
    header = ["clip_id", *sorted(TAGS), "mp3_path"]
    rows = [
        [str(number), *(str(int(tag == "guitar")) for tag in sorted(TAGS)), name] for number, name in enumerate(names)
    ]
    table = "\n".join("\t".join(f'"{cell}"' for cell in row) for row in [header, *rows]) + "\n"
    archive = zipped({name: os.urandom(3000) for name in names})
    third = len(archive) // 3
    parts = [archive[:third], archive[third : 2 * third], archive[2 * third :]]
    return {"annotations_final.csv": table.encode(), **{f"mp3.zip.00{i}": part for i, part in enumerate(parts, 1)}}, {
        "train": sum(name[0] in "0123456789ab" for name in names),
        "val": sum(name[0] == "c" for name in names),
        "test": sum(name[0] in "def" for name in names),
    }


def scd_files(speakers=12):
    words = REGISTRY["scd"].task().classes
    names = [f"{word}/{speaker:08x}_nohash_0.wav" for word in words for speaker in range(speakers)]
    lists = {
        "validation_list.txt": [name for name in names if "/00000001_" in name],
        "testing_list.txt": [name for name in names if "/00000002_" in name],
    }
    files = {name: os.urandom(200) for name in names} | {"_background_noise_/pink_noise.wav": b"RIFF", "LICENSE": b"CC"}
    files |= {name: ("\n".join(lines) + "\n").encode() for name, lines in lists.items()}
    sizes = {"train": len(words) * (speakers - 2), "val": len(words), "test": len(words)}
    return {"speech_commands_v0.02.tar.gz": tarred(files)}, sizes


def dcs_files(clips=60):
    classes = REGISTRY["dcs"].task().classes
    files, spread = {}, {"training": clips, "testing": 17, "evaluation": 17}
    folders = {"training": TRAINING, "testing": TESTING, "evaluation": EVALUATION}
    archives = {
        "training": "Task_4_DCASE_2017_training_set.zip",
        "testing": "Task_4_DCASE_2017_testing_set.zip",
        "evaluation": "DCASE_2017_evaluation_set_audio_files.zip",
    }
    for part, count in spread.items():
        names = [f"{part[:4]}{number:07}_30.000_40.000.wav" for number in range(count)]
        rows = [f"{name}\t30.000\t40.000\t{classes[i % len(classes)]}\r\n" for i, name in enumerate(names)]
        files[f"groundtruth_weak_label_{part}_set.csv"] = "".join(rows).encode()
        audio = {f"{folders[part]}/Y{name}": os.urandom(500) for name in names}
        files[archives[part]] = encrypted_zip(audio, f"DCASE_2017_{part}_set")
    return files, {}


MAKE = {"mtt": (mtt_files, MTT), "scd": (scd_files, SCD), "dcs": (dcs_files, DCS)}


def serve(server, name, folder="mirror", **behaviour):
    """Puts a small data set on the server. Returns how it is published there, and its files.

    Names, kinds of archives, passwords and folders are the published ones; addresses, sizes and checksums are not.
    """
    make, real = MAKE[name]
    files, sizes = make()
    downloads = []
    for download in real.downloads:
        if download.name in files:
            body = files[download.name]
            url = server.put(f"{folder}/{download.name}", body, **behaviour)
            known = {"size": len(body), "checksum": f"sha256:{hashlib.sha256(body).hexdigest()}"}
            downloads.append(replace(download, urls=(url,), **(known if download.size else {})))
        else:
            downloads.append(replace(download, urls=(), size=None))
    return replace(real, downloads=tuple(downloads), expected=sizes), files


def layout(raw):
    return sorted(
        path.relative_to(raw).as_posix()
        for path in raw.rglob("*")
        if path.is_file() and path.relative_to(raw).parts[0] != ".prepared"
    )
