"""det and slogdet: exact references, range, singular input, det's derivatives at every rank."""

import itertools
import math
import re

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import DTYPES, transpose
from test_determinant import exact_det, relative_gate, slogdet
from test_singular import bad_matrices

import jaxinv
from jaxinv._ops.determinant import _products_of_others

# The edges of the unrolled kernel, of the one with a matrix per lane, and of a panel.
SIZES = (1, 2, 3, 4, 5, 8, 16, 17, 33, 40)


@jax.jit
def det_and_slogdet(a):
    return jaxinv.det(a), jaxinv.slogdet(a)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.portable(n=(3, 40), dtype=("complex128", "bfloat16"))
@pytest.mark.thinned("n", "dtype")
def test_against_many_digits(path, n, dtype):
    dtype = DTYPES[dtype]
    a = (matrices.well_conditioned((5, n, n), dtype, kappa=5) * 2).astype(dtype)
    sign, logabsdet = slogdet(a.astype(matrices.wide_dtype(dtype)))
    det, result = det_and_slogdet(a)
    assert type(result) is jaxinv.SlogdetResult
    assert result.sign.dtype == det.dtype == dtype and result.logabsdet.dtype == matrices.real_dtype(dtype)
    gate = relative_gate(n, 5, dtype)
    assert np.max(np.abs(np.asarray(result.sign).astype(complex) - sign)) <= gate
    rounding = matrices.ulp(matrices.real_dtype(dtype)) * np.abs(logabsdet)
    assert (np.abs(np.asarray(result.logabsdet).astype(float) - logabsdet) <= gate + rounding).all()
    expected = sign * np.exp(logabsdet)
    fits = np.abs(expected) < float(jnp.finfo(dtype).max)
    error = np.abs(np.asarray(det).astype(complex) - expected)
    assert (error[fits] <= 2 * gate * np.abs(expected[fits])).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.portable(dtype=("float32",))
