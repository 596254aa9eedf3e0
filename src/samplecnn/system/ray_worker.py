"""A worker process (`workers.Worker`) on a machine of a Ray cluster, with the same protocol.

    with RayWorker("samplecnn.shards.worker:build_shard") as worker:
        for value, data in worker.ask({...}):
            ...

An actor on some machine of the cluster runs a local `Worker` and passes orders and answers on. So a crash in a decoder
ends that process only, its cause arrives like that of a local one, and nothing runs in Ray's own process but this.
samplecnn must be installed on every machine, in the same version.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Generator, Sequence
from functools import cache
from types import TracebackType
from typing import Any

from samplecnn.errors import UsageError
from samplecnn.extras import require
from samplecnn.system.frames import Message, exception, to_data
from samplecnn.system.workers import Worker, WorkerDied

LOCAL, AUTO = "local", "auto"  # addresses: a new cluster on this machine, the one that is running
REACHED_SECONDS = 5  # for a connection to a cluster
AHEAD = 16  # answers of an actor that wait to be read


class WorkerLost(WorkerDied):
    """The machine of a worker is gone, or Ray has ended its actor."""

    def __init__(self) -> None:
        super().__init__(-9, False, "")

    @property
    def how(self) -> str:
        return "was lost with its machine, or was ended by Ray"


def connect(address: str) -> int:
    """Connects to a Ray cluster, unless this process is connected; returns the number of its CPUs.

    Args:
        address: HOST:PORT; "auto": the cluster that runs on this machine, or that RAY_ADDRESS names; "local": a new
            one on this machine, which ends with this process.

    Raises:
        UsageError: Ray is not installed, or there is no such cluster.
    """
    require("--ray", "ray")
    import ray

    if not ray.is_initialized():
        try:
            _ask(os.environ.get("RAY_ADDRESS", address) if address == AUTO else address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UsageError(
                f"--ray {address}: no Ray cluster there ({reason}); start one with ray start --head, or use --ray local"
            ) from error
    return max(int(ray.cluster_resources().get("CPU", 1)), 1)


def _ask(address: str) -> None:
    """Opens and closes a connection to HOST:PORT: where nothing answers, Ray itself tries for minutes.

    Raises:
        OSError: nothing answers within 5 s.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        return  # a name such as "local", or for Ray to refuse
    import ray.util

    # Ray takes 127.0.0.1 to mean the address of this machine in its network, where a cluster may listen alone.
    here = [ray.util.get_node_ip_address()] if host in ("localhost", "127.0.0.1") else []
    for each in here:
        with contextlib.suppress(OSError), socket.create_connection((each, int(port)), REACHED_SECONDS):
            return
    with socket.create_connection((host.strip("[]"), int(port)), REACHED_SECONDS):
        pass


class RayWorker:
    """A `Worker` elsewhere. Use as a context manager, after `connect`.

    Args:
        target, preload, environment: see `Worker`.
        cpus: CPUs that Ray reserves for it; it computes with as many threads.
    """

    def __init__(
        self,
        target: str,
        *,
        preload: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        cpus: int = 1,
    ) -> None:
        self.actor = _actor_class().options(num_cpus=cpus).remote(target, tuple(preload), environment, cpus)

    def ask(self, value: Any, data: Any = b"") -> Generator[Message]:
        """As `Worker.ask`; `data` may also be a reference to bytes (`ray.put`), which are sent to a machine once.

        Raises:
            WorkerLost: the actor has ended.
            WorkerDied: the process that does the work has ended.
            Others: see `Worker.ask`.
        """
        import ray
        from ray.exceptions import RayError

        try:
            answers = self.actor.ask.options(_generator_backpressure_num_objects=AHEAD).remote(value, data)
            for answer in answers:
                kind, content, raw = ray.get(answer)
                if kind == "died":
                    raise WorkerDied(*content)
                if kind == "raised":
                    raise exception(content)
                yield Message(content, raw)
        except RayError as error:
            raise WorkerLost from error

    def kill(self) -> None:
        """Ends the actor and its process; may be called from any thread."""
        import ray

        if ray.is_initialized():
            ray.kill(self.actor, no_restart=True)

    def close(self) -> None:
        self.kill()

    def __enter__(self) -> "RayWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sent_once(data: bytes) -> Any:
    """A reference to bytes that several workers get; each machine fetches them once."""
    import ray

    return ray.put(data)


@cache
def _actor_class() -> Any:
    import ray

    return ray.remote(max_restarts=0, max_task_retries=0)(_Actor)


class _Actor:
    """The actor: a local worker."""

    def __init__(self, target: str, preload: tuple[str, ...], environment: dict[str, str] | None, threads: int) -> None:
        from samplecnn.system.limits import SINGLE_THREADED

        pinned = dict.fromkeys(SINGLE_THREADED, str(threads))
        self.worker = Worker(target, preload=preload, environment={**pinned, **(environment or {})})

    def ask(self, value: Any, data: bytes) -> Generator[tuple[str, Any, bytes]]:
        try:
            for content, raw in self.worker.ask(value, data):
                yield "answer", content, raw
        except WorkerDied as death:
            yield "died", (death.status, death.out_of_time, death.last_words), b""
        except Exception as error:
            yield "raised", to_data(error), b""
