"""Fixtures for all tests: the real recordings where they are at hand, and signals whose answer is known."""

import gc
import os
import shutil
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

# The networks of the tests are tiny: a second thread costs them more than it gives, most of all on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_finish() -> None:
    """Modules and collected tests stay until the end: the garbage collector need not search them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """What the tests measure of the machine stays out of the user's cache folder; the processes that test share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "machine"
    folder.mkdir(exist_ok=True)
    os.environ["SAMPLECNN_CACHE"] = str(folder)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> None:
    """No test sees what a power failure leaves, for which many small files would wait until the disk has them."""
    os.fsync = os.fstat  # which also refuses what is no open file


@pytest.fixture(scope="session", autouse=True)
def only_training_in_trainings() -> None:
    """Baselines and pictures take longer than most of the many small trainings; tests of them ask for them."""
    from samplecnn.evaluation import baselines
    from samplecnn.training import logging

    baselines.FEW_CLIPS = 0
    DRAWING["curves"] = logging.draw_curves
    logging.draw_curves = lambda history, path, title: None


DRAWING: dict[str, Callable] = {}


@pytest.fixture
def curves(monkeypatch) -> None:
    """Trainings of the test draw their curves."""
    monkeypatch.setattr("samplecnn.training.logging.draw_curves", DRAWING["curves"])


def made_once(tmp_path_factory, name: str, make: Callable[[Path], None]) -> Path:
    """A new folder with what `make` writes into it; where several processes run the tests, one makes it for all.

    Each has a copy, so that no test sees what a test in another process changes.
    """
    folder = tmp_path_factory.mktemp(name)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        make(folder)
        return folder
    from samplecnn.system.locks import locked

    common = tmp_path_factory.getbasetemp().parent / name  # of all processes
    with locked(common.with_suffix(".lock"), f"{common} takes too long", wait=240.0):
        if not (common / "done").exists():  # else it is not there, or its maker failed
            shutil.rmtree(common, ignore_errors=True)
            (common / "made").mkdir(parents=True)
            make(common / "made")
            (common / "done").touch()
    return Path(shutil.copytree(common / "made", folder, dirs_exist_ok=True))


@pytest.fixture(autouse=True)
def nothing_traced_after_a_failure():
    """A test that fails while it counts memory must not make the next one count from there."""
    yield
    tracemalloc.stop()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real recordings, labels and files of the original code, beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "data" / "README.md").exists():
        pytest.skip("the shared recordings are not beside this checkout")
    return folder


@pytest.fixture
def without_av(monkeypatch):
    """PyAV, which decodes more formats, is not installed."""
    for module in ("recordings", "av_sound"):
        monkeypatch.setattr(f"samplecnn.{module}.is_installed", lambda name: False)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tensorflow_python() -> Path:
    """A Python interpreter that has TensorFlow: SAMPLECNN_TENSORFLOW, or `.venv-tensorflow` in the checkout."""
    python = Path(os.environ.get("SAMPLECNN_TENSORFLOW") or ROOT / ".venv-tensorflow" / "bin" / "python")
    try:
        subprocess.run([python, "-c", "import tensorflow"], check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        pytest.skip(f"no TensorFlow at {python}; set SAMPLECNN_TENSORFLOW to a Python interpreter that has it")
    return python


@pytest.fixture
def tone():
    """tone(frequency in Hz, seconds, rate) -> float32 sine of amplitude 0.5."""

    def make(frequency: float = 440.0, seconds: float = 1.0, rate: int = 22050) -> np.ndarray:
        time = np.arange(int(seconds * rate)) / rate
        return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)

    return make


SOUND_RATE, SOUND_WINDOW = 8000, 729


