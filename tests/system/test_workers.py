"""The worker protocol: answers, errors and deaths cross the process boundary, and no worker outlives its parent."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from samplecnn.errors import AudioError, UsageError
from samplecnn.system.limits import Limits
from samplecnn.system.read_ahead import merged
from samplecnn.system.workers import Worker, WorkerDied

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_orders_follow_each_other_with_values_and_bytes():
    with Worker("worker_target:echo") as worker:
        for value, data in [({"a": [1, "ü\udcff"]}, b""), (None, bytes(range(256)) * 50_000), ("x", b"\n\0")]:
            assert list(worker.ask(value, data)) == [(value, data), (len(data), b"")]
    assert worker.process.returncode == 0


def test_nothing_reaches_the_users_terminal(capfd):
    with Worker("worker_target:noise") as worker:
        assert list(worker.ask(None)) == [("sound", b"")]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("order", "error", "words"),
    [
        ("usage", UsageError, "^no such thing; use another$"),
        ("audio", AudioError, "^a.wav: empty$"),
        ("system", OSError, "No space left on device: '/full/disk'"),
        ("memory", MemoryError, None),
        ("bug", RuntimeError, "ZeroDivisionError: odd"),
    ],
)
def test_an_exception_of_the_worker_is_raised_here_and_the_worker_lives_on(order, error, words):
    with Worker("worker_target:fail", limits=Limits(memory=1 << 30)) as worker:
        answers = worker.ask(order)
        assert next(answers).value == "begun"
        with pytest.raises(error, match=words):
            next(answers)
        assert [answer.value for answer in worker.ask("nothing")] == ["begun"]


@pytest.mark.parametrize(
    ("order", "limits", "words"),
    [
        ("segfault", Limits(), "was ended by SIGSEGV"),
        ("exit", Limits(), r"ended with status 7 \(the last words\)"),
        ("loop", Limits(cpu_seconds=1), "did not finish in time"),
        ("sleep", Limits(seconds=2), "did not finish in time"),
        ("sleep", Limits(waiting=2), "did not finish in time"),
    ],
)
def test_a_death_is_named(order, limits, words):
    with Worker("worker_target:fail", limits=limits) as worker, pytest.raises(WorkerDied, match=words):
        list(worker.ask(order))


def test_a_worker_that_cannot_start_says_why():
    with Worker("no_such_module:echo") as worker, pytest.raises(WorkerDied, match="No module named 'no_such_module'"):
        list(worker.ask(1))
    with Worker("worker_target:echo", preload=["nothing_there"]) as worker, pytest.raises(WorkerDied, match="nothing_"):
        list(worker.ask(1))


def test_the_time_between_answers_is_that_of_the_worker():
    """Not that of a program which takes its time before it asks for the next one."""
    with Worker("worker_target:count", limits=Limits(waiting=1.0)) as worker:
        answers = worker.ask(3)
        assert next(answers).value == 0
        time.sleep(1.5)
        assert [answer.value for answer in answers] == [1, 2]


def test_the_rest_of_an_order_can_be_skipped():
    with Worker("worker_target:count") as worker:
        for _ in range(2):
            answers = worker.ask(100_000_000)
            assert next(answers).value == 0
            answers.close()
            worker.skip_rest()
            assert [answer.value for answer in worker.ask(3)] == [0, 1, 2]
        worker.skip_rest()  # of an order that has ended: nothing
        assert [answer.value for answer in worker.ask(1)] == [0]


def test_leaving_early_ends_the_worker():
    with Worker("worker_target:count") as worker:
        assert next(worker.ask(1_000_000)).value == 0
    assert not is_alive(worker.process.pid)
    with pytest.raises(ZeroDivisionError), Worker("worker_target:pid") as worker:
        next(worker.ask(None))
        raise ZeroDivisionError
    assert not is_alive(worker.process.pid)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_worker_ends_with_its_parent():
    program = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from samplecnn.system.workers import Worker\n"
        "for pid, _ in Worker('worker_target:pid').ask(None): print(pid, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    assert is_alive(worker)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 60
    while is_alive(worker):
        assert time.monotonic() < deadline, "the worker outlives its parent"
        time.sleep(0.01)


def test_answers_of_several_workers_come_merged():
    workers = [Worker("worker_target:count") for _ in range(3)]
    answers = merged([worker.ask(100) for worker in workers], lambda: [worker.kill() for worker in workers])
    assert sorted(answer.value for answer in answers) == sorted([*range(100)] * 3)
    for worker in workers:
        worker.close()
    with Worker("worker_target:fail") as bad, Worker("worker_target:pid") as slow, pytest.raises(UsageError):
        list(merged([bad.ask("usage"), slow.ask(None)], slow.kill))
