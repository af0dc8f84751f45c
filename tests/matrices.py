"""Seeded matrices of every kind that has broken an inversion, and the gates their inverses must pass."""

import itertools
from collections.abc import Callable

import ml_dtypes
import numpy as np

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "complex64": np.dtype(np.complex64),
    "complex128": np.dtype(np.complex128),
}
CAMERA = np.array([[1162.38, 0, 618.25], [0, 1156.83, 410.75], [0, 0, 1]])


def is_half(dtype) -> bool:
    return np.dtype(dtype).itemsize == 2


def is_complex(dtype) -> bool:
    return np.dtype(dtype).kind == "c"


def compute_dtype(dtype) -> np.dtype:
    """The type that arithmetic is done in: half types compute in float32."""
    return np.dtype(np.float32) if is_half(dtype) else np.dtype(dtype)


def real_dtype(dtype) -> np.dtype:
    return np.empty(0, dtype).real.dtype


def wide_dtype(dtype) -> np.dtype:
    return np.dtype(np.complex128 if is_complex(dtype) else np.float64)


def eps(dtype) -> float:
    """Unit roundoff of the arithmetic: 2**-24 or 2**-53."""
    return float(ml_dtypes.finfo(compute_dtype(dtype)).eps) / 2


def ulp(dtype) -> float:
    return float(ml_dtypes.finfo(dtype).eps)


def transpose(a: np.ndarray) -> np.ndarray:
    return np.swapaxes(a, -1, -2)


def adjoint(a):
    return np.swapaxes(a, -1, -2).conj()


# Generators: (rng, count, n, dtype) -> (k, n, n) in float64 or complex128.


def normal(rng, shape, dtype) -> np.ndarray:
    a = rng.standard_normal(shape)
    return (a + 1j * rng.standard_normal(shape)) / np.sqrt(2) if is_complex(dtype) else a


def _unitary(rng, count, n, dtype):
    return np.linalg.qr(normal(rng, (count, n, n), dtype))[0]


def with_condition(rng, kappas, n, dtype):
    """One matrix for each condition number, singular values in geometric progression."""
    u, v = (_unitary(rng, len(kappas), n, dtype) for _ in range(2))
    sigma = np.geomspace(np.ones(len(kappas)), 1 / np.asarray(kappas, float), n, axis=-1)
    return u * sigma[:, None, :] @ v


def _gaussian(rng, count, n, dtype):
    return normal(rng, (count, n, n), dtype)


def _conditions(rng, count, n, dtype):
    # Rounding the input to a half type moves the smallest singular value by an ulp of that type.
    largest = 0.1 / (ulp(dtype) if is_half(dtype) else eps(dtype))
    return with_condition(rng, np.geomspace(10, largest, max(count, 2)), n, dtype)


def _well(rng, count, n, dtype):
    return with_condition(rng, np.full(count, 10.0), n, dtype)


def _spd(rng, count, n, dtype):
    g = _gaussian(rng, count, n, dtype)
    return g @ transpose(g).conj() / n + 0.1 * np.eye(n)


def _permutations(rng, count, n, dtype):
    if n <= 5:
        orders = list(itertools.permutations(range(n)))
    else:
        orders = [rng.permutation(n) for _ in range(count)]
    p = np.eye(n)[np.array(orders, int)]
    return p * 1j ** rng.integers(4, size=(len(orders), 1, n)) if is_complex(dtype) else p


def _grades(n, dtype):
    bits = {2**-24: 12, 2**-53: 36}[eps(dtype)]
    return np.exp2(-np.linspace(0, 4 if is_half(dtype) else bits, n))


def _graded_rows(rng, count, n, dtype):
    return _grades(n, dtype)[:, None] * _well(rng, count, n, dtype)


def _graded_columns(rng, count, n, dtype):
    return _well(rng, count, n, dtype) * _grades(n, dtype)[::-1]


def _scaled(rng, count, n, dtype):
    s = 7 if dtype == np.float16 else 60
    return np.concatenate([np.ldexp(1.0, e) * _gaussian(rng, count, n, dtype) for e in (-s, s)])


def _triangular(rng, count, n, dtype):
    a = np.tril(_gaussian(rng, count, n, dtype), -1) / n + np.diag(rng.uniform(0.5, 2, n))
    return np.concatenate([a, transpose(a)])


