"""A process of one peer: `python -m jaxinv._cli.bench.worker PEER [--portable]`.

Reads requests as lines of JSON and answers each by a line: {"case": ...} makes a call ready, {"turn": ...}
repeats it for a while and answers with the time of each. Ends when its standard input does.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time

import jax
import jaxlib
import numpy as np

from jaxinv import _native
from jaxinv._cli.bench.peers import PEERS, YARDSTICKS, make, runs_of
from jaxinv._cli.bench.suite import Case

_SEED = 20261121
# Until a scheduler that packs threads of idle processes onto one processor has spread them again.
_WARM_UP_SECONDS = 0.05
_LONG_SECONDS = 0.5  # a call that long needs none
_TURN_SECONDS = 0.07
_MOST_REPETITIONS = 1000


def _read(requests: queue.SimpleQueue) -> None:
    """Reads on a thread of its own, so that the process ends with its parent also where a call hangs."""
    for line in sys.stdin:
        requests.put(json.loads(line))
    os._exit(0)


def _versions(peer: str) -> dict[str, str]:
    versions = {"jax": jax.__version__, "jaxlib": jaxlib.__version__, "numpy": np.__version__}
    if peer != YARDSTICKS and PEERS[peer].module not in (*versions, "jaxinv"):
        # Imported now, not while a case is timed.
        from importlib import import_module, metadata

        import_module(PEERS[peer].module)
        versions[peer] = metadata.version(PEERS[peer].module)
    return versions


def _peak_bytes() -> int | None:
    """The most memory that this process has held since the peak was forgotten; None but on Linux."""
    # Not getrusage, whose figure survives an exec and so begins with the peak of the parent.
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    return None


def _forget_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _prepare(peer: str, case: Case):
    """The call, compiled, the time of one, and how far they and their arguments raised the peak of memory."""
    _forget_peak()
    before = _peak_bytes()
    call = make(peer, case, _SEED)
    call()
    seconds, after = _warm_up(call), _peak_bytes()
    return call, seconds, None if after is None else after - before


def _warm_up(call) -> float:
    """Calls for a while, as what the caches held is another peer's. Returns the time of the fastest call."""
    fastest, end = float("inf"), time.perf_counter() + _WARM_UP_SECONDS
    while (begin := time.perf_counter()) < end:
        call()
        fastest = min(fastest, time.perf_counter() - begin)
    return fastest


def _repeat(call, runs: int) -> dict:
    """The time of each call of a turn. How long earlier calls took tells nothing: fresh memory is slow."""
    seconds = []
    wall, cpu = time.perf_counter(), time.process_time()
    end = wall + _TURN_SECONDS
    while not seconds or (time.perf_counter() < end and len(seconds) < _MOST_REPETITIONS):
        begin = time.perf_counter()
        call()
        seconds.append((time.perf_counter() - begin) / runs)
    return {"seconds": seconds, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def main(peer: str, portable: bool) -> None:
    # Answers go where standard output was; what a library prints there goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if portable:
        _native.use_portable()

    def answer(value: dict) -> None:
        print(json.dumps(value), file=answers, flush=True)

    answer({"versions": _versions(peer)})
    requests: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    call = None
    while True:
        request = requests.get()
        try:
            if "case" in request:
                call = None  # frees the arrays of the last one first
                case = Case(**request["case"])
                call, seconds, peak = _prepare(peer, case)
                answer({"peak": peak})
            else:
                if seconds < _LONG_SECONDS:
                    _warm_up(call)
                answer(_repeat(call, runs_of(case)))
        except Exception as error:  # whatever a peer raises is its result
            answer({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main(sys.argv[1], "--portable" in sys.argv[2:])
