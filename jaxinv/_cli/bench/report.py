"""The tables of a run on the terminal."""

import functools
from collections.abc import Sequence

from jaxinv._cli.bench.accuracy import FUNCTIONS
from jaxinv._cli.bench.peers import YARDSTICKS
from jaxinv._cli.bench.suite import MEGABYTE, Case
from jaxinv._cli.bench.workers import Cell
from jaxinv._cli.output import PlainOutput

_OURS = ("jaxinv", "jaxinv-1")

Cells = dict[Case, dict[str, Cell]]

_RATIO = "ratio: rate of jaxinv over that of the fastest other peer; ! where jaxinv is slower"


def load(run: dict) -> str:
    """The last load average."""
    average = run["load_average"][-1]
    return ", ".join(f"{value:.2f}" for value in average) if average else "unknown"


def by_case(cells: Sequence[Cell], suite: str) -> Cells:
    """The cells of a suite by case and peer."""
    out: Cells = {}
    for cell in cells:
        if cell.case.suite == suite:
            out.setdefault(cell.case, {})[cell.peer] = cell
    return out


def limit_seconds(case: Case, peers: dict[str, Cell]) -> float | None:
    """Time that the case would take at its limit, by the yardstick measured beside it."""
    yardstick = peers[YARDSTICKS]
    return None if yardstick.median is None else yardstick.median * case.work


def _rate(case: Case, seconds: float) -> str:
    """GB of output a second (of the traffic, in copies, for a gradient), or Gflop/s."""
    if case.yardstick == "product":
        return f"{1e-9 * case.flop / seconds:.3g} Gflop/s"
    return f"{1e-9 * case.nbytes * case.work / seconds:.3g} GB/s"


def _spread(cell: Cell) -> str:
    return f"{100 * (cell.upper - cell.lower) / cell.median:.0f} %"


def yardsticks(cells: Sequence[Cell], output: PlainOutput) -> None:
    """What the machine does at best."""
    names = {
        "copy": "copy, jitted custom call",
        "memcpy": "memcpy, warm, all cores",
        "add": "x + 1, jitted",
        "product": "product, n = 1024",
    }
    rows = []
    for cell in cells:
        case = cell.case
        measured = (_rate(case, cell.median), _spread(cell)) if cell.status == "ok" else (cell.status, "")
        rows.append((names[case.mode], case.dtype, f"{case.megabytes:g}", *measured))
    output.table(("yardstick", "dtype", "MB", "rate", "spread"), [rows])


def throughput(cells: Sequence[Cell], output: PlainOutput) -> None:
    """Suites inv and grad: jaxinv against the limit, and against the peers."""
    for suite, title in (("inv", "inverse"), ("grad", "inverse and its derivative, forward + backward")):
        cases = by_case(cells, suite)
        if not cases:
            continue
        if any("jaxinv" in peers for peers in cases.values()):
            output.line(f"{title}: jaxinv against the limit, the yardstick measured in the same rounds")
            output.table(
                ("n", "dtype", "MB", "batch", "M/s", "rate", "spread", "of the limit", "asked", "cpu/wall"),
                _grouped(cases, _limit_row),
            )
            output.line(
                "limit: copy for n ≤ 16, from there on the float32 product, of which half for 64-bit types; "
                "asked from 16 MB on"
            )
        names = _peers(cases)
        output.line(f"{title}: million matrices a second")
        rows = _grouped(cases, functools.partial(_peer_row, names))
        output.table(("n", "dtype", "MB", *names, "ratio"), rows)
        output.line(_RATIO)


def _grouped(cases: Cells, row) -> list[list[tuple[str, ...]]]:
    dtypes = dict.fromkeys(case.dtype for case in cases)
    return [[row(case, peers) for case, peers in cases.items() if case.dtype == d] for d in dtypes]


def _peers(cases: Cells) -> list[str]:
    return [
        name for name in dict.fromkeys(p for peers in cases.values() for p in peers) if name != YARDSTICKS
    ]


def _limit_row(case: Case, peers: dict[str, Cell]) -> tuple[str, ...]:
    cell, limit = peers["jaxinv"], limit_seconds(case, peers)
    head = (str(case.n), case.dtype, f"{case.megabytes:g}", str(case.batch))
    asked = "" if case.asked is None else f"{100 * case.asked:.0f} %"
    if cell.median is None:
        return (*head, cell.status, "", "", "", asked, "")
    return (
        *head,
        f"{1e-6 * case.batch / cell.median:.3g}",
        _rate(case, cell.median),
        _spread(cell),
        "" if limit is None else f"{100 * limit / cell.median:.0f} % {case.yardstick}",
        asked,
        f"{cell.cpu_per_wall:.2f}",
    )


