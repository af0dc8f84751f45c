"""Determinants of inv_det and inv_slogdet: exact references, no early over- or underflow, derivatives."""

import math
from fractions import Fraction

import jax
import matrices
import mpmath
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import DTYPES, transpose

import jaxinv

ALL = list(DTYPES)
SIZES = (1, 2, 3, 4, 5, 8, 9, 17, 33, 70)


def exact_det(a) -> Fraction:
    """Determinant of a matrix of floats or integers, without rounding."""
    rows, det = [[Fraction(float(v)) for v in row] for row in a], Fraction(1)
    for k in range(len(rows)):
        p = next((i for i in range(k, len(rows)) if rows[i][k]), None)
        if p is None:
            return Fraction(0)
        if p != k:
            rows[k], rows[p], det = rows[p], rows[k], -det
        det *= rows[k][k]
        for i in range(k + 1, len(rows)):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
    return det


def slogdet(a):
    """Sign and logarithm in twice the digits of float64, of a (..., n, n)."""
    out = []
    with mpmath.workdps(40):
        for m in a.reshape(-1, *a.shape[-2:]):
            det = mpmath.det(mpmath.matrix(m.tolist()))
            out.append((complex(det / abs(det)), float(mpmath.log(abs(det)))))
    return np.array([s for s, _ in out]), np.array([v for _, v in out])


def relative_gate(n, kappa, dtype):
    """Backward stable: the determinant of a matrix within 10 n eps, so n of its singular values move."""
    return 10 * n * matrices.eps(dtype) * n * kappa + (matrices.ulp(dtype) if matrices.is_half(dtype) else 0)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", (1, 2, 3, 4, 5, 8, 9, 17))
@pytest.mark.portable(n=(3, 17), dtype=("complex128", "bfloat16"))
@pytest.mark.thinned("n", "dtype")
def test_against_many_digits(path, n, dtype):
    dtype = DTYPES[dtype]
    a = matrices.well_conditioned((6, n, n), dtype, kappa=5) * 2
    a = a.astype(dtype)
    sign, logabsdet = slogdet(a.astype(matrices.wide_dtype(dtype)))
    _, got_sign, got_log = jaxinv.inv_slogdet(a)
    det = jaxinv.inv_det(a).det
    assert got_sign.dtype == det.dtype == dtype and got_log.dtype == matrices.real_dtype(dtype)
    gate = relative_gate(n, 5, dtype)
    assert np.max(np.abs(np.asarray(got_sign).astype(complex) - sign)) <= gate
    # The logarithm itself is rounded to its type.
    rounding = matrices.ulp(matrices.real_dtype(dtype)) * np.abs(logabsdet)
    assert (np.abs(np.asarray(got_log).astype(float) - logabsdet) <= gate + rounding).all()
    expected = sign * np.exp(logabsdet)
    assert (np.abs(np.asarray(det).astype(complex) - expected) <= 2 * gate * np.abs(expected)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "float16"])