def _sprinkled_with_denormals(rng, count, n, dtype):
    a = _well(rng, count, n, dtype)
    tiny = float(ml_dtypes.finfo(compute_dtype(dtype)).smallest_normal) * rng.uniform(0.01, 0.9, a.shape)
    return np.where((rng.random(a.shape) < 0.3) & ~np.eye(n, dtype=bool), tiny, a + np.eye(n))


def _huge(rng, count, n, dtype):
    largest = {np.float16: 1e4, np.float64: 1e300, np.complex128: 1e300}.get(dtype.type, 1e37)
    a = _well(rng, count, n, dtype)
    return a * (largest / np.abs(a).max((-2, -1), keepdims=True, initial=1e-6))


def _hilbert(rng, count, n, dtype):
    i = np.arange(n)
    return 1 / (1 + i[:, None] + i)[None]


def _camera(rng, count, n, dtype):
    k = np.tile(np.eye(3), (count, 1, 1))
    k[:, 0, 0], k[:, 1, 1] = rng.uniform(300, 2000, (2, count))
    k[:, :2, 2] = rng.uniform(100, 1000, (count, 2))
    k[0] = CAMERA
    return k


def _affine(rng, count, n, dtype):
    a = np.tile(np.eye(4), (count, 1, 1))
    a[:, :3, :3] = _gaussian(rng, count, 3, np.float64)
    a[:, :3, 3] = rng.uniform(-20, 20, (count, 3))
    return a


def _rigid(rng, count, n, dtype):
    a = np.tile(np.eye(4), (count, 1, 1))
    a[:, :3, :3] = _unitary(rng, count, 3, np.float64)
    a[:, :3, 3] = rng.uniform(-20, 20, (count, 3))
    return a


def _denormal(rng, count, n, dtype):
    # Most entries are denormal and the inverse is just finite.
    tiny = float(ml_dtypes.finfo(dtype).smallest_normal)
    return _unitary(rng, count, n, dtype) * tiny * (0.6 if n == 1 else 2)


def _any(n, dtype):
    return True


_GENERATORS: dict[str, tuple[Callable, Callable]] = {
    "gaussian": (_gaussian, _any),
    "condition": (_conditions, _any),
    "spd": (_spd, _any),
    "unitary": (_unitary, _any),
    "permutation": (_permutations, _any),
    "graded rows": (_graded_rows, _any),
    "graded columns": (_graded_columns, _any),
    "scaled": (_scaled, _any),
    "triangular": (_triangular, _any),
    "sprinkled with denormals": (_sprinkled_with_denormals, _any),
    "huge": (_huge, _any),
    # The condition number of the sixth is 1.5e7.
    "hilbert": (
        _hilbert,
        lambda n, dtype: 2 <= n <= (3 if is_half(dtype) else 5 if eps(dtype) > 1e-9 else 6),
    ),
    "camera": (_camera, lambda n, dtype: n == 3),
    "affine": (_affine, lambda n, dtype: n == 4),
    "rigid": (_rigid, lambda n, dtype: n == 4),
}


def generators(n, dtype) -> list[str]:
    return [name for name, (_, applies) in _GENERATORS.items() if applies(n, dtype)]


def rng_for(*key) -> np.random.Generator:
    return np.random.default_rng(np.frombuffer(repr(key).encode(), np.uint8))


def generate(n, dtype, count=4) -> tuple[list[str], np.ndarray]:
    """Matrices of every generator within the gate (kappa <= 0.1/eps), and the generator of each."""
    dtype = np.dtype(dtype)
    names, parts = [], []
    for name in generators(n, dtype):
        a = _GENERATORS[name][0](rng_for(name, n, dtype.name), count, n, dtype).astype(dtype)
        kappa = condition(a)
        a = a[kappa <= 0.15 / eps(dtype)]  # rounding the input moves the largest ones a little
        assert 2 * len(a) >= len(kappa), f"generator {name!r} misses its condition number: {kappa}"
        parts.append(a)
        names += [name] * len(a)
    return names, np.concatenate(parts)


def denormal(n, dtype, count=4) -> np.ndarray:
    """Matrices of denormal entries with finite inverse; XLA's own CPU programs flush them to zero."""
    return _denormal(rng_for("denormal", n, dtype), count, n, np.dtype(dtype)).astype(dtype)


