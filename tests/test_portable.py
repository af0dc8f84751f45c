"""The portable bodies themselves: every form of the elimination, its info and determinant, its lowering."""

import fractions
import functools
import gc
import itertools
import math
import time

import jax
import matrices
import mpmath
import numpy as np
import pytest
from jax import numpy as jnp
from matrices import DTYPES, assert_inverse

from jaxinv._ops import gauss_jordan, inverse, triple_product

# Both sides of every edge between the forms, sizes that pad the last panel, and one of several panels.
SIZES = (
    *(0, 1, 2, 3, 4, 17, 63, 64, 130),
    *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 6, 7, 8, 9, 16, 31, 32, 33, 65, 100)),
)
COMPUTED = ("float32", "float64", "complex64", "complex128")


def body(a):
    return inverse._portable(a, structure="general", with_info=True, with_det=True)


_compiled = jax.jit(body)


def invert(a):
    """Inverse, info, mantissa, exponent of a (k, n, n); the batch is padded, so that tests share programs."""
    count, n = a.shape[:2]
    padding = np.broadcast_to(np.eye(n, dtype=a.dtype), (-count % 64, n, n))
    return [np.asarray(x)[:count] for x in _compiled(np.concatenate([a, padding]))]


def elimination_on_rationals(a) -> tuple[int, fractions.Fraction]:
    """info and determinant of integer matrix `a` by exact LU with partial pivoting."""
    a = [[fractions.Fraction(int(v)) for v in row] for row in a]
    n, info, det = len(a), 0, fractions.Fraction(1)
    for k in range(n):
        p = max(range(k, n), key=lambda i: (abs(a[i][k]), -i))
        if a[p][k] == 0:
            return k + 1, fractions.Fraction(0)
        det *= a[p][k] * (1 if p == k else -1)
        a[k], a[p] = a[p], a[k]
        for i in range(k + 1, n):
            f = a[i][k] / a[k][k]
            a[i] = [x - f * y for x, y in zip(a[i], a[k], strict=True)]
    return info, det


@pytest.mark.parametrize("dtype", COMPUTED)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.thinned("n", "dtype")
def test_generators(n, dtype, flushes):
    names, a = matrices.generate(n, DTYPES[dtype], 2 if n < 64 else 1)
    x, info, mantissa, _ = invert(a)
    assert_inverse(a, x, names, flushes)
    assert not np.any(info)
    size = np.maximum(np.abs(np.real(mantissa)), np.abs(np.imag(mantissa)))
    slack = 1 + 4 * matrices.eps(a.dtype)
    assert np.all((size >= math.sqrt(0.5) / slack) & (size <= math.sqrt(2) * slack))


@pytest.mark.parametrize("dtype", ("float16", "bfloat16"))
@pytest.mark.parametrize("n", (3, 8, 65))
def test_half_types(n, dtype, flushes):
    names, a = matrices.generate(n, DTYPES[dtype], 2)
    assert_inverse(a, invert(a)[0], names, flushes)


@pytest.mark.parametrize("dtype", COMPUTED)
@pytest.mark.parametrize("n", (1, 3, 4, 65))
@pytest.mark.thinned("n", "dtype", every=2)
def test_determinant(n, dtype):
    a = matrices.well_conditioned((3, n, n), DTYPES[dtype])
    # Far outside the range of the type as soon as n > 4.
    big = np.ldexp(1.0, 30 if matrices.eps(dtype) > 1e-9 else 250)
    with mpmath.workdps(60):
        for scale in (1.0, big, 1 / big):
            _, _, mantissa, exponent = invert((a * scale).astype(a.dtype))
            for i in range(3):
                expected = mpmath.det(mpmath.matrix(a[i].tolist())) if n <= 17 else None
                if expected is None:
                    sign, log = np.linalg.slogdet(a[i].astype(matrices.wide_dtype(a.dtype)))
                    expected = mpmath.mpmathify(complex(sign)) * mpmath.exp(mpmath.mpf(float(log)))
                    bound = 1e-9
                else:
                    bound = 0.0
                expected *= mpmath.mpf(scale) ** n
                got = mpmath.mpmathify(complex(mantissa[i])) * mpmath.mpf(2) ** int(exponent[i])
                bound += 10 * n * n * matrices.eps(a.dtype) * 10
                assert abs(got - expected) <= bound * abs(expected), (n, dtype, scale)


