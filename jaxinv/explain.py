"""Says which algorithm and kernel serve a call, and why.

It prints what the plan answers and decides nothing itself.
"""

import math
import operator

import jax
from jax import numpy as jnp
from jax.typing import DTypeLike

from jaxinv import _native
from jaxinv.linalg.check import DTYPES, structure
from jaxinv.linalg.solve import FUSED_MAX

# The operations that serve a public function: what each does, its name, matrices that it reads and writes.
_INVERSE = (("", "inverse", 1, 1), ("its cotangent −Xᵀ G Xᵀ", "triple_product", 2, 1))
_FUSED = (("", "solve", 1, 0), ("its cotangent, the same with aᵀ", "solve", 1, 0))
_FACTORED = (("", "lu_factor", 1, 1), ("solutions and their cotangents, by these factors", "lu_solve", 1, 0))
_DETERMINANT = (("", "determinant", 1, 0),)
_SUBSTITUTION = (("", "solve", 1, 0), ("its cotangent, the same with aᵀ", "solve", 1, 0))

# Public function -> those operations for small n and for large.
OPERATIONS = {
    **dict.fromkeys(("inv", "inv_ex", "inv_slogdet", "inv_det"), (_INVERSE, _INVERSE)),
    **dict.fromkeys(("inv_rows", "inv_cols", "solve", "solve_ex"), (_FUSED, _FACTORED)),
    "det": (_DETERMINANT, _DETERMINANT),
    "slogdet": ((*_DETERMINANT, ("value and derivative at once, by the inverse", "inverse", 1, 1)),) * 2,
}

# Of general and positive definite matrices; that of a product of diagonal entries needs no words.
_DET_DERIVATIVE = "by the adjugate, from an SVD of jax.numpy.linalg, computed only when a derivative is taken"

# Public function of matrices m × n -> (factorisation of jax.numpy that serves it, cost of its derivative).
_SVD = "SVD of jax.numpy.linalg (LAPACK gesdd on the CPU), of the adjoint where m < n"
_QR = (
    "QR of jax.numpy.linalg (LAPACK geqrf on the CPU) of [a; √lam · penalty]; where the penalty is "
    "the identity and m < n, of [aᴴ; √lam]"
)
FACTORISATIONS = {
    "pinv": (_SVD, "products only, about 13 of (m × n) (n × n); no further SVD, at any order"),
    "lstsq": (
        _SVD,
        "products with a and its bases, 12 for each right-hand side; no further SVD, at any order",
    ),
    "tikhonov_solve": (
        _QR,
        "products with a, q and R⁻¹, 8 for each right-hand side; no further QR, at any order",
    ),
    "tikhonov_pinv": (_QR, "products only, about 6 of (m × n) (n × n); no further QR, at any order"),
}

FUNCTIONS = (*OPERATIONS, *FACTORISATIONS)


def explain(
    shape: tuple[int, ...],
    dtype: DTypeLike,
    op: str = "inv",
    platform: str | None = None,
    assume_a: str = "general",
) -> str:
    """Says which algorithm and kernel serve a function of jaxinv at a shape, and why.

    Args:
      shape: shape (..., n, n) of the array that the function would be given; (..., m, n) for the last four.
      dtype: its dtype: float16, bfloat16, float32, float64, complex64 or complex128.
      op: name of the function: "inv", "inv_ex", "inv_slogdet", "inv_det", "inv_rows", "inv_cols", "solve",
        "solve_ex", "det", "slogdet", "pinv", "lstsq", "tikhonov_solve" or "tikhonov_pinv". Systems of n <= 16
        with more than 16 right-hand sides, or whose matrix is shared by a batch of them, go the way of
        larger ones.
      platform: platform of JAX: "cpu", "cuda", "rocm", "tpu", ...; "gpu" means "cuda". "macos" or "metal":
        the cpu platform on a Mac, whose GPU takes large calls. None: the one that this process uses by
        default, which starts JAX's backend.
      assume_a: structure that the function would be given; no effect on the last four.

    Returns:
      Text of several lines: algorithm, kernel, memory read, written and taken as workspace (right-hand
      sides not counted), and the reason for the choice, for the function and for its cotangent. A platform
      without native kernels gets the portable path in plain jax.numpy, and the text says why.

    Raises:
      ValueError: the last two dimensions are missing or differ, a size is negative, `op` or `assume_a` is
        unknown.
      TypeError: `shape` is not a sequence of integers, `dtype` is not supported, `platform` is no string.

    Nothing is computed or compiled.
    """
    shape, name = _check_shape(shape, square=op not in FACTORISATIONS), _check_dtype(dtype)
    if op not in FUNCTIONS:
        raise ValueError(f"jaxinv.explain: op must be one of {', '.join(map(repr, FUNCTIONS))}, got {op!r}")
    if not isinstance(platform, str | None):
        raise TypeError(f"jaxinv.explain: expected platform to be a string or None, got {platform!r}")
    assumed = structure("explain", assume_a, lower=False)
    platform = default_platform() if platform is None else platform
    platform = "cuda" if platform == "gpu" else platform

    (m, n), count = shape[-2:], math.prod(shape[:-2])
    matrix = m * n * jnp.dtype(name).itemsize
    lines = [
        f"jaxinv.{op} of {count} {name} {'matrix' if count == 1 else 'matrices'} {m} × {n} on {platform}"
    ]
    if op in FACTORISATIONS:
        algorithm, derivative = FACTORISATIONS[op]
        lines += [
            f"  algorithm  {algorithm}",
            "  kernel     XLA",
            f"  memory     {_size(count * matrix)} read, temporaries as XLA decides",
            "  why        jaxinv has no kernels of its own for singular values and QR",
            f"its derivative: {derivative}",
        ]
    else:
        for title, operation, reads, writes in _operations(op, assumed, n):
            lines += [title] if title else []
            plan = _plan(platform, operation, n, name, count * matrix, assumed)
            lines += _describe(plan, count, reads=reads * matrix, writes=writes * matrix)
        if op == "det" and not (assumed == "diagonal" or assumed.endswith("triangular")):
            lines.append(f"its derivative: {_DET_DERIVATIVE}")
    if jax.dtypes.canonicalize_dtype(name) != jnp.dtype(name):
        lines.append(f"jax_enable_x64 is off: JAX would make a smaller type of {name}")
    return "\n".join(lines)


