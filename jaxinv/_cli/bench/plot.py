"""The plots of a run, as SVG: throughput against n, latency against batch, error against κ."""

import pathlib
from collections.abc import Sequence

from jaxinv._cli.backend import CommandError
from jaxinv._cli.bench.accuracy import FUNCTIONS
from jaxinv._cli.bench.peers import YARDSTICKS
from jaxinv._cli.bench.report import by_case, limit_seconds
from jaxinv._cli.bench.suite import Case
from jaxinv._cli.bench.workers import Cell
from jaxinv._cli.output import INSTALL_EXTRA, PlainOutput, make_figure
from jaxinv._cli.residual import GATE

_COLOURS = {
    "jaxinv": "#1f5fa8",
    "jnp": "#d07a1f",
    "jnp-1": "#e5b47f",
    "adjugate": "#7a4fa3",
    "numpy": "#4c8c4a",
    "torch": "#b3261e",
    "mlx": "#5fa8a0",
}


def write(run: dict, cells: Sequence[Cell], folder: pathlib.Path, output: PlainOutput) -> None:
    """Writes every plot for which there are results; names the extra where matplotlib is not installed."""
    if make_figure() is None:
        output.line(f"plots: {INSTALL_EXTRA}")
        return
    figures = {}
    for suite in ("inv", "grad"):
        cases = by_case(cells, suite)
        for dtype in dict.fromkeys(case.dtype for case in cases):
            of_dtype = {case: peers for case, peers in cases.items() if case.dtype == dtype}
            figures[f"{suite}-{dtype}"] = _throughput(of_dtype, f"{suite}, {dtype}: {run['serving']}")
    latency = by_case(cells, "latency")
    if latency:
        figures["latency"] = _latency(latency, f"3 × 3 float32, jitted: {run['serving']}")
    if run["accuracy"]:
        figures["accuracy"] = _accuracy(run["accuracy"], f"accuracy: {run['serving']}")
    for name, figure in figures.items():
        path = folder / f"jaxinv-bench-{name}.svg"
        try:
            figure.savefig(path)
        except OSError as error:
            raise CommandError(f"--output: {str(path)!r} cannot be written: {error}") from error
        output.line(f"plot: written to {path.resolve()}")


def _throughput(cases: dict[Case, dict[str, Cell]], title: str):
    sizes = list(dict.fromkeys(sorted(case.megabytes for case in cases)))
    figure = make_figure(figsize=(1 + 5.5 * len(sizes), 5), layout="constrained")
    for axes, size in zip(figure.subplots(1, len(sizes), squeeze=False)[0], sizes, strict=True):
        of_size = {case: peers for case, peers in cases.items() if case.megabytes == size}
        floor = {case.n: limit_seconds(case, peers) for case, peers in of_size.items()}
        rates = [(case.n, case.batch / floor[case.n]) for case in of_size if floor[case.n]]
        if rates:
            axes.plot(*zip(*rates, strict=True), color="black", linestyle="--", linewidth=1.2, label="floor")
        _draw_peers(axes, of_size, lambda case: case.n, lambda case, seconds: case.batch / seconds)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("n")
        axes.set_ylabel("matrices per second")
        axes.set_title(f"output of {size:g} MB")
        axes.legend(frameon=False)
    figure.suptitle(title)
    return figure


def _latency(cases: dict[Case, dict[str, Cell]], title: str):
    jitted = {case: peers for case, peers in cases.items() if case.mode == "inv"}
    figure = make_figure(figsize=(6.5, 5), layout="constrained")
    axes = figure.subplots()
    floor = [(case.batch, limit_seconds(case, peers)) for case, peers in jitted.items()]
    floor = [(batch, 1e6 * seconds) for batch, seconds in floor if seconds]
    if floor:
        axes.plot(*zip(*floor, strict=True), color="black", linestyle="--", linewidth=1.2, label="x + 1")
    _draw_peers(axes, jitted, lambda case: case.batch, lambda case, seconds: 1e6 * seconds)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("batch")
    axes.set_ylabel("microseconds per call")
    axes.legend(frameon=False)
    figure.suptitle(title)
    return figure


def _draw_peers(axes, cases: dict[Case, dict[str, Cell]], abscissa, value) -> None:
    """A line for each peer, with a bar from quartile to quartile."""
    for name in dict.fromkeys(p for peers in cases.values() for p in peers if p != YARDSTICKS):
        points = []
        for case, peers in cases.items():
            cell = peers.get(name)
            if cell is not None and cell.median is not None:
                points.append(
                    (abscissa(case), *(value(case, s) for s in (cell.median, cell.lower, cell.upper)))
                )
        if points:
            x, median, *quartiles = zip(*points, strict=True)
            axes.plot(x, median, "o-", color=_COLOURS[name], markersize=4, label=name)
            axes.vlines(x, *quartiles, color=_COLOURS[name], linewidth=3, alpha=0.4)


def _accuracy(rows: Sequence[dict], title: str):
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    sizes = list(dict.fromkeys(row["n"] for row in rows))
    figure = make_figure(figsize=(1 + 4.5 * len(sizes), 4 * len(dtypes)), layout="constrained")
    panels = figure.subplots(len(dtypes), len(sizes), squeeze=False)
    for i, dtype in enumerate(dtypes):
        for axes, n in zip(panels[i], sizes, strict=True):
            for name in FUNCTIONS:
                of = [r for r in rows if (r["dtype"], r["n"], r["peer"]) == (dtype, n, name)]
                condition = [row["condition"] for row in of]
                for kind, style in (("median", "o-"), ("worst", ":")):
                    label = name if kind == "median" else f"{name}, worst"
                    values = [row[kind] for row in of]
                    axes.plot(condition, values, style, color=_COLOURS[name], markersize=4, label=label)
            axes.axhline(GATE, color="black", linestyle="--", linewidth=1.2, label="gate")
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("condition number κ")
            axes.set_ylabel("min(L, R), in n ε ‖A‖ ‖X‖")
            axes.set_title(f"{dtype}, n = {n}")
    panels[0][0].legend(frameon=False, fontsize="small")
    figure.suptitle(title)
    return figure