@pytest.mark.parametrize("dtype", COMPUTED)
@pytest.mark.parametrize("n", (2, 3, 17))
def test_info_is_that_of_exact_elimination(n, dtype):
    """Multipliers of size 1/2 and pivots of size 2 make every number of the elimination exact."""
    rng = matrices.rng_for("info", n)
    a = np.zeros((n + 1, n, n))
    for k in range(n + 1):
        upper = np.triu(rng.integers(-1, 2, (n, n)), 1) + np.diag(rng.choice((-1, 1), n))
        upper[k:, k:] *= rng.integers(2)
        if k:
            upper[k - 1, k - 1] = 0
        lower = np.tril(rng.integers(-1, 2, (n, n)), -1) + 2 * np.eye(n)
        a[k] = (lower @ upper)[rng.permutation(n)]
    x, info, mantissa, exponent = invert(a.astype(DTYPES[dtype]))
    for i, m in enumerate(a):
        k, det = elimination_on_rationals(m)
        assert info[i] == k
        assert np.all(np.isnan(x[i])) == (k > 0)
        assert mantissa[i] * 2.0 ** exponent[i] == float(det)
        assert k == 0 or exponent[i] == 0


@pytest.mark.parametrize("dtype", COMPUTED)
@pytest.mark.parametrize("n", (1, 3, 4, 65))
def test_failures_keep_to_themselves(n, dtype):
    dtype = DTYPES[dtype]
    good = matrices.well_conditioned((8, n, n), dtype)
    a = good.copy()
    k = n // 2
    a[1] = 0
    a[2, :, k] = 0
    a[3, k, k] = np.nan
    a[4, 0, n - 1] = np.inf
    a[5] = 0
    a[5, n - 1, 0] = np.nan
    a[6] = np.eye(n)
    a[6, k:, k:] = 0
    x, info, mantissa, exponent = invert(a)
    clean = invert(good)
    for got, want in zip((x, info, mantissa, exponent), clean, strict=True):
        np.testing.assert_array_equal(got[[0, 7]], want[[0, 7]])
    # Bits of a NaN differ; that both components are NaN must not.
    assert np.all(np.isnan(x[1:7].real) & (np.isnan(x[1:7].imag) | (dtype.kind != "c")))
    assert info[1] == 1 and info[2] == k + 1 and info[6] == k + 1
    assert info[3] == k + 1 and info[4] == n and info[5] == 1
    np.testing.assert_array_equal(mantissa[[1, 2, 6]], 0)
    np.testing.assert_array_equal(exponent[[1, 2, 6]], 0)
    assert np.all(np.isnan(mantissa[3:6]))


@pytest.mark.parametrize("n", (2, 3, 16, 64))
def test_zero_pivot_before_a_nan(n):
    a = np.eye(n + 1, dtype=np.float32)
    a[0, 0] = 0
    a[n, n] = np.nan
    x, info, mantissa, _ = invert(a[None])
    assert info == 1 and np.all(np.isnan(x)) and np.isnan(mantissa)


@pytest.mark.parametrize("dtype", COMPUTED)
@pytest.mark.parametrize("n", (1, 3, 17, 65))
def test_extreme_pivots(n, dtype):
    """The largest and the smallest entries whose inverses are normal numbers: powers of two, so exact."""
    dtype = DTYPES[dtype]
    real = np.finfo(matrices.real_dtype(dtype))
    for e in (real.maxexp - 2, real.minexp + 2):
        a = np.roll(np.diag(np.full(n, np.ldexp(np.ones((), real.dtype), e))), 1, axis=0).astype(dtype)
        x, info, mantissa, exponent = invert(a[None])
        np.testing.assert_array_equal(x[0], a.T * np.ldexp(1.0, -e) * np.ldexp(1.0, -e))
        assert info == 0 and abs(mantissa) == 1 and exponent == n * e


