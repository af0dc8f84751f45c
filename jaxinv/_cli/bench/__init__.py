"""Measures jaxinv and each installed peer in their own processes, in turns, and prints tables of medians.

Beside every case runs a yardstick: a custom call that only copies the same bytes (n ≤ 16), jax's own float32
matrix product at n = 1024 (larger n), or a jitted x + 1 (latency). Rates of copies are output bytes a second,
1 MB is 2^20 bytes. Results go into jaxinv-bench.json, plots beside it as SVG.
"""

import argparse

import jax

from jaxinv._cli.backend import announce
from jaxinv._cli.bench import accuracy, compare, document, plot, report
from jaxinv._cli.bench.options import add_arguments
from jaxinv._cli.bench.peers import PEERS, YARDSTICKS, installed, serves
from jaxinv._cli.bench.suite import Case, plan, plan_yardsticks
from jaxinv._cli.bench.workers import Cell, Worker, measure, running
from jaxinv._cli.output import PlainOutput

__all__ = ["HELP", "NAME", "add_arguments", "run"]

NAME = "bench"
HELP = "speed against copies, matrix products and other libraries, with plots"


def run(args: argparse.Namespace, output: PlainOutput) -> int:
    """Measures, prints, writes. Returns 1 where jaxinv failed or timed out in any case."""
    run_of = document.begin(announce(output, args.portable))
    output.line(f"load average at the start: {report.load(run_of)}")
    yardsticks: list[Cell] = []
    cells: list[Cell] = []
    cases = plan(args)
    if cases:
        here = [name for name, peer in PEERS.items() if jax.default_backend() in peer.platforms]
        peers = [p for p in args.peers or filter(installed, here) if any(serves(p, case) for case in cases)]
        peers = [YARDSTICKS, *peers]
        with running(peers, args.portable) as workers:
            for worker in workers:
                run_of["versions"].update(worker.versions)
            yardsticks = _measure(plan_yardsticks(args), workers[:1], args, output, "measuring yardsticks")
            report.yardsticks(yardsticks, output)
            run_of["yardsticks"] = [cell.to_json() for cell in yardsticks]
            cells = _measure(cases, workers, args, output, "measuring")
    run_of["cells"] = [cell.to_json() for cell in cells]
    if args.suite in ("accuracy", "all"):
        run_of["accuracy"] = accuracy.measure(args, output)
        report.accuracy(run_of["accuracy"], output)
    report.throughput(cells, output)
    report.latency(cells, output)
    report.loss(cells, output)
    report.failures([*yardsticks, *cells], output)
    run_of["load_average"].append(document.load_average())
    output.line(f"load average at the end: {report.load(run_of)}")
    document.write(run_of, args.output, output)
    plot.write(run_of, cells, args.output, output)
    if args.compare is not None:
        compare.report(args.compare, run_of, output)
    return 1 if any(cell.peer == "jaxinv" and cell.status != "ok" for cell in cells) else 0


def _measure(cases: list[Case], workers: list[Worker], args, output, description) -> list[Cell]:
    """All cells of the cases. After a timeout a peer is spared the larger batches of the same matrices."""
    cells: list[Cell] = []
    timed_out = set()
    for case in output.track(cases, description):
        kind = (case.suite, case.mode, case.n, case.dtype)
        asked = [w for w in workers if serves(w.peer, case)]
        if case.suite == "loss":
            for worker in asked:
                worker.kill()  # a process of its own for each case, by whose peak memory it is judged
        spared = [w for w in asked if (w.peer, kind) in timed_out]
        cells += [Cell(case, w.peer, "skipped", "timed out on a smaller batch") for w in spared]
        measured = measure(case, [w for w in asked if w not in spared], args.rounds, args.timeout)
        timed_out |= {(cell.peer, kind) for cell in measured if cell.status == "timeout"}
        cells += measured
    return cells
