"""Compares two runs: which cells moved by more than their spread and 5 %."""

from jaxinv._cli.bench.peers import YARDSTICKS
from jaxinv._cli.output import PlainOutput

THRESHOLD = 1.05

_KEY = ("suite", "mode", "n", "dtype", "batch", "peer")


def _cells(run: dict) -> dict[tuple, dict]:
    return {tuple(c[k] for k in _KEY): c for c in run["cells"] if c["status"] == "ok"}


def _moved(old: dict, new: dict, scale: float) -> bool:
    """Whether the quartiles of the new times, divided by `scale`, lie apart from those of the old ones."""
    slower = new["lower"] / scale > THRESHOLD * old["upper"]
    faster = THRESHOLD * new["upper"] / scale < old["lower"]
    return slower or faster


def moved(old_run: dict, new_run: dict) -> list[tuple[dict, dict, float, float | None]]:
    """(old, new, ratio of the times, the same in units of the yardstick) of each cell that moved in either.

    The last is None for yardsticks themselves and where a run has none for the case.
    """
    old_cells, new_cells = _cells(old_run), _cells(new_run)
    out = []
    for key, new in new_cells.items():
        old = old_cells.get(key)
        if old is None:
            continue
        yardstick = (*key[:-1], YARDSTICKS)
        relative = None
        scale = 1.0
        ratio = new["median"] / old["median"]
        if key != yardstick and yardstick in old_cells and yardstick in new_cells:
            scale = new_cells[yardstick]["median"] / old_cells[yardstick]["median"]
            relative = ratio / scale
        if _moved(old, new, 1.0) or _moved(old, new, scale):
            out.append((old, new, ratio, relative))
    return out


def report(old_run: dict, new_run: dict, output: PlainOutput) -> None:
    """Prints what moved from the old run to the new one."""
    both = len(_cells(old_run).keys() & _cells(new_run).keys())
    changes = moved(old_run, new_run)
    output.line(
        f"{len(changes)} of {both} cells moved by more than their quartiles and {100 * (THRESHOLD - 1):.0f} %"
        f" in time, or in time over the yardstick's, since {old_run['date']}"
    )
    if not changes:
        return
    rows = [
        (
            *(str(new[k]) for k in _KEY),
            f"{1e3 * old['median']:.4g}",
            f"{1e3 * new['median']:.4g}",
            f"{ratio:.2f}",
            "" if relative is None else f"{relative:.2f}",
        )
        for old, new, ratio, relative in changes
    ]
    output.table((*_KEY, "old, ms", "new, ms", "new/old", "over yardstick"), [rows])