def _operations(op: str, assumed: str, n: int):
    small, large = OPERATIONS[op]
    if large == _FACTORED and assumed.endswith("triangular"):
        return _SUBSTITUTION
    return small if n <= FUSED_MAX else large


def default_platform() -> str:
    """Platform that computes by default, as lowering rules name it: "cuda" or "rocm" where JAX says "gpu"."""
    platform = jax.default_backend()
    if platform == "gpu":
        return "rocm" if "rocm" in jax.devices()[0].client.platform_version else "cuda"
    return platform


def _check_shape(shape, square: bool) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(size) for size in shape)
    except TypeError:
        raise TypeError(f"jaxinv.explain: expected shape to be a tuple of integers, got {shape!r}") from None
    if len(shape) < 2 or (square and shape[-1] != shape[-2]):
        kind = "square matrices (..., n, n)" if square else "matrices (..., m, n)"
        raise ValueError(f"jaxinv.explain: expected {kind}, got shape {shape}")
    if min(shape) < 0:
        raise ValueError(f"jaxinv.explain: expected sizes of 0 or more, got shape {shape}")
    return shape


def _check_dtype(dtype) -> str:
    try:
        name = jnp.dtype(dtype).name
    except TypeError:
        name = repr(dtype)
    if name not in DTYPES:
        raise TypeError(f"jaxinv.explain: expected one of {', '.join(DTYPES)}, got dtype {name}")
    return name


def _plan(platform: str, operation: str, n: int, dtype: str, nbytes: int, assumed: str) -> dict:
    if assumed == "diagonal" or (operation == "determinant" and assumed.endswith("triangular")):
        reason = "elementwise: XLA makes one loop of it"
        return {"native": False, "algorithm": "portable", "kernel": "XLA", "reason": reason}
    if operation == "triple_product":
        assumed = "general"
    # Metal is no platform of JAX: its cpu platform hands over to it.
    if platform in ("cpu", "macos", "metal"):
        return _native.cpu_plan(operation, n, jnp.dtype(dtype), assumed, nbytes, mac=platform != "cpu")
    if platform not in _native.PLATFORMS:
        reason = f"jaxinv has no native kernels for platform {platform!r}"
        return {"native": False, "algorithm": "portable", "kernel": "XLA", "reason": reason}
    return _native.plan(_native.PLATFORMS[platform], operation, n, jnp.dtype(dtype), assumed)


def _describe(plan: dict, count: int, *, reads: int, writes: int) -> list[str]:
    """Lines on one plan; `reads` and `writes` are bytes per matrix."""
    if plan["native"]:
        algorithm, workspace = plan["algorithm"], f"{_size(count * plan.get('workspace', 0))} workspace"
    else:
        algorithm, workspace = "portable path (plain jax.numpy)", "temporaries as XLA decides"
    return [
        f"  algorithm  {algorithm}",
        f"  kernel     {plan['kernel']}",
        f"  memory     {_size(count * reads)} read, {_size(count * writes)} written, {workspace}",
        f"  why        {plan['reason']}",
    ]


def _size(count: int) -> str:
    """A number of bytes in decimal units, as memory bandwidth is quoted."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            return f"{count / factor:.4g} {unit}"
    return f"{count} B"
