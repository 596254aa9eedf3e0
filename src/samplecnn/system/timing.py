"""Interleaved benchmarks of alternatives."""

import time
from collections.abc import Callable, Mapping

ROUNDS = 7
SECONDS = 0.4  # CPU time after which no further round is started


def best_rates(
    work: Mapping[str, Callable[[], int]], rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[str, float]:
    """Items per CPU second of each alternative in its fastest round.

    CPU seconds of the whole process are measured, so that other programs on the machine have little influence.

    Args:
        work: name -> a call that does the work and returns the number of items. The first call of each is not
            measured, since it allocates and prepares.
        rounds: number of rounds, fewer if they take longer than `seconds` in total; at least two.
    """
    for run in work.values():
        run()
    best = dict.fromkeys(work, 0.0)
    start = time.process_time()
    for number in range(rounds):
        if number >= 2 and time.process_time() - start > seconds:
            break
        for name, run in work.items():
            before = time.process_time()
            items = run()
            best[name] = max(best[name], items / max(time.process_time() - before, 1e-6))
    return best