@pytest.mark.parametrize("n", (1, 2, 3, 4, 6, 8, 12))
@pytest.mark.portable(n=(6,), dtype=("complex64",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_integer_determinants_round_to_the_exact_one(path, n, dtype):
    rng = matrices.rng_for("integers", n)
    # Small enough determinants: products of unit triangles and a diagonal of 1, 2 and 3.
    lower = np.tril(rng.integers(-1, 2, (8, n, n)), -1) + np.eye(n)
    upper = np.triu(rng.integers(-1, 2, (8, n, n)), 1) + np.eye(n)
    diagonal = np.ones((8, n))
    diagonal[:, :3] = rng.integers(1, 4, diagonal[:, :3].shape)
    a = np.stack([rng.permutation(m) for m in lower * diagonal[:, None] @ upper])
    expected = [float(exact_det(m)) for m in a]
    assert {abs(d) for d in expected} <= {1, 2, 3, 4, 6, 8, 9, 12, 18, 27} and (n == 1 or min(expected) < 0)
    det = np.asarray(jaxinv.inv_det(a.astype(DTYPES[dtype])).det).astype(complex)
    np.testing.assert_array_equal(np.round(det), expected)
    np.testing.assert_array_equal(jaxinv.inv_slogdet(a).sign, np.sign(expected))


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("n", (1, 2, 3, 4, 5, 9, 16, 33, 66))
@pytest.mark.thinned("n", "dtype", every=2)
def test_permutations_have_their_sign_exactly(n, dtype):
    rng = matrices.rng_for("permutations", n)
    orders = [rng.permutation(n) for _ in range(20)]
    a = np.eye(n)[np.array(orders)].astype(DTYPES[dtype])
    expected = np.linalg.det(a.astype(float if a.dtype.kind != "c" else complex)).round()
    _, sign, logabsdet = jaxinv.inv_slogdet(a)
    np.testing.assert_array_equal(sign, expected.astype(a.dtype))
    np.testing.assert_array_equal(logabsdet, np.zeros(20, logabsdet.dtype))
    np.testing.assert_array_equal(jaxinv.inv_det(a).det, expected.astype(a.dtype))


@pytest.mark.parametrize("n", (3, 4, 8, 30, 100))
@pytest.mark.parametrize(
    ("dtype", "power"), [("float32", 16), ("float64", 200), ("complex64", 16), ("float16", 6)]
)
@pytest.mark.portable(n=(100,))
@pytest.mark.thinned("n", "dtype")
def test_nothing_overflows_early(path, n, dtype, power):
    dtype = DTYPES[dtype]
    real = jnp.finfo(dtype)
    a = matrices.well_conditioned((2, n, n), np.float64, kappa=3)
    _, expected = np.linalg.slogdet(a)
    for s in (-power, power):
        scaled = (a * 2.0**s).astype(dtype)
        sign, logabsdet = np.linalg.slogdet(scaled.astype(matrices.wide_dtype(dtype)))
        _, got_sign, got_log = jaxinv.inv_slogdet(scaled)
        allowed = relative_gate(n, 3, dtype) + matrices.ulp(real.dtype) * np.abs(logabsdet)
        assert (np.abs(np.asarray(got_log).astype(float) - logabsdet) <= allowed).all()
        np.testing.assert_array_equal(np.round(np.asarray(got_sign).real.astype(float)), sign.real)
        det = np.asarray(jaxinv.inv_det(scaled).det).astype(complex)
        if np.max(expected) + n * s * math.log(2) > math.log(2) * (real.maxexp + 1):
            assert (np.abs(det.real) == np.inf).all() and (np.sign(det.real) == sign.real).all()
        elif np.min(expected) + n * s * math.log(2) < math.log(2) * (real.minexp - real.nmant - 2):
            assert (det == 0).all()
        else:
            finite = sign * np.exp(logabsdet)
            np.testing.assert_allclose(
                det, finite, rtol=4 * relative_gate(n, 3, dtype), atol=float(real.tiny)
            )


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize("n", (4, 5, 8, 12, 40, 100))
@pytest.mark.portable(n=(5, 40), dtype=("complex64",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_product_of_both_ends_of_the_range(path, n, dtype):
    # Any order of multiplication leaves the range on the way; the product is 1, or 2**-20.
    big = 2.0 ** (jnp.finfo(DTYPES[dtype]).maxexp * 3 // 4)
    for order in (0, 1):
        diagonal = np.ones(n)
        diagonal[:4] = [big, big, 1 / big, 1 / big] if order else [1 / big, 1 / big, big, big]
        diagonal[-1] *= 2.0**-20
        result = jaxinv.inv_det(np.diag(diagonal).astype(DTYPES[dtype]))
        assert result.det == 2.0**-20
        np.testing.assert_array_equal(result.inverse, np.diag(1 / diagonal))


def test_logarithm_near_determinant_one_does_not_cancel():
    # Mantissas just below 1 and powers of two must not be combined to a difference of large logarithms.
    for n in (1, 2, 3, 4, 9, 33):
        small = 2.0**-40
        for d in (1 + small, 1 - small):
            a = np.eye(n)
            a[-1, -1] = d
            logabsdet = float(jaxinv.inv_slogdet(a).logabsdet)
            # XLA's own logarithm is good to 5e-13 here; cancellation would leave 1e-4.
            assert abs(logabsdet - math.log(d)) <= 1e-11 * abs(math.log(d)), (n, d)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_sign_has_modulus_one(dtype):
    for n in SIZES:
        a = matrices.well_conditioned((20, n, n), DTYPES[dtype])
        sign = np.asarray(jaxinv.inv_slogdet(a).sign)
        gate = relative_gate(n, 10, DTYPES[dtype])
        assert (np.abs(np.abs(sign) - 1) <= 8 * matrices.eps(dtype)).all()
        expected, _ = np.linalg.slogdet(a.astype(np.complex128))
        assert (np.abs(sign - expected) <= gate).all()


@pytest.mark.unoptimised
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("n", (1, 3, 8))
@pytest.mark.thinned("n", "dtype")
def test_check_grads(n, dtype):
    a = matrices.well_conditioned((2, n, n), DTYPES[dtype], kappa=3) * np.sqrt(3)
    options = {"modes": ("fwd", "rev"), "eps": 1e-5, "atol": 1e-6 * n, "rtol": 1e-6}

    check_grads(lambda a: (jaxinv.inv_slogdet(a), jaxinv.inv_det(a)), (a,), order=2, **options)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("n", (1, 2, 3, 4, 8, 20))
@pytest.mark.portable(n=(3,), dtype=("complex128",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_gradients(path, n, dtype):
    a = matrices.well_conditioned((2, n, n), DTYPES[dtype], kappa=3) * np.sqrt(3)
    x, det = matrices.reference(a), np.linalg.det(a)
    gate = 100 * relative_gate(n, 3, a.dtype)
    gradient = jax.vmap(jax.grad(lambda a: jaxinv.inv_det(a).det, holomorphic=np.iscomplexobj(a)))(a)
    expected = det[:, None, None] * transpose(x)
    assert np.max(np.abs(gradient - expected)) <= gate * np.max(np.abs(expected))
    # d log|det A| = Re tr(X dA): JAX's gradient of a real function conjugates.
    gradient = jax.vmap(jax.grad(lambda a: jaxinv.inv_slogdet(a).logabsdet))(a)
    assert np.max(np.abs(gradient - transpose(x))) <= gate * np.max(np.abs(x))


@pytest.mark.parametrize("n", (2, 4, 9))
def test_gaussian_log_likelihood(n):
    # What inv_slogdet is for: one factorisation gives value and gradient.
    a = matrices.well_conditioned((5, n, n), np.float64)
    spd = a @ transpose(a) + np.eye(n)
    y = matrices.rng_for("y", n).standard_normal((5, n))

    def likelihood(spd):
        x, _, logabsdet = jaxinv.inv_slogdet(spd)
        return -0.5 * jnp.sum(jnp.einsum("bi,bij,bj->b", y, x, y) + logabsdet)

    x = matrices.reference(spd)
    v = np.einsum("bij,bj->bi", x, y)
    expected = 0.5 * (v[:, :, None] * v[:, None, :] - x)
    # v enters as x y: norms of x and y twice.
    bound = 200 * n * matrices.eps(np.float64) * 100 * (1 + np.abs(v).max()) ** 2
    assert np.max(np.abs(jax.grad(likelihood)(spd) - expected)) <= bound
