"""The implementations that are measured. Each makes a call from a case and its arrays; it ends when done."""

import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from jax import numpy as jnp

import jaxinv
from jaxinv import _native
from jaxinv._cli.bench import loss
from jaxinv._cli.bench.suite import PRODUCT_SIZE, Case

Call = Callable[[], object]

YARDSTICKS = "yardsticks"


class Peer(NamedTuple):
    """One implementation of the inverse.

    Attributes:
      module: what must be installed.
      make: makes the call of a case, in the peer's own process.
      serves: whether there is such a call.
      platforms: where it computes, as `jax.default_backend()` names them.
      environment: variables of that process; OPENBLAS_NUM_THREADS is unset but where it stands here.
    """

    module: str
    make: Callable[[Case, Sequence[np.ndarray]], Call]
    serves: Callable[[Case], bool] = lambda case: True
    platforms: tuple[str, ...] = ("cpu", "gpu")
    environment: Mapping[str, str] = {}


# Calls in a row before the last is waited for, on a GPU, where waiting takes longer than a call; fewer of
# large ones.
_GPU_RUNS = 20
_GPU_BYTES = 2**30


def installed(name: str) -> bool:
    """True where the module of a peer is installed; nothing is imported."""
    return importlib.util.find_spec(PEERS[name].module) is not None


def serves(name: str, case: Case) -> bool:
    """Whether a peer, or the yardstick, has a call for the case."""
    if name == YARDSTICKS:
        return True
    if case.suite == "loss":
        return name in loss.PEERS and (name != "jaxinv-1" or case.mode == "tikhonov_pinv")
    return PEERS[name].serves(case)