def small_sound(kind: str, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(SOUND_WINDOW) / SOUND_RATE
    if kind == "low":
        wave = np.sin(2 * np.pi * rng.uniform(150, 300) * time + rng.uniform(0, 6))
    elif kind == "high":
        wave = np.sin(2 * np.pi * rng.uniform(1500, 2500) * time + rng.uniform(0, 6))
    else:
        wave = rng.standard_normal(SOUND_WINDOW)
    return 0.3 * wave + 0.01 * rng.standard_normal(SOUND_WINDOW)


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> Path:
    """A folder with tones and noise; DATA in it holds them as "sounds" (one label) and "labels" (several), built."""
    import soundfile

    from samplecnn import build

    folder = tmp_path_factory.mktemp("training")
    rng = np.random.default_rng(0)
    rows = ["path,labels"]
    for kind in ("high", "low", "noise"):
        for index in range(30):
            path = folder / "sounds" / kind / f"{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, small_sound(kind, rng), SOUND_RATE)
            rows.append(f"sounds/{kind}/{index}.wav,{kind}{'|tonal' if kind != 'noise' else ''}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    for spec in ("sounds", "labels.csv"):
        build(str(folder / spec), folder / "data", workers=1, sample_rate=SOUND_RATE, window=SOUND_WINDOW)
    return folder


@pytest.fixture(scope="session")
def workspace(tmp_path_factory) -> Path:
    """After a first training: sounds/, data/sounds/arrow, log/20261122_101500-sounds-se_multi, and hum.wav of 3 s.

    The examples of docstrings, documentation and examples/ run here.
    """
    import soundfile

    from samplecnn import build, train

    folder = tmp_path_factory.mktemp("workspace")
    rng = np.random.default_rng(0)
    for name, kind in (("beep", "high"), ("hiss", "noise"), ("hum", "low")):
        for index in range(40):
            path = folder / "sounds" / name / f"{index}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, small_sound(kind, rng), SOUND_RATE)
    build(str(folder / "sounds"), folder / "data", workers=1, sample_rate=SOUND_RATE, window=SOUND_WINDOW)
    options = {"features": 16, "num_stages": 1, "max_epochs": 10, "patience": 10, "lr": 0.02, "batch_size": 6}

    def trained(log: Path) -> None:
        places = {"data_dir": str(folder / "data"), "log_dir": str(log)}
        result = train("sounds", recipe="original", warmup=10, **places, **options)
        result.run.rename(log / "20261122_101500-sounds-se_multi")

    made_once(tmp_path_factory, "trained", trained).rename(folder / "log")
    time = np.arange(3 * SOUND_RATE) / SOUND_RATE
    soundfile.write(folder / "hum.wav", 0.3 * np.sin(2 * np.pi * 220 * time), SOUND_RATE)
    return folder


def pytest_generate_tests(metafunc):
    """Tests with a micro-kernel run with the instructions that the machine has, or with the same in plain loops.

    Where the machine has tiles, only the test of their instructions runs in plain loops, too: all that uses them is the
    same, and compiling it once more takes longer than the tests.
    """
    names = sorted(micro_kernels())
    if "unit" in metafunc.fixturenames:
        chosen = [name for name in names if name != "plain-tiles" or "amx-tiles" not in names]
        metafunc.parametrize("unit", chosen or ["none"], indirect=True)
    if "tiles" in metafunc.fixturenames:
        tiles = [name for name in names if name.endswith("tiles")]
        metafunc.parametrize("tiles", tiles or ["none"], indirect=True)


def micro_kernels() -> dict:
    """Micro-kernels that run on this machine, by name; none without numba."""
    try:
        from samplecnn.kernels import amx_products, amx_tiles, dot_products
    except ImportError:
        return {}
    found = {"plain-tiles": amx_products.PLAIN}
    if amx_tiles.available():
        found["amx-tiles"] = amx_products.AMX
    if dot_products.available():
        found["avx512-dots"] = dot_products.AVX512_BF16
    else:
        found["plain-dots"] = dot_products.PLAIN_DOTS
    return found


@pytest.fixture
def tiles(request):
    """A micro-kernel by matrix tiles."""
    pytest.importorskip("numba", reason="numba is not installed (the extra `fast`)")
    return micro_kernels()[request.param]


@pytest.fixture
def unit(request, monkeypatch):
    """A micro-kernel, selected for the test."""
    pytest.importorskip("numba", reason="numba is not installed (the extra `fast`)")
    from samplecnn.kernels import selection

    chosen = micro_kernels()[request.param]
    monkeypatch.setattr(selection, "selected", lambda: chosen)
    return chosen


@pytest.fixture(scope="module")
def browser(request, tmp_path_factory):
    """A real Chromium, without a window; a module's `browser_options(folder)` are added to its options."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium with chromedriver here; apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium here; pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    quiet = ("background-networking", "component-update", "sync", "quic", "gpu")
    for word in (
        "headless",
        "no-sandbox",
        "no-first-run",
        "mute-audio",
        f"user-data-dir={profile}",
        *(f"disable-{q}" for q in quiet),
        *getattr(request.module, "browser_options", lambda folder: [])(profile),
    ):
        options.add_argument(f"--{word}")
    options.add_argument("--autoplay-policy=no-user-gesture-required")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    opened.set_script_timeout(30)
    yield opened
    opened.quit()
