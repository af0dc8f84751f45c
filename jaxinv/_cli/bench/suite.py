"""What is measured: cases, the yardstick of each and the fraction of it that is asked."""

import argparse
import dataclasses

import jax
from jax import numpy as jnp

SUITES = ("inv", "grad", "latency", "loss", "accuracy")
# Calls on 3 × 3 matrices as in the table of MLX issue 1238: those of "latency" but the eager one.
MLX_TABLE = "mlx-1238"
MEGABYTE = 2**20
PRODUCT_SIZE = 1024

_SIZES = (3, 4, 8, 16, 32, 64, 128, 256, 512)
_FULL_SIZES = (*range(1, 9), 12, 16, 24, 32, 33, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048)
_FULL_MEGABYTES = (0.0625, 1.0, 4.0, 16.0, 128.0)
_LATENCY_BATCHES = (1, 16, 256, 1024, 8192, 32768)  # those of MLX issue 1238
# What started this project: a training loss of [256, 512, 512], of whose inverse it needs 60 rows.
_LOSS_BATCHES = (1, 256)
_LOSS_SIZE = 512
LOSS_ROWS = 60
_LOSS_ROUTES = ("inv", "inv_rows", "tikhonov_pinv")
# Largest n -> fraction of the limit, at outputs of at least 16 MB.
_ASKED = {4: 0.7, 8: 0.5, 16: 0.4, 32: 0.25, 64: 0.3, 128: 0.4, 256: 0.5, 2048: 0.6}


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to measure.

    Attributes:
      suite: "inv", "grad" (forward + backward), "latency", "loss", or "yardstick" for yardsticks alone.
      mode: "inv" or "grad", both jitted; "eager"; of a loss its route; of a yardstick its name.
      n, dtype, batch: of the matrices; n is 4 where only the bytes matter.
      megabytes: size of the output that was asked for.
    """

    suite: str
    mode: str
    n: int
    dtype: str
    batch: int
    megabytes: float

    @property
    def yardstick(self) -> str:
        """What is measured beside it: "copy", "product" or "add"; memcpy only stands alone."""
        if self.suite == "yardstick":
            return self.mode
        if self.suite == "latency":
            return "add"
        return "copy" if self.n <= 16 else "product"

    @property
    def nbytes(self) -> int:
        """Bytes of the output."""
        return self.batch * self.n**2 * jnp.dtype(self.dtype).itemsize

    @property
    def flop(self) -> float:
        """Real operations: 2 n³ a matrix, two products more for the derivative, four times for complex."""
        products = 3 if self.mode == "grad" else 1
        return 2.0 * products * self.batch * self.n**3 * (4 if self.dtype.startswith("complex") else 1)

    @property
    def work(self) -> float:
        """Work in units of the yardstick's: what its time is multiplied by for the time at the limit.

        The traffic of forward + backward is 5 n² elements, of a copy 2 n². The limit of 64-bit types is half
        the rate of the float32 product.
        """
        if self.yardstick == "product" and self.suite != "yardstick":
            double = self.dtype in ("float64", "complex128")
            return self.flop / (2.0 * PRODUCT_SIZE**3) * (2 if double else 1)
        return 2.5 if self.mode == "grad" else 1.0

    @property
    def asked(self) -> float | None:
        """Fraction of the limit to reach; for latency, the time in units of x + 1. None: nothing is asked."""
        if self.suite == "latency":
            return 1.3 if (self.mode, self.batch) == ("inv", 1) else None
        if self.suite == "loss" or self.megabytes < 16 or self.dtype not in ("float32", "float64"):
            return None
        if self.mode == "grad":
            return 0.6 if self.n <= 8 else None
        return next((fraction for largest, fraction in _ASKED.items() if self.n <= largest), None)


def plan(args: argparse.Namespace) -> list[Case]:
    """The cases to time, smaller batches first."""
    suites = SUITES if args.suite == "all" else (args.suite,)
    cases = []
    for suite in suites:
        if suite in ("inv", "grad"):
            cases += _throughput(args, suite)
        elif suite in ("latency", MLX_TABLE):
            cases += [case for case in _latency() if suite == "latency" or case.mode == "inv"]
        elif suite == "loss":
            cases += _loss(args)
    return cases


def _throughput(args, suite) -> list[Case]:
    cases = []
    for dtype in _dtypes(args):
        for n in args.sizes or (_FULL_SIZES if args.full else _SIZES):
            matrix = n * n * jnp.dtype(dtype).itemsize
            # At least one matrix; of several sizes that come to the same batch the largest stays.
            batches = {max(1, int(size * MEGABYTE / matrix)): size for size in _megabytes(args)}
            cases += [Case(suite, suite, n, dtype, batch, size) for batch, size in batches.items()]
    return cases


def _latency() -> list[Case]:
    modes = [("inv", batch) for batch in _LATENCY_BATCHES] + [("eager", 1)]
    return [Case("latency", mode, 3, "float32", b, 36 * b / MEGABYTE) for mode, b in modes]


def _loss(args) -> list[Case]:
    """Matrices of 512 × 512, forward and backward: one MB each, so that --megabytes gives the batch."""
    megabytes = _LOSS_SIZE**2 * 4 / MEGABYTE
    batches = [max(1, int(size / megabytes)) for size in args.megabytes or ()] or _LOSS_BATCHES
    return [
        Case("loss", route, _LOSS_SIZE, "float32", batch, batch * megabytes)
        for batch in batches
        for route in _LOSS_ROUTES
    ]


def plan_yardsticks(args: argparse.Namespace) -> list[Case]:
    """The yardsticks alone: copies at each size of the output from 1 MB on, the product in each dtype."""
    sizes = [size for size in _megabytes(args) if size >= 1] or [1.0]
    modes = ("copy", "memcpy", "add") if jax.default_backend() == "cpu" else ("copy", "add")
    copies = [
        Case("yardstick", mode, 4, "float32", int(size * MEGABYTE / 64), size)
        for size in sizes
        for mode in modes
    ]
    return copies + [Case("yardstick", "product", PRODUCT_SIZE, d, 1, 4.0) for d in _dtypes(args)]


def _dtypes(args) -> tuple[str, ...]:
    return args.dtypes or (("float32", "float64") if args.full else ("float32",))


def _megabytes(args) -> tuple[float, ...]:
    return args.megabytes or (_FULL_MEGABYTES if args.full else (16.0,))