def well_conditioned(shape, dtype, seed=0, kappa=10.0) -> np.ndarray:
    """Matrices (..., n, n) of condition number `kappa`, for derivatives and transforms."""
    count, n = int(np.prod(shape[:-2])), shape[-1]
    rng = rng_for("well", shape, np.dtype(dtype).name, seed)
    return with_condition(rng, np.full(count, kappa), n, dtype).reshape(shape).astype(dtype)


def of_rank(shape, rank, dtype, kappa=10.0, seed=0):
    """Matrices (..., m, n) with `rank` non-zero singular values, from 1 to 1/kappa."""
    *batch, m, n = shape
    rng = rng_for("rank", shape, rank, np.dtype(dtype).name, seed)
    u = np.linalg.qr(normal(rng, (*batch, m, rank), dtype))[0]
    v = np.linalg.qr(normal(rng, (*batch, n, rank), dtype))[0]
    return (u * np.geomspace(1, 1 / kappa, rank)) @ adjoint(v)


# Gates


def _unscaled(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a in wide type as scaled * 2**exponent, the largest entry of `scaled` in [1/2, 1)."""
    a = a.astype(wide_dtype(a.dtype))
    largest = np.maximum(np.abs(a.real), np.abs(a.imag)).max((-2, -1), keepdims=True, initial=0)
    exponent = np.frexp(largest)[1]
    return _ldexp(a, -exponent), exponent


def _ldexp(a, exponent):
    # In two steps: 2**1074 is no double.
    half = exponent // 2
    with np.errstate(over="ignore", invalid="ignore"):
        return a * np.ldexp(1.0, half) * np.ldexp(1.0, exponent - half)


def norm1(a: np.ndarray) -> np.ndarray:
    return np.abs(a).sum(-2).max(-1, initial=0)


def condition(a: np.ndarray) -> np.ndarray:
    """2-norm condition numbers."""
    if a.shape[-1] == 0:
        return np.ones(a.shape[:-2])
    return np.linalg.cond(_unscaled(a)[0])


def reference(a: np.ndarray) -> np.ndarray:
    """Inverse computed by NumPy in float64 or complex128."""
    scaled, exponent = _unscaled(a)
    return _ldexp(np.linalg.inv(scaled), -exponent)


def _slices(a: np.ndarray, axis: int, bits: int) -> list[np.ndarray]:
    """Three summands of a, each of `bits` bits below the largest entry along `axis`."""
    exponent = np.frexp(np.abs(a).max(axis, keepdims=True))[1]
    out = []
    for i in range(3):
        # Adding a number whose last place is 2**(exponent - bits) rounds to a multiple of that.
        shift = np.ldexp(0.75, 53 - bits + exponent - i * bits)
        out.append((a + shift) - shift)
        a = a - out[-1]
    return out


def identity_minus(x: np.ndarray, y: np.ndarray, sliced: bool = True) -> np.ndarray:
    """I - x y with an error far below the rounding of float64, on every platform, if `sliced`.

    Products of short enough slices are exact in float64 (Ozaki, Ogita, Oishi, Rump, Numer. Algorithms 59,
    2012); what is left out lies 60 bits below the largest entries.
    """
    n = x.shape[-1]
    if n == 0:
        return np.zeros(x.shape)
    if not sliced:
        return np.eye(n) - x @ y
    if np.iscomplexobj(x) or np.iscomplexobj(y):
        left = [np.concatenate(p, -1) for p in ((x.real, -x.imag), (x.real, x.imag))]
        right = [np.concatenate(p, -2) for p in ((y.real, y.imag), (y.imag, y.real))]
        return _minus_product(np.eye(n), left[0], right[0]) + 1j * _minus_product(0, left[1], right[1])
    return _minus_product(np.eye(n), x, y)


def _minus_product(c, x, y):
    bits = (53 - int(np.ceil(np.log2(max(x.shape[-1], 2))))) // 2
    p, q = _slices(x, -1, bits), _slices(y, -2, bits)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)):
        c = c - p[i] @ q[j]
    return c


def residuals(a: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(L, R) = |I - X A|, |I - A X| in units of n eps |A| |X|, 1-norms, in higher precision."""
    scaled, exponent = _unscaled(a)
    x = _ldexp(x.astype(wide_dtype(x.dtype)), exponent)
    unit = max(a.shape[-1], 1) * eps(a.dtype) * norm1(scaled) * norm1(x)
    return tuple(norm1(identity_minus(*f)) / np.where(unit == 0, 1, unit) for f in ((x, scaled), (scaled, x)))


def assert_inverse(a: np.ndarray, x: np.ndarray, names=None, flushed: bool = False) -> None:
    """Every matrix of x is the inverse of that of a within the gates of its type.

    Args:
      a: (..., n, n), kappa <= 0.1/eps each.
      x: what was computed.
      names: where each matrix came from, flattened, for the message.
      flushed: entries below the smallest normal number may have become zero, as in programs that XLA
        compiles for the CPU; the gates then allow that much.
    """
    a, x = np.asarray(a), np.asarray(x)
    assert x.shape == a.shape and x.dtype == a.dtype, f"got {x.dtype}{x.shape} for {a.dtype}{a.shape}"
    n = a.shape[-1]
    if a.size == 0:
        return
    a, x = a.reshape(-1, n, n), x.reshape(-1, n, n)
    scaled, exponent = _unscaled(a)
    ref = np.linalg.inv(scaled)
    got = _ldexp(x.astype(wide_dtype(x.dtype)), exponent)
    kappa = norm1(scaled) * norm1(ref)
    tiny = float(ml_dtypes.finfo(compute_dtype(a.dtype)).smallest_normal) if flushed else 0.0
    tiny = _ldexp(np.full(len(a), tiny), exponent[:, 0, 0])
    roundoff = n * eps(a.dtype)
    if is_half(a.dtype):
        largest = np.abs(ref).max((-2, -1))
        subnormal = _ldexp(
            np.full(len(a), float(ml_dtypes.finfo(a.dtype).smallest_subnormal)), exponent[:, 0, 0]
        )
        error = np.abs(got - ref).max((-2, -1))
        allowed = (ulp(a.dtype) + 10 * roundoff * kappa) * largest + subnormal + tiny
        _report(error <= allowed, a, x, names, kappa, {"max error": error, "allowed": allowed})
        return
    sliced = eps(a.dtype) < 2**-24
    left, right = identity_minus(got, scaled, sliced), identity_minus(scaled, got, sliced)
    unit = roundoff * norm1(scaled) * norm1(got)
    slack = n * tiny * norm1(scaled)
    residual = np.minimum(norm1(left), norm1(right))
    # A^-1 - X = A^-1 (I - A X): needs no reference better than the residual is.
    error = norm1(ref @ right)
    allowed = 10 * roundoff * kappa * norm1(ref) + 2 * n * tiny
    with np.errstate(all="ignore"):
        figures = {"L": norm1(left) / unit, "R": norm1(right) / unit, "error": error, "allowed": allowed}
        ok = (residual <= 30 * unit + slack) & (error <= allowed)
    _report(ok, a, x, names, kappa, figures)


def _report(ok, a, x, names, kappa, figures):
    for i in np.flatnonzero(~ok)[:1]:
        name = names[i] if names else "matrix"
        values = ", ".join(f"{k} = {v[i]:.3g}" for k, v in figures.items())
        raise AssertionError(
            f"{np.count_nonzero(~ok)} of {len(ok)} inverses fail; the first: {name}, n = {a.shape[-1]}, "
            f"{a.dtype}, index {i}, kappa = {kappa[i]:.3g}: {values}\na =\n{a[i]}\ninverse =\n{x[i]}"
        )


def odd_batch(n: int, dtype, tiny: int = -110, huge: int = 115) -> tuple[np.ndarray, np.ndarray]:
    """Usual, permuted, singular, NaN, infinite, badly scaled (by 2**tiny, 2**huge) matrices; their info."""
    a = normal(rng_for("odd", n, dtype), (8, n, n), np.dtype(dtype))
    a[0] += 2 * np.eye(n)
    a[1] = np.eye(n)[::-1]
    a[2, :, n // 2] = 0
    a[3, n - 1, n // 3] = np.nan
    a[4, n // 2, n - 1] = np.inf
    a[5] *= 2.0**tiny
    a[6] *= 2.0**huge
    a[7, :, -1] = a[7, :, 0] = 0
    return a.astype(dtype), np.array([0, 0, n // 2 + 1, n // 3 + 1, n, 0, 0, 1])
