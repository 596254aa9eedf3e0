"""Speeds of alternatives, measured in turns."""

import time
from collections.abc import Callable, Mapping

ROUNDS = 7
SECONDS = 0.4  # of computing, after which no further round begins


def best_rates(
    work: Mapping[str, Callable[[], int]], rounds: int = ROUNDS, seconds: float = SECONDS
) -> dict[str, float]:
    """Items per CPU second of each alternative in its fastest round.

    CPU seconds of the whole process, so that other programs on the machine change little.

    Args:
        work: name -> a call that does the work and returns how many items it was. The first call of each is not
            measured: it allocates and prepares.
        rounds: turns of each, fewer if they take longer than `seconds` altogether; at least two.
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