def test_nothing_overflows_early(path, dtype):
    big = 2.0 ** (jnp.finfo(DTYPES[dtype]).maxexp * 3 // 4)
    for n in (2, 3, 4, 5, 16, 17, 70):
        for order in (1, -1):
            diagonal = np.ones(n)
            diagonal[: n // 2 * 2] = np.repeat([big**order, big**-order], n // 2)
            diagonal[-1] *= 2.0**-20
            a = np.diag(diagonal)[::-1].astype(DTYPES[dtype])
            sign = (-1) ** (n * (n - 1) // 2)
            det, got = det_and_slogdet(a)
            assert det == sign * 2.0**-20
            assert got.sign == sign
            np.testing.assert_allclose(got.logabsdet, -20 * math.log(2), rtol=1e-6)
    huge = np.full((2, 2), jnp.finfo(DTYPES[dtype]).max / 2) * [[1, 1], [1, -1]]
    assert jaxinv.det(huge.astype(DTYPES[dtype])).real == -np.inf
    assert jaxinv.det((huge**-1).astype(DTYPES[dtype])) == 0


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", (1, 2, 3, 4, 5, 16, 17, 40))
@pytest.mark.portable(n=(5, 40), dtype=("complex128",))
@pytest.mark.thinned("n", "dtype")
def test_singular_and_non_finite(path, n, dtype):
    names, a, _, kinds = zip(*bad_matrices(n, DTYPES[dtype]), strict=True)
    a, zero = np.stack(a), np.array(kinds) == "zero"
    det, (sign, logabsdet) = det_and_slogdet(a)
    for result, singular in ((det, 0), (sign, 0), (logabsdet, -np.inf)):
        got = np.asarray(result).astype(matrices.wide_dtype(result.dtype))
        wrong = np.flatnonzero(np.where(zero, got != singular, ~np.isnan(got)))
        assert wrong.size == 0, [(names[i], got[i]) for i in wrong]


def test_integers_are_exact():
    rng = matrices.rng_for("integers")
    for n in (1, 2, 3, 4, 6):
        a = rng.integers(-3, 4, (20, n, n))
        expected = [float(exact_det(m)) for m in a]
        np.testing.assert_allclose(jaxinv.det(a), expected, rtol=0, atol=1e-10)
        assert jaxinv.det(a).dtype == jnp.result_type(float)


def test_empty_matrices():
    for shape in ((0, 0), (3, 0, 0), (0, 2, 2)):
        a = np.zeros(shape)
        np.testing.assert_array_equal(jaxinv.det(a), np.linalg.det(a))
        for got, expected in zip(jaxinv.slogdet(a), np.linalg.slogdet(a), strict=True):
            np.testing.assert_array_equal(got, expected)
        assert jax.grad(lambda a: jaxinv.det(a).sum())(a).shape == shape


def of_rank(n, rank, dtype, repeated=False):
    """(2, n, n) with `rank` singular values that are not zero, all equal or in arithmetic progression."""
    rng = matrices.rng_for("rank", n, rank)
    u, v = (np.linalg.qr(matrices.normal(rng, (2, n, n), np.dtype(dtype)))[0] for _ in range(2))
    sigma = np.where(np.arange(n) < rank, 1.0 if repeated else 1 + np.arange(n) / n, 0)
    return ((u * sigma) @ v).astype(dtype)


@pytest.mark.unoptimised
@pytest.mark.parametrize("repeated", [False, True], ids=["distinct", "repeated"])
@pytest.mark.parametrize(
    ("n", "dtype"),
    [
        (1, "complex128"),
        (2, "float64"),
        (3, "complex128"),
        (5, "float64"),
        *(
            pytest.param(n, dtype, marks=pytest.mark.slow)
            for n, dtype in ((1, "float64"), (2, "complex128"), (3, "float64"), (5, "complex128"))
        ),
        pytest.param(9, "complex128", marks=pytest.mark.slow),
    ],
)
@pytest.mark.portable(n=(3,), dtype=("complex128",))
@pytest.mark.thinned("n", "repeated")
def test_check_grads_at_every_rank(path, n, dtype, repeated):
    ranks = {n, n - 1, max(n - 2, 0), 0}
    a = np.concatenate([of_rank(n, rank, DTYPES[dtype], repeated) for rank in ranks])
    check_grads(jaxinv.det, (a,), 2, modes=("fwd", "rev"), eps=1e-4, atol=1e-6 * n**2, rtol=1e-6)


def cofactor(a, rows, columns):
    minor = np.delete(np.delete(a, rows, 0), columns, 1)
    return np.linalg.det(minor) if minor.size else 1.0


@pytest.mark.unoptimised
@pytest.mark.parametrize("rank", range(5))
def test_gradient_and_hessian_are_the_minors(rank):
    n = 4
    a = of_rank(n, rank, np.float64)[0]
    gradient, hessian = jax.jit(lambda a: (jax.grad(jaxinv.det)(a), jax.hessian(jaxinv.det)(a)))(a)
    for i, j in itertools.product(range(n), repeat=2):
        assert abs(gradient[i, j] - (-1) ** (i + j) * cofactor(a, [i], [j])) <= 1e-13
        for k, l in itertools.product(range(n), repeat=2):
            expected = 0.0
            if i != k and j != l:
                sign = (-1) ** (i + j + k + l) * (-1 if (i > k) != (j > l) else 1)
                expected = sign * cofactor(a, [i, k], [j, l])
            assert abs(hessian[i, j, k, l] - expected) <= 1e-13


@pytest.mark.unoptimised
@pytest.mark.parametrize("dtype", ["float32", "complex64", "bfloat16"])
def test_gradient_in_lower_precision(dtype):
    a = of_rank(5, 4, np.complex128 if dtype == "complex64" else np.float64).astype(DTYPES[dtype])
    holomorphic = dtype == "complex64"
    gradient = jax.grad(lambda a: jaxinv.det(a).sum(), holomorphic=holomorphic)(a)
    wide = jax.grad(lambda a: jaxinv.det(a).sum(), holomorphic=holomorphic)(
        a.astype(matrices.wide_dtype(a.dtype))
    )
    assert gradient.dtype == a.dtype and np.isfinite(gradient).all()
    gate = 1e3 * matrices.eps(dtype) + matrices.ulp(dtype) * matrices.is_half(dtype)
    np.testing.assert_allclose(gradient.astype(complex), wide, rtol=0, atol=gate * np.abs(wide).max())


@pytest.mark.unoptimised
def test_products_of_others_do_not_overflow_early():
    # In any order of multiplication some of these leave the range on the way.
    x = np.array([1e30, 1e30, 1e-30, 1e-30, 1], np.float32)
    np.testing.assert_allclose(jax.jit(_products_of_others)(x), [1e-30, 1e-30, 1e30, 1e30, 1], rtol=1e-5)


@pytest.mark.unoptimised
def test_third_derivative_of_a_regular_matrix():
    a = of_rank(3, 3, np.float64)[0]
    third = jax.jit(jax.jacfwd(jax.hessian(jaxinv.det)))(a)
    # Of a 3 × 3 determinant: the Levi-Civita symbols of rows and columns.
    e = np.zeros((3, 3, 3))
    for p in itertools.permutations(range(3)):
        e[p] = np.linalg.det(np.eye(3)[list(p)])
    expected = np.einsum("ikm,jln->ijklmn", e, e)
    np.testing.assert_allclose(third, expected, rtol=0, atol=1e-10)


def test_no_decomposition_unless_differentiated():
    a = matrices.well_conditioned((3, 20, 20), np.float32)
    assert "svd" not in str(jax.make_jaxpr(jaxinv.det)(a))
    assert "svd" in str(jax.make_jaxpr(jax.grad(lambda a: jaxinv.det(a).sum()))(a))
    text = jax.jit(jax.grad(lambda a: jaxinv.slogdet(a).logabsdet.sum())).lower(a).compile().as_text()
    assert text.count('custom_call_target="jaxinv_inverse"') <= 1
    assert not re.search("jaxinv_determinant|getrf|trsm|gesdd", text)


@pytest.mark.parametrize(
    ("n", "dtype"),
    [
        (3, "complex128"),
        (8, "float64"),
        pytest.param(20, "complex128", marks=pytest.mark.slow),
        *(pytest.param(n, "float64", marks=pytest.mark.slow) for n in (1, 3, 20)),
        *(pytest.param(n, "complex128", marks=pytest.mark.slow) for n in (1, 8)),
    ],
)
@pytest.mark.portable(n=(3,), dtype=("complex128",))
@pytest.mark.unoptimised
def test_slogdet_derivatives(path, n, dtype):
    a = matrices.well_conditioned((2, n, n), DTYPES[dtype], kappa=3) * np.sqrt(3)
    options = {"modes": ("fwd", "rev"), "eps": 1e-5, "atol": 1e-6 * n, "rtol": 1e-6}
    parts = slice(None) if np.iscomplexobj(a) else slice(1, 2)
    check_grads(lambda a: jaxinv.slogdet(a)[parts], (a,), order=2, **options)
    gradient = jax.grad(lambda a: jaxinv.slogdet(a).logabsdet.sum())(a)
    x = transpose(matrices.reference(a))
    np.testing.assert_allclose(gradient, x, rtol=0, atol=1e-11 * np.abs(x).max() * n)


def test_method():
    a = matrices.well_conditioned((2, 3, 3), np.float64)
    for method in (None, "lu", "qr"):
        for got, expected in zip(jaxinv.slogdet(a, method=method), np.linalg.slogdet(a), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("dtype", "keywords", "error", "message"),
    [
        (float, {"method": "svd"}, ValueError, "method must be one of None, 'lu', 'qr', got 'svd'"),
        (
            complex,
            {"method": "qr"},
            NotImplementedError,
            "method='qr' takes real matrices only, got dtype complex128",
        ),
        (
            float,
            {"method": "qr", "assume_a": "pos"},
            ValueError,
            "method='qr' takes assume_a='general' only, got assume_a='pos'",
        ),
    ],
)
def test_bad_methods(dtype, keywords, error, message):
    with pytest.raises(error) as caught:
        jaxinv.slogdet(np.eye(2, dtype=dtype), **keywords)
    assert str(caught.value) == f"jaxinv.slogdet: {message}"


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("n", (2, 3, 4, 7, 16, 17, 40))
@pytest.mark.thinned("n", "dtype", every=2)
def test_bits_depend_on_nothing_beside(native, n, dtype):
    a = matrices.well_conditioned((19, n, n), DTYPES[dtype])
    a[7] = 0
    det, slog = np.asarray(jaxinv.det(a)), [np.asarray(x) for x in jaxinv.slogdet(a)]
    for i in (0, 5, 18):
        assert np.asarray(jaxinv.det(a[i])).tobytes() == det[i].tobytes()
        for got, full in zip(jaxinv.slogdet(a[i]), slog, strict=True):
            assert np.asarray(got).tobytes() == full[i].tobytes()
    assert np.asarray(jax.vmap(jaxinv.det)(a[::-1])).tobytes() == det[::-1].tobytes()
