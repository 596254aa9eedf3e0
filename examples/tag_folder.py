"""Tags all recordings of a folder and writes their three best tags as CSV. Needs no PyTorch.

python tag_folder.py MODEL FOLDER OUT.csv
"""

import csv
import sys
from pathlib import Path

import samplecnn
from samplecnn.errors import AudioError
from samplecnn.tagging.find import find_files


def tag_folder(model: str, folder: str, out: str) -> int:
    """Writes path, tag and score; returns how many recordings could not be used."""
    tagger = samplecnn.Tagger(model)
    failed = 0
    with Path(out).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "tag", "score"])
        # Files are decoded in threads and batched together; the results come in the order of the files.
        for path, result in tagger.tag_files(find_files([folder]).files):
            if isinstance(result, AudioError):
                print(f"failed: {result}", file=sys.stderr)
                failed += 1
                continue
            for tag, score in result.top(3):
                table.writerow([path, tag, f"{score:.4f}"])
    return failed


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(1 if tag_folder(*sys.argv[1:]) else 0)