@pytest.mark.parametrize("n", (3, 4, 17))
def test_denormal_pivot(n, flushes):
    """Inverted, or (where XLA flushes denormals) reported as zero; never a NaN with info 0."""
    tiny = np.float32(2.0**-127)
    a = np.eye(n, dtype=np.float32)
    a[n - 1, n - 1] = tiny
    x, info, _, _ = invert(a[None])
    if info:
        assert flushes and info == n and np.all(np.isnan(x))
    else:
        expected = np.eye(n, dtype=np.float32)
        expected[n - 1, n - 1] = 1 / tiny
        np.testing.assert_array_equal(x[0], expected)


@pytest.mark.parametrize("n", (3, 9, 70))
def test_strict_promotion_batches_and_symbolic_shapes(n):
    a = matrices.well_conditioned((2, 1, 3, n, n), np.float32)
    # A new function: what is compiled already was traced under another configuration.
    traced_anew = jax.jit(lambda a: body(a))
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        deep = traced_anew(jnp.asarray(a))
        single = traced_anew(jnp.asarray(a[0, 0, 0]))
        empty = traced_anew(jnp.zeros((0, n, n), np.float32))
    assert_inverse(a, deep[0])
    assert_inverse(a[0, 0, 0], single[0])
    for d, s, e in zip(deep, single, empty, strict=True):
        assert d.shape == (2, 1, 3, *s.shape) and e.shape == (0, *s.shape)
    (b,) = jax.export.symbolic_shape("b")
    exported = jax.export.export(jax.jit(body))(jax.ShapeDtypeStruct((b, 3, n, n), np.float32))
    assert_inverse(a[:, 0], exported.call(a[:, 0])[0])


@pytest.mark.parametrize("n", (3, 16, 17, 1024))
@pytest.mark.parametrize("dtype", ("float32", "complex128"))
def test_compile_time(n, dtype):
    """Two seconds on an idle machine at every size; in processor time and with a factor for a busy one."""
    gc.collect()
    gc.disable()  # the garbage of all tests before is not part of it
    try:
        start = time.process_time()
        jax.jit(body).lower(jax.ShapeDtypeStruct((5, n, n), DTYPES[dtype])).compile()
        assert time.process_time() - start < 5
    finally:
        gc.enable()


@pytest.mark.parametrize("platform", ("cuda", "tpu"))
@pytest.mark.parametrize("n", (3, 16, 17, 64, 130))
def test_every_product_is_in_full_precision(n, platform):
    def text(f, *shapes):
        args = [jax.ShapeDtypeStruct(s, np.float32) for s in shapes]
        return jax.jit(f).trace(*args).lower(lowering_platforms=(platform,)).as_text()

    flags = {"transpose_l": True, "transpose_g": False, "transpose_r": True}
    square = (5, n, n)
    products = 0
    for lowered in (
        text(body, square),
        text(lambda *x: triple_product._portable(*x, **flags), square, square, square),
    ):
        for line in lowered.splitlines():
            if "dot_general" in line:
                products += 1
                assert line.count("HIGHEST") == 2, line
    assert products == (3 if n >= gauss_jordan._SINGLE_PANEL else 2)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", (1, 3, 17))
@pytest.mark.thinned("n", "dtype")
def test_triple_product(n, dtype):
    dtype = DTYPES[dtype]
    rng = matrices.rng_for("triple", n, dtype.name)
    l, g, r = (matrices.normal(rng, (4, n, n), dtype).astype(dtype) for _ in range(3))
    wide = [x.astype(matrices.wide_dtype(dtype)) for x in (l, g, r)]
    names = ("transpose_l", "transpose_g", "transpose_r")
    for flags in itertools.product((False, True), repeat=3):
        product = functools.partial(triple_product._portable, **dict(zip(names, flags, strict=True)))
        (got,) = jax.jit(product)(l, g, r)
        assert got.dtype == dtype
        x, y, z = (matrices.transpose(m) if t else m for m, t in zip(wide, flags, strict=True))
        # Componentwise: each of two products loses n eps of the product of absolute values.
        unit = (2 * n + 2) * matrices.eps(dtype) * (abs(x) @ abs(y) @ abs(z)) * 2
        if matrices.is_half(dtype):
            unit += matrices.ulp(dtype) * abs(x @ y @ z)
        assert np.all(np.abs(np.asarray(got).astype(x.dtype) + x @ y @ z) <= unit)
