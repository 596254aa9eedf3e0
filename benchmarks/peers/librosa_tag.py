"""Tags recordings as scripts for panns_inference or musicnn do: librosa.load and a PyTorch network, file by file.

    python librosa_tag.py FOLDER OUT RATE WINDOW

All mp3 files of FOLDER; the mean of the scores of a file's windows goes to OUT, a line of JSON each. The network is
SampleCNN `se` of MagnaTagATune's size, written as in a paper's code, with random weights. Nothing is tuned: PyTorch's
default threads, float32, a forward pass for each file. Needs librosa, and does not import samplecnn. The last line on
the standard error says peak memory in kB and the number of parameters.
"""

import json
import sys
from pathlib import Path

import librosa
import torch
from torch import nn

FEATURES = (128, 128, 256, 256, 256, 256, 256, 256, 512)  # of the blocks


class Block(nn.Module):
    def __init__(self, inputs, features):
        super().__init__()
        self.conv = nn.Conv1d(inputs, features, 3, padding=1)
        self.norm = nn.BatchNorm1d(features, eps=1e-3)
        self.pool = nn.MaxPool1d(3)
        self.squeeze, self.excite = nn.Linear(features, features // 8), nn.Linear(features // 8, features)

    def forward(self, x):
        x = self.pool(torch.relu(self.norm(self.conv(x))))
        weights = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean(2)))))
        return x * weights.unsqueeze(2)


class Network(nn.Module):
    def __init__(self, classes=50):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(1, 128, 3, stride=3), nn.BatchNorm1d(128, eps=1e-3)
        self.blocks = nn.Sequential(*map(Block, (128, *FEATURES[:-1]), FEATURES))
        self.dense, self.dense_norm = nn.Linear(512, 512), nn.BatchNorm1d(512, eps=1e-3)
        self.logit = nn.Linear(512, classes)

    def forward(self, x):
        x = self.blocks(torch.relu(self.norm(self.conv(x.unsqueeze(1))))).amax(2)
        return torch.sigmoid(self.logit(torch.relu(self.dense_norm(self.dense(x)))))


folder, out, rate, window = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
model = Network().eval()
with out.open("w", encoding="utf-8") as file:
    for path in sorted(folder.glob("*.mp3")):
        wave, _ = librosa.load(path, sr=rate, mono=True)
        wave = torch.from_numpy(wave)
        wave = torch.nn.functional.pad(wave, (0, -len(wave) % window))
        with torch.no_grad():
            scores = model(wave.reshape(-1, window)).mean(0)
        file.write(json.dumps({"path": str(path), "scores": scores.tolist()}) + "\n")
peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(peak, sum(value.numel() for value in model.state_dict().values() if value.ndim), file=sys.stderr)
