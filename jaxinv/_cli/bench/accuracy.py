"""Residuals of jaxinv and jnp.linalg.inv over matrices of prescribed condition number."""

import argparse

import jax
import numpy as np
from jax import numpy as jnp

import jaxinv
from jaxinv._cli.generators import of_condition, orthogonal
from jaxinv._cli.output import PlainOutput
from jaxinv._cli.residual import residuals

SIZES = (3, 16, 64)
FUNCTIONS = {"jaxinv": jaxinv.inv, "jnp": jnp.linalg.inv}
# dtype -> largest exponent of the condition number.
EXPONENTS = {"float32": 7, "float64": 14}
_COUNT = 16
_SEED = 20261121


def measure(args: argparse.Namespace, output: PlainOutput) -> list[dict]:
    """Median and worst min(L, R) of each function by dtype, n and condition number."""
    dtypes = [d for d in args.dtypes or EXPONENTS if d in EXPONENTS]
    cases = [(d, n, 10.0**e) for d in dtypes for n in SIZES for e in range(EXPONENTS[d] + 1)]
    return [row for case in output.track(cases, "inverting") for row in _rows(*case)]


def _rows(dtype: str, n: int, condition: float) -> list[dict]:
    rng = np.random.default_rng([_SEED, n])
    left, right = (orthogonal(rng, _COUNT, n, False) for _ in range(2))
    a = of_condition(left, right, condition).astype(dtype)
    rows = []
    for name, function in FUNCTIONS.items():
        with jax.enable_x64(True):
            x = np.asarray(function(a))
        residual = np.minimum(*residuals(a, x))
        median, worst = float(np.median(residual)), float(np.max(residual))
        rows.append(dict(dtype=dtype, n=n, condition=condition, peer=name, median=median, worst=worst))
    return rows
