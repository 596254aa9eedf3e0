"""Tagging in worker processes: the child side, and a Tagger whose files are tagged by them.

The network is sent to each worker once. The results are those of one process, in the order of the files.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from samplecnn.errors import AudioError, UsageError
from samplecnn.recordings import is_special
from samplecnn.sound_file import STDIN
from samplecnn.system.ordered_pool import AnyWorker, OrderedPool
from samplecnn.system.workers import WorkerDied, enter
from samplecnn.tagging.outcome_data import from_data, to_data
from samplecnn.tagging.tagger import Tagger
from samplecnn.tagging.tags import Tags

TARGET = "samplecnn.tagging.worker:serve"
FILES_PER_ORDER = 16  # enough for whole batches of short recordings; more are tried again when a worker dies

Start = Callable[[str], AnyWorker]  # starts a worker with a target

_opened: list[Tagger] = []  # of this worker process, by its first order


def serve(order: dict[str, Any], data: bytes, answer: Callable[..., None]) -> None:
    """Child side: opens the pickled Tagger in `data`, or tags the files of an order, with an answer for each."""
    if "folder" in order:
        enter(order["folder"])
        _opened[:] = [pickle.loads(data)]  # from the parent, which is the same program
        return
    for _, outcome in _opened[0].tag_files(order["files"]):
        answer(*to_data(outcome))


class PooledTagger(Tagger):
    """A Tagger whose `tag_files` runs in workers; all else is as for Tagger, in this process.

    Args:
        start: starts a worker.
        workers: their number.
        share: makes what is sent to every worker cheaper to send, such as `ray.put`.
        Others: as for Tagger.
    """

    def __init__(
        self, start: Start, workers: int, share: Callable[[bytes], Any], *arguments: Any, **settings: Any
    ) -> None:
        super().__init__(*arguments, **settings)
        self._start, self._workers, self._share = start, workers, share

    def tag_files(self, paths: Iterable[str | Path]) -> Iterator[tuple[str | Path, Tags | AudioError]]:
        """As `Tagger.tag_files`. A recording that has ended two workers is an error.

        Raises:
            UsageError: a pipe, or stdin.
            SampleCNNError: workers keep dying.
        """
        network = self._share(pickle.dumps(self))
        folder = str(Path.cwd())

        def open_there(worker: AnyWorker) -> None:
            for _ in worker.ask({"folder": folder}, network):
                pass

        pool = OrderedPool(
            lambda: self._start(TARGET), open_there, lambda files: {"files": files}, self._workers, FILES_PER_ORDER
        )
        for path, result in pool.run(map(_regular, paths)):
            if isinstance(result, WorkerDied):
                yield path, AudioError(f"{path}: its process died twice; convert it or remove it")
            else:
                yield path, from_data(*result, self.task)


def _regular(path: str | Path) -> str:
    if str(path) == STDIN or is_special(str(path)):
        raise UsageError(f"{path}: can be read by this process only; omit --ray")
    return str(path)


def open_tagger(ray: str | None, *arguments: Any, **settings: Any) -> Tagger:
    """A Tagger, which tags files in this process or on the machines of a Ray cluster.

    Args:
        ray: address of the cluster: HOST:PORT, "auto" for the one that runs on this machine or that RAY_ADDRESS names,
            "local" for a new one on this machine. It gets a worker for each of its CPUs, with one thread. None: no
            cluster.
        Others: as for Tagger.

    Raises:
        UsageError: as for Tagger; or there is no such cluster.
    """
    if ray is None:
        return Tagger(*arguments, **settings)
    from samplecnn.system.ray_worker import RayWorker, connect, sent_once

    return PooledTagger(RayWorker, connect(ray), sent_once, *arguments, **settings)