def runs_of(case: Case) -> int:
    """How many calls of the function one call of `make`'s result makes; the time is divided by it."""
    one_by_one = case.suite in ("latency", "loss") or jax.default_backend() != "gpu"
    return 1 if one_by_one else max(1, min(_GPU_RUNS, _GPU_BYTES // max(1, case.nbytes)))


def make(name: str, case: Case, seed: int) -> Call:
    """The call of a peer, or of the yardstick of the case, on Gaussian matrices, `runs_of(case)` times."""
    rng = np.random.default_rng([seed, case.n, case.batch])
    jax.config.update("jax_enable_x64", case.dtype in ("float64", "complex128"))
    if name == YARDSTICKS:
        return _YARDSTICKS[case.yardstick](rng, case)
    if case.suite == "loss":
        return loss.PEERS[name](case, lambda shape: _gaussian(rng, shape, case.dtype))
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
    return _in_a_row(case, lambda: function(*on_device))


def _in_a_row(case: Case, function: Callable[[], jax.Array]) -> Call:
    """Calls that follow each other on the device; it ends when the last is done."""
    runs = runs_of(case)

    def call():
        for _ in range(runs):
            out = function()
        return out.block_until_ready()

    return call


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


def _torch(inverse: str, case: Case, arrays: Sequence[np.ndarray]) -> Call:
    import torch

    gpu = jax.default_backend() == "gpu"
    if gpu:
        torch.backends.cuda.matmul.allow_tf32 = False
    function = getattr(torch.linalg, inverse)
    a, *cotangents = (torch.from_numpy(x).to("cuda" if gpu else "cpu") for x in arrays)
    runs = runs_of(case)
    if case.mode == "grad":
        a.requires_grad_()

    def call():
        for _ in range(runs):
            out = function(a)
            x = out.inverse if inverse == "inv_ex" else out
            if case.mode == "grad":
                torch.autograd.grad(x, a, *cotangents)
        if gpu:
            torch.cuda.synchronize()

    return call


def _cupy(case: Case, arrays: Sequence[np.ndarray]) -> Call:
    import cupy

    a, runs = cupy.asarray(arrays[0]), runs_of(case)

    def call():
        for _ in range(runs):
            cupy.linalg.inv(a)
        cupy.cuda.Device().synchronize()

    return call


_CUBLAS = {"float32": "S", "float64": "D", "complex64": "C", "complex128": "Z"}


def _cublas(case: Case, arrays: Sequence[np.ndarray]) -> Call:
    """matinvBatched, the pointers to the matrices made beforehand; memory by way of CuPy."""
    import ctypes

    import cupy
    from cupy_backends.cuda.libs import cublas  # loads the library

    a = cupy.asarray(arrays[0]).reshape(case.batch, case.n, case.n)
    x, info = cupy.empty_like(a), cupy.empty(case.batch, np.int32)
    pointers = [m.data.ptr + cupy.arange(case.batch, dtype=np.uint64) * m[0].nbytes for m in (a, x)]
    with open("/proc/self/maps") as maps:
        path = next(line.split()[-1] for line in maps if "libcublas.so" in line)
    function = getattr(ctypes.CDLL(path), f"cublas{_CUBLAS[case.dtype]}matinvBatched")
    sizes = ctypes.c_void_p(cublas.create()), ctypes.c_int(case.n)
    old, new = (ctypes.c_void_p(p.data.ptr) for p in pointers)
    arguments = (
        *sizes,
        old,
        sizes[1],
        new,
        sizes[1],
        ctypes.c_void_p(info.data.ptr),
        ctypes.c_int(case.batch),
    )
    runs = runs_of(case)

    def call():
        for _ in range(runs):
            status = function(*arguments)
            if status:
                raise RuntimeError(f"matinvBatched returned {status}")
        cupy.cuda.Device().synchronize()

    return call


def _mlx(case: Case, arrays: Sequence[np.ndarray]) -> Call:
    import mlx.core as mx

    def inverse(a):
        return mx.linalg.inv(a, stream=mx.cpu)

    a, *cotangents = map(mx.array, arrays)
    if case.mode == "grad":
        return lambda: mx.eval(mx.vjp(inverse, [a], cotangents)[1])
    return lambda: mx.eval(inverse(a))


def mlx_by_hand(a):
    """Inverses of 3 × 3 matrices in MLX by cross products of rows: its own function has no GPU kernel."""
    import mlx.core as mx

    x, y, z = (a[..., i, :] for i in range(3))
    adjugate = mx.stack([mx.linalg.cross(y, z), mx.linalg.cross(z, x), mx.linalg.cross(x, y)], axis=-1)
    return adjugate / mx.sum(x * adjugate[..., 0], axis=-1)[..., None, None]


def _mlx_gpu(case: Case, arrays: Sequence[np.ndarray]) -> Call:
    import mlx.core as mx

    a = mx.array(arrays[0])

    def call():
        with mx.stream(mx.gpu):
            mx.eval(mlx_by_hand(a))

    return call


def _forward(case: Case) -> bool:
    # Half types NumPy would compute in float64; CuPy and cuBLAS have none.
    return case.mode != "grad" and case.dtype not in ("float16", "bfloat16")


PEERS = {
    "jaxinv": Peer("jaxinv", functools.partial(_jax, jaxinv.inv)),
    # Of the loss: what goes through jax.numpy's QR collapses where OpenBLAS's threads meet others.
    "jaxinv-1": Peer(
        "jaxinv",
        functools.partial(_jax, jaxinv.inv),
        lambda case: False,
        platforms=("cpu",),
        environment={"OPENBLAS_NUM_THREADS": "1"},
    ),
    "jnp": Peer("jax", functools.partial(_jax, jnp.linalg.inv)),
    "jnp-1": Peer(
        "jax",
        functools.partial(_jax, jnp.linalg.inv),
        platforms=("cpu",),
        environment={"OPENBLAS_NUM_THREADS": "1"},
    ),
    "adjugate": Peer(
        "jax", functools.partial(_jax, adjugate_inverse), lambda case: case.n <= 4 and case.mode != "eager"
    ),
    "numpy": Peer("numpy", _numpy, _forward, ("cpu",)),
    "torch": Peer("torch", functools.partial(_torch, "inv")),
    "torch-ex": Peer("torch", functools.partial(_torch, "inv_ex"), platforms=("gpu",)),
    "cupy": Peer("cupy", _cupy, _forward, ("gpu",)),
    "cublas": Peer("cupy", _cublas, lambda case: _forward(case) and case.n <= 32, ("gpu",)),
    "mlx": Peer("mlx", _mlx, platforms=("cpu",)),
    "mlx-gpu": Peer(
        "mlx", _mlx_gpu, lambda case: _forward(case) and case.n == 3 and sys.platform == "darwin", ("cpu",)
    ),
}


def _copy(rng, case: Case) -> Call:
    _native.register_yardsticks()
    a = _flat(rng, case)
    out = jax.ShapeDtypeStruct(a.shape, a.dtype)
    function = jax.jit(lambda a: jax.ffi.ffi_call("jaxinv_copy", out)(a))
    return _in_a_row(case, lambda: function(a))


def _memcpy(rng, case: Case) -> Call:
    threads = os.cpu_count() or 1
    source = np.array(_flat(rng, case))
    parts = list(
        zip(np.array_split(np.zeros_like(source), threads), np.array_split(source, threads), strict=True)
    )
    pool = ThreadPoolExecutor(threads)
    runs = runs_of(case)
    return lambda: [list(pool.map(lambda part: np.copyto(*part), parts)) for _ in range(runs)]


def _add(rng, case: Case) -> Call:
    a = _flat(rng, case)
    function = jax.jit(lambda a: a + 1)
    return _in_a_row(case, lambda: function(a))


def _flat(rng, case: Case) -> jax.Array:
    shape = (case.n, case.n) if case.batch == 1 else (case.batch, case.n, case.n)
    return jnp.asarray(_gaussian(rng, shape, case.dtype))


def _product(rng, case: Case) -> Call:
    dtype = case.dtype if case.suite == "yardstick" else "float32"
    a, b = (jnp.asarray(_gaussian(rng, (PRODUCT_SIZE, PRODUCT_SIZE), dtype)) for _ in range(2))
    function = jax.jit(functools.partial(jnp.matmul, precision="highest"))
    return _in_a_row(case, lambda: function(a, b))


_YARDSTICKS = {"copy": _copy, "memcpy": _memcpy, "add": _add, "product": _product}
