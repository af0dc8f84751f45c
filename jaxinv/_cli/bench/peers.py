"""The implementations that are measured. Each makes a call from a case and its arrays; it ends when done."""

import functools
import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

import jaxinv
from jaxinv import _native
from jaxinv._cli.bench.suite import PRODUCT_SIZE, Case

Call = Callable[[], object]

YARDSTICKS = "yardsticks"


class Peer(NamedTuple):
    """One implementation of the inverse.

    Attributes:
      module: what must be installed.
      make: makes the call of a case, in the peer's own process.
      serves: whether there is such a call.
      environment: variables of that process; OPENBLAS_NUM_THREADS is unset but where it stands here.
    """

    module: str
    make: Callable[[Case, Sequence[np.ndarray]], Call]
    serves: Callable[[Case], bool] = lambda case: True
    environment: Mapping[str, str] = {}


def installed(name: str) -> bool:
    """True where the module of a peer is installed; nothing is imported."""
    return importlib.util.find_spec(PEERS[name].module) is not None


def make(name: str, case: Case, seed: int) -> Call:
    """The call of a peer, or of the yardstick of the case, on Gaussian matrices."""
    rng = np.random.default_rng([seed, case.n, case.batch])
    jax.config.update("jax_enable_x64", case.dtype in ("float64", "complex128"))
    if name == YARDSTICKS:
        return _YARDSTICKS[case.yardstick](rng, case)
    shape = (case.batch, case.n, case.n)
    if case.suite == "latency" and case.batch == 1:
        shape = shape[1:]
    return PEERS[name].make(
        case, [_gaussian(rng, shape, case.dtype) for _ in range(1 + (case.mode == "grad"))]
    )


def _gaussian(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    real = np.float64 if dtype in ("float64", "complex128") else np.float32
    a = rng.standard_normal(shape, real)
    a[a == 0] = 1  # float32 generators give exact zeros, which peers refuse at n = 1
    if dtype.startswith("complex"):
        a = a + 1j * rng.standard_normal(shape, real)
    return a.astype(jnp.dtype(dtype), copy=False)


def _jax(inverse, case: Case, arrays: Sequence[np.ndarray]) -> Call:
    on_device = [jnp.asarray(a) for a in arrays]
    if case.mode == "grad":
        function = jax.jit(lambda a, g: jax.vjp(inverse, a)[1](g)[0])
    else:
        function = inverse if case.mode == "eager" else jax.jit(inverse)
    return lambda: function(*on_device).block_until_ready()


def adjugate_inverse(a: jax.Array) -> jax.Array:
    """adj(A) / det(A) by cofactors, as users write it by hand."""
    n = a.shape[-1]
    if n == 1:
        return 1 / a
    rows = [[a[..., i, j] for j in range(n)] for i in range(n)]
    cofactors = [[(-1) ** (i + j) * _determinant(_minor(rows, i, j)) for j in range(n)] for i in range(n)]
    determinant = sum(rows[0][j] * cofactors[0][j] for j in range(n))
    adjugate = jnp.stack([cofactors[j][i] for i in range(n) for j in range(n)], axis=-1).reshape(a.shape)
    return adjugate / determinant[..., None, None]


def _determinant(rows):
    if len(rows) == 1:
        return rows[0][0]
    return sum((-1) ** j * rows[0][j] * _determinant(_minor(rows, 0, j)) for j in range(len(rows)))


def _minor(rows, i, j):
    return [row[:j] + row[j + 1 :] for k, row in enumerate(rows) if k != i]


def _numpy(case: Case, arrays: Sequence[np.ndarray]) -> Call:
    return lambda: np.linalg.inv(arrays[0])


def _torch(case: Case, arrays: Sequence[np.ndarray]) -> Call:
    import torch

    a, *cotangents = map(torch.from_numpy, arrays)
    if case.mode == "grad":
        a.requires_grad_()
        return lambda: torch.autograd.grad(torch.linalg.inv(a), a, *cotangents)
    return lambda: torch.linalg.inv(a)


def _mlx(case: Case, arrays: Sequence[np.ndarray]) -> Call:
    import mlx.core as mx

    def inverse(a):
        return mx.linalg.inv(a, stream=mx.cpu)

    a, *cotangents = map(mx.array, arrays)
    if case.mode == "grad":
        return lambda: mx.eval(mx.vjp(inverse, [a], cotangents)[1])
    return lambda: mx.eval(inverse(a))


PEERS = {
    "jaxinv": Peer("jaxinv", functools.partial(_jax, jaxinv.inv)),
    "jnp": Peer("jax", functools.partial(_jax, jnp.linalg.inv)),
    "jnp-1": Peer("jax", functools.partial(_jax, jnp.linalg.inv), environment={"OPENBLAS_NUM_THREADS": "1"}),
    "adjugate": Peer(
        "jax", functools.partial(_jax, adjugate_inverse), lambda case: case.n <= 4 and case.mode != "eager"
    ),
    # Half types it would compute in float64.
    "numpy": Peer(
        "numpy", _numpy, lambda case: case.mode != "grad" and case.dtype not in ("float16", "bfloat16")
    ),
    "torch": Peer("torch", _torch),
    "mlx": Peer("mlx", _mlx),
}


def _copy(rng, case: Case) -> Call:
    _native.register_yardsticks()
    a = _flat(rng, case)
    out = jax.ShapeDtypeStruct(a.shape, a.dtype)
    function = jax.jit(lambda a: jax.ffi.ffi_call("jaxinv_copy", out)(a))
    return lambda: function(a).block_until_ready()


def _memcpy(rng, case: Case) -> Call:
    threads = os.cpu_count() or 1
    source = np.array(_flat(rng, case))
    parts = list(
        zip(np.array_split(np.zeros_like(source), threads), np.array_split(source, threads), strict=True)
    )
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def _add(rng, case: Case) -> Call:
    a = _flat(rng, case)
    function = jax.jit(lambda a: a + 1)
    return lambda: function(a).block_until_ready()


def _flat(rng, case: Case) -> jax.Array:
    shape = (case.n, case.n) if case.batch == 1 else (case.batch, case.n, case.n)
    return jnp.asarray(_gaussian(rng, shape, case.dtype))


def _product(rng, case: Case) -> Call:
    dtype = case.dtype if case.suite == "yardstick" else "float32"
    a, b = (jnp.asarray(_gaussian(rng, (PRODUCT_SIZE, PRODUCT_SIZE), dtype)) for _ in range(2))
    function = jax.jit(functools.partial(jnp.matmul, precision="highest"))
    return lambda: function(a, b).block_until_ready()


_YARDSTICKS = {"copy": _copy, "memcpy": _memcpy, "add": _add, "product": _product}
