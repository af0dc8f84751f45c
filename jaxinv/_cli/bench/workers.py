"""Starts a process for each peer and asks them in turns, so that a busy moment of the machine meets all."""

import contextlib
import dataclasses
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np

import jaxinv
from jaxinv._cli.bench.peers import PEERS, YARDSTICKS
from jaxinv._cli.bench.suite import Case

_START_SECONDS = 120.0
# Threads of a BLAS or of OpenMP spin for a while after their last call.
_PAUSE_SECONDS = 0.03


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one peer made of one case: median and quartiles of the seconds a call, or why there are none.

    `status` is "ok", "timeout", "error" or "skipped", the latter three with a message. `peak_bytes`, of a
    loss: memory of the host that the call, its arguments and its compilation took above that of the idle
    process; None where the system does not say.
    """

    case: Case
    peer: str
    status: str
    message: str = ""
    median: float | None = None
    lower: float | None = None
    upper: float | None = None
    repetitions: int = 0
    cpu_per_wall: float | None = None
    peak_bytes: int | None = None

    def to_json(self) -> dict:
        """Case and result on one level."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "case"}
        return {**dataclasses.asdict(self.case), "yardstick": self.case.yardstick, **fields}


class PeerError(Exception):
    """A peer has no answer; `status` is that of the cell."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


def command(peer: str, portable: bool) -> list[str]:
    """The command line of a worker."""
    options = ["--portable"] if portable else []
    return [sys.executable, "-P", "-m", "jaxinv._cli.bench.worker", peer, *options]


def _environment(peer: str) -> dict[str, str]:
    # The modules of this process, wherever they come from.
    search = [str(pathlib.Path(jaxinv.__file__).parents[1]), *filter(None, sys.path)]
    inherited = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    inherited["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the peers share one GPU
    own = {} if peer == YARDSTICKS else PEERS[peer].environment
    return {**inherited, "PYTHONPATH": os.pathsep.join(search), **own}


class Worker:
    """The process of one peer, started again after it was killed."""

    def __init__(self, peer: str, portable: bool):
        self.peer = peer
        self.versions: dict[str, str] = {}
        self._portable = portable
        self._ready = False
        self._launch()

    def _launch(self) -> None:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            command(self.peer, self._portable),
            env=_environment(self.peer),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others
        )
        self._answers: queue.SimpleQueue = queue.SimpleQueue()
        self._reader = threading.Thread(target=_read, args=(self._process.stdout, self._answers), daemon=True)
        self._reader.start()
        self._ready = False

    def wait_until_ready(self) -> None:
        """Starts the process where it was killed, and waits for its first line."""
        if self._process.returncode is not None:
            self._launch()
        if not self._ready:
            self.versions = self._receive(_START_SECONDS)["versions"]
            self._ready = True

    def ask(self, request: dict, timeout: float) -> dict:
        """The answer to a request. Raises PeerError, after killing the process where it is late or dead."""
        self.wait_until_ready()
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._receive(timeout)

    def _receive(self, timeout: float) -> dict:
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            self.kill()
            raise PeerError("timeout", f"no answer within {timeout:g} s") from None
        if line is None:
            self.kill()
            raise PeerError("error", f"ended with status {self._process.returncode}: {self._last_words}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerError("error", answer["error"])
        return answer

    def kill(self) -> None:
        """Ends the process at once, if it has not ended."""
        if self._process.returncode is not None:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with contextlib.suppress(OSError):  # a request may not have been taken
            self._process.stdin.close()
        self._errors.seek(0)
        self._last_words = (self._errors.read().decode(errors="replace").strip().splitlines() or [""])[-1]
        self._errors.close()


def _read(lines, answers: queue.SimpleQueue) -> None:
    with lines:
        for line in lines:
            answers.put(line)
    answers.put(None)


@contextlib.contextmanager
def running(peers: Sequence[str], portable: bool) -> Iterator[list[Worker]]:
    """A worker for each peer, started together, and ended at the end."""
    workers: list[Worker] = []
    try:
        for peer in peers:
            workers.append(Worker(peer, portable))
        for worker in workers:
            with contextlib.suppress(PeerError):  # each case says it again
                worker.wait_until_ready()
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def measure(case: Case, workers: Sequence[Worker], rounds: int, timeout: float) -> list[Cell]:
    """The cell of each worker, by `rounds` turns of each, fewer where they have taken `timeout` seconds."""
    cells: dict[str, Cell] = {}
    turns: dict[Worker, list[dict]] = {}
    peaks: dict[Worker, int | None] = {}

    def ask(worker: Worker, request: dict) -> dict | None:
        try:
            return worker.ask(request, timeout)
        except PeerError as failure:
            cells[worker.peer] = Cell(case, worker.peer, failure.status, str(failure))
            return None

    for worker in workers:
        answer = ask(worker, {"case": dataclasses.asdict(case)})
        if answer is not None:
            turns[worker] = []
            peaks[worker] = answer.get("peak") if case.suite == "loss" else None
    for _ in range(rounds):
        for worker, done in turns.items():
            if worker.peer in cells or sum(turn["wall"] for turn in done) > timeout:
                continue
            time.sleep(_PAUSE_SECONDS)
            answer = ask(worker, {"turn": len(done)})
            if answer is not None:
                done.append(answer)
    for worker, done in turns.items():
        if worker.peer not in cells:
            cells[worker.peer] = _summary(case, worker.peer, done, peaks[worker])
    return [cells[worker.peer] for worker in workers]


def _summary(case: Case, peer: str, turns: list[dict], peak: int | None) -> Cell:
    seconds = [value for turn in turns for value in turn["seconds"]]
    lower, median, upper = (float(v) for v in np.percentile(seconds, (25, 50, 75)))
    cpu_per_wall = sum(turn["cpu"] for turn in turns) / sum(turn["wall"] for turn in turns)
    return Cell(case, peer, "ok", "", median, lower, upper, len(seconds), cpu_per_wall, peak)