def _peer_row(names: Sequence[str], case: Case, peers: dict[str, Cell]) -> tuple[str, ...]:
    rates = [_value(peers.get(name), lambda median: f"{1e-6 * case.batch / median:.3g}") for name in names]
    return (str(case.n), case.dtype, f"{case.megabytes:g}", *rates, _ratio(peers))


def _value(cell: Cell | None, text) -> str:
    if cell is None:
        return ""
    return cell.status if cell.median is None else text(cell.median)


def _microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:.3g}" if seconds < 1e-3 else f"{1e6 * seconds:.0f}"


def _ratio(peers: dict[str, Cell]) -> str:
    """How many times as fast as the fastest other peer jaxinv is."""
    measured = {name: c.median for name, c in peers.items() if c.median and name != YARDSTICKS}
    ours = [median for name, median in measured.items() if name in _OURS]
    others = [median for name, median in measured.items() if name not in _OURS]
    if not ours or not others:
        return ""
    ratio = min(others) / min(ours)
    return f"{ratio:.3g} !" if ratio < 1 else f"{ratio:.3g}"


def latency(cells: Sequence[Cell], output: PlainOutput) -> None:
    """Suite latency: microseconds of a call on 3 × 3 matrices."""
    cases = by_case(cells, "latency")
    if not cases:
        return
    names = _peers(cases)
    rows = []
    for case, peers in cases.items():
        times = [_value(peers.get(name), _microseconds) for name in (YARDSTICKS, *names)]
        limit, cell = limit_seconds(case, peers), peers.get("jaxinv")
        overhead = f"{cell.median / limit:.3g}" if limit and cell and cell.median else ""
        asked = "" if case.asked is None else f" (≤ {case.asked:g})"
        batch = f"{case.batch} eager" if case.mode == "eager" else str(case.batch)
        rows.append((batch, *times, overhead + asked, _ratio(peers)))
    output.line("latency: microseconds a call, 3 × 3 float32, jitted but where it says eager")
    output.table(("batch", "x + 1", *names, "in x + 1", "ratio"), [rows])
    output.line(f"in x + 1: time of jaxinv over that of a jitted x + 1; {_RATIO}")


def loss(cells: Sequence[Cell], output: PlainOutput) -> None:
    """Suite loss: milliseconds and peak memory of loss and gradient, by route."""
    cases = by_case(cells, "loss")
    if not cases:
        return
    names = _peers(cases)
    rows = []
    for case, peers in cases.items():
        times = [_value(peers.get(name), lambda median: f"{1e3 * median:.3g}") for name in names]
        peaks = [
            f"{c.peak_bytes / MEGABYTE:.0f}" if (c := peers.get(n)) and c.peak_bytes else "" for n in names
        ]
        rows.append((case.mode, str(case.batch), *times, _ratio(peers), *peaks))
    output.line("loss: milliseconds of a loss and its gradient, and MB of memory above the idle process")
    output.table(("route", "batch", *names, "ratio", *(f"{name} MB" for name in names)), [rows])
    output.line(_RATIO)


def accuracy(rows: Sequence[dict], output: PlainOutput) -> None:
    """Suite accuracy: residuals by condition number."""
    values = {(r["dtype"], r["n"], r["condition"], r["peer"]): r for r in rows}
    groups: dict[tuple, list] = {}
    for dtype, n, condition in dict.fromkeys(key[:3] for key in values):
        of = [values[dtype, n, condition, name] for name in FUNCTIONS]
        cells = (f"{r[kind]:.2g}" for r in of for kind in ("median", "worst"))
        groups.setdefault((dtype, n), []).append((dtype, str(n), f"{condition:.0e}", *cells))
    output.line("accuracy: min(L, R) of the scaled residuals, of which 30 is the gate")
    columns = [f"{name}{kind}" for name in FUNCTIONS for kind in ("", ", worst")]
    output.table(("dtype", "n", "κ", *columns), list(groups.values()))


def failures(cells: Sequence[Cell], output: PlainOutput) -> None:
    """Every peer that failed or timed out, with its message; what was skipped after that is left out."""
    seen: dict[tuple, list[Case]] = {}
    for cell in cells:
        if cell.status in ("error", "timeout"):
            seen.setdefault((cell.peer, cell.status, cell.message), []).append(cell.case)
    for (peer, status, message), cases in seen.items():
        first = cases[0]
        where = f"{first.mode}, n = {first.n}, {first.dtype}, {first.nbytes / MEGABYTE:.3g} MB"
        others = f" and {len(cases) - 1} other cases" if len(cases) > 1 else ""
        output.line(f"{peer}: {status} at {where}{others}: {message}")
