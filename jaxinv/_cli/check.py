"""Inverts and solves with matrices of every kind, dtype and size and prints the residuals against their gate.

ε is the unit roundoff of the dtype. L = ‖I − X A‖ / (n ε ‖A‖ ‖X‖) and R, its mirror, are the worst of all
matrices; the forward error is given as a fraction of what the condition number allows; solve is the backward
error ‖b − A x‖ / (n ε (‖A‖ ‖x‖ + ‖b‖)), ε of the dtype as stored. A row passes where min(L, R) ≤ 30,
forward ≤ 1 and solve ≤ 30; half types, rounded once at the end, have no gate on L and R.
Singular and non-finite matrices in the same batch must give NaN and leave the others alone.
"""

import argparse
import os
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jax import numpy as jnp

from jaxinv import _native
from jaxinv._cli import residual
from jaxinv._cli.backend import add_portable_argument, announce
from jaxinv._cli.generators import generate, singular
from jaxinv._cli.output import PlainOutput
from jaxinv.explain import default_platform
from jaxinv.linalg.check import DTYPES
from jaxinv.linalg.inverse import inv as inverse
from jaxinv.linalg.solve import solve

NAME = "check"
HELP = "residuals by size, dtype and backend against the accuracy gate"

SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 33, 64, 128)
_COLUMNS = (
    "dtype",
    "n",
    "kernel",
    "count",
    "min(L, R)",
    "max(L, R)",
    "forward",
    "solve",
    "worst kind",
    "result",
)
_SEED = 20261121


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --sizes, --dtypes and --portable."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=_size,
        default=SIZES,
        metavar="N",
        help=f"sizes n (default: {' '.join(map(str, SIZES))})",
    )
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=DTYPES, metavar="DTYPE", help="(default: all six)"
    )
    add_portable_argument(parser)


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a size of 1 or more, got {text!r}")
    return int(text)


def run(args: argparse.Namespace, output: PlainOutput) -> int:
    """Prints the residual table. Returns 1 where any row is beyond its gate."""
    announce(output, args.portable)
    cases = [(dtype, n) for dtype in args.dtypes for n in args.sizes]
    # Most of the time goes into compiling, which runs beside other threads.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(_check, *zip(*cases, strict=True))
        rows = [next(results) for _ in output.track(cases, "inverting")]
    output.table(_COLUMNS, [[row for row in rows if row[0] == dtype] for dtype in dict.fromkeys(args.dtypes)])
    failed = sum(row[-1] != "PASS" for row in rows)
    output.line(
        f"{len(rows) - failed} of {len(rows)} rows pass: min(L, R) ≤ 30 (but half types), forward ≤ 1, "
        "solve ≤ 30"
    )
    return 1 if failed else 0


def _matrices(dtype: str, n: int) -> tuple[list[str], np.ndarray]:
    """Kinds and matrices to invert, rounded to `dtype`, all within its range."""
    half = jnp.dtype(dtype).itemsize == 2
    epsilon = residual.unit_roundoff(np.float32 if half else dtype)
    rng = np.random.default_rng([_SEED, n])
    kinds, matrices = [], []
    # float16 has 2^±14 in all, the others at least the range of float32.
    scale = 6 if dtype == "float16" else 60
    for kind, a in generate(rng, n, dtype.startswith("complex"), 0.1 / epsilon / n, scale):
        kinds += [kind] * len(a)
        matrices.append(a.astype(jnp.dtype(dtype)))
    return kinds, np.concatenate(matrices)


def _check(dtype: str, n: int) -> tuple[str, ...]:
    """One row of the table. 64-bit types are on for this thread alone."""
    kinds, a = _matrices(dtype, n)
    bad = np.stack([matrix for _, matrix in singular(n)]).astype(a.dtype)
    # Singular matrices stand among the others, whose results must not change by that.
    middle = len(a) // 2
    mixed = np.concatenate([a[:middle], bad, a[middle:]])
    b = _right_hand_sides(mixed)
    with jax.enable_x64(True):
        x, y = np.asarray(inverse(mixed)), np.asarray(solve(mixed, b))
    x_bad, y_bad = (v[middle : middle + len(bad)] for v in (x, y))
    x, y, b = (np.concatenate([v[:middle], v[middle + len(bad) :]]) for v in (x, y, b))

    reference = residual.reference_inverse(a)
    left, right = residual.residuals(a, x)
    forward, condition = residual.forward_error(a, x, reference)
    half = jnp.dtype(dtype).itemsize == 2
    # The gate holds up to this condition number, and for inverses that the dtype can hold.
    limit = 0.1 / residual.unit_roundoff(np.float32 if half else dtype)
    judged = (condition <= limit) & (np.abs(reference).max((-2, -1)) <= float(jnp.finfo(dtype).max))
    least, most = np.minimum(left, right), np.maximum(left, right)
    # What is not finite is beyond every gate.
    solved = residual.backward_error(a, b, y)
    values = (np.where(np.isfinite(v), v, np.inf)[judged] for v in (least, most, forward, solved))
    least, most, forward, solved = values
    share = np.maximum(
        forward if half else np.maximum(least / residual.GATE, forward), solved / residual.GATE
    )
    worst = int(np.argmax(share))
    result = "PASS" if share[worst] <= 1 else "FAIL"
    if not (np.all(np.isnan(x_bad)) and np.all(np.isnan(y_bad))):
        result = "FAIL: singular not NaN"
    names = [kind for kind, ok in zip(kinds, judged, strict=True) if ok]
    return (
        dtype,
        str(n),
        _kernel(dtype, n),
        str(int(judged.sum())),
        f"{least.max():.2g}",
        f"{most.max():.2g}",
        f"{forward.max():.2g}",
        f"{solved.max():.2g}",
        names[worst],
        result,
    )


def _right_hand_sides(a: np.ndarray) -> np.ndarray:
    """Two for each matrix, of its size; ones where it is not finite."""
    rng = np.random.default_rng([_SEED, a.shape[-1]])
    with np.errstate(invalid="ignore"):
        b = residual.widen(a) @ rng.standard_normal((a.shape[-1], 2)) / a.shape[-1]
    return np.where(np.isfinite(b), b, 1).astype(a.dtype)


def _kernel(dtype: str, n: int) -> str:
    backend = _native.PLATFORMS.get(default_platform())
    if backend is None:
        return "XLA"
    return _native.plan(backend, "inverse", n, jnp.dtype(dtype))["kernel"]
