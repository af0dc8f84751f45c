"""What JAX's own tests ask of `jnp.linalg`: inv, solve, det, slogdet, pinv and lstsq, ours in their place."""

import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import assert_inverse, normal, rng_for, well_conditioned

import jaxinv

_DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
# For what compiles long: one precision each of real and complex by default.
_TWO_DTYPES = [np.float32, np.complex128, *(pytest.param(d, marks=pytest.mark.slow) for d in _DTYPES[1:3])]
_SHAPES = [(1, 1), (4, 4), (2, 5, 5), (5, 5, 5), (200, 200)]


def _invertible(shape, dtype):
    """Random matrices, drawn again where NumPy cannot invert them well."""
    rng = rng_for("invertible", shape, np.dtype(dtype).name)
    while True:
        a = normal(rng, shape, dtype).astype(dtype)
        if np.linalg.cond(a).max() < 1e4:
            return a


@pytest.mark.parametrize("shape", _SHAPES, ids=str)
@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
def test_agrees_with_numpy_and_with_itself_compiled(shape, dtype):
    a = _invertible(shape, dtype)
    x = jaxinv.inv(a)
    expected = np.linalg.inv(a)
    assert x.shape == expected.shape and x.dtype == expected.dtype
    assert_inverse(a, x)
    np.testing.assert_array_equal(jax.jit(jaxinv.inv)(a), x)
    with jax.disable_jit():
        np.testing.assert_array_equal(jaxinv.inv(a), x)


@pytest.mark.unoptimised
@pytest.mark.parametrize("shape", _SHAPES[:-1], ids=str)
@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
def test_gradients(shape, dtype):
    # Differences of a float32 function are good to about the cube root of its precision.
    tolerance = 2e-2 if np.finfo(dtype).bits == 32 else 1e-4
    check_grads(jaxinv.inv, (well_conditioned(shape, dtype),), 2, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_vmap_over_any_axis(dtype, axis):
    a = _invertible((6, 5, 5), dtype)
    x = jax.vmap(jaxinv.inv, in_axes=axis, out_axes=axis)(np.moveaxis(a, 0, axis))
    assert_inverse(a, np.moveaxis(np.asarray(x), axis, 0))


def test_gradient_under_vmap_is_the_gradient_of_each():
    a = well_conditioned((7, 4, 4), np.float64)
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(jaxinv.inv(x))))
    each = np.stack([gradient(x) for x in a])
    np.testing.assert_array_equal(jax.vmap(gradient)(a), each)


@pytest.mark.parametrize("shape", [(), (4,), (4, 3), (2, 3, 4)], ids=str)
def test_shapes_that_are_no_square_matrices(shape):
    with pytest.raises(ValueError, match=r"expected square matrices \(\.\.\., n, n\), got shape"):
        jaxinv.inv(np.ones(shape))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint16, np.bool_], ids=lambda d: np.dtype(d).name)
def test_integers_promote(dtype):
    a = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 0]], dtype)
    x = jaxinv.inv(a)
    assert x.dtype == jnp.result_type(float)  # jnp.linalg.inv: float32 for integers of 32 bits and less
    assert_inverse(a.astype(x.dtype), x)


def test_empty_batch_and_empty_matrix():
    assert jaxinv.inv(np.ones((0, 3, 3), np.float32)).shape == (0, 3, 3)
    for shape in ((0, 0), (2, 0, 0)):
        assert jaxinv.inv(np.ones(shape, np.float32)).shape == shape


@pytest.mark.unoptimised
def test_replaces_jnp_inside_a_program():
    """A Kalman filter's step, written for jnp.linalg.inv, scanned and differentiated."""

    def run(inv, gain):
        def step(covariance, observed):
            innovation = covariance + gain * jnp.eye(3) + jnp.outer(observed, observed)
            k = covariance @ inv(innovation)
            return (jnp.eye(3) - k) @ covariance + 0.1 * jnp.eye(3), jnp.trace(k)

        observations = jnp.asarray(np.random.default_rng(0).standard_normal((20, 3)))
        return jnp.sum(jax.lax.scan(step, jnp.eye(3), observations)[1])

    ours, theirs = (jax.value_and_grad(functools.partial(run, f))(0.5) for f in (jaxinv.inv, jnp.linalg.inv))
    # Twenty steps of well-conditioned 3 × 3 matrices: some hundreds of roundings.
    np.testing.assert_allclose(ours, theirs, rtol=1e3 * 2**-53)


@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        ((1, 1), (1, 1)),
        ((4, 4), (4,)),
        ((8, 8), (8, 4)),
        ((2, 2), (3, 2, 2)),
        ((2, 1, 3, 3), (1, 4, 3, 4)),
        ((1, 0, 0), (1, 0, 2)),
    ],
    ids=str,
)
def test_solve(lhs, rhs, dtype):
    a = _invertible(lhs, dtype) if lhs[-1] else np.zeros(lhs, dtype)
    b = normal(rng_for(rhs), rhs, np.dtype(dtype)).astype(dtype)
    x, expected = jaxinv.solve(a, b), np.linalg.solve(a, b)
    assert x.shape == expected.shape and x.dtype == expected.dtype
    np.testing.assert_allclose(x, expected, rtol=1e-3, atol=1e-3)
    gate = 1e4 * np.finfo(dtype).eps * np.max(np.linalg.cond(a), initial=1) if lhs[-1] else 1
    np.testing.assert_allclose(x, expected, rtol=0, atol=gate * np.max(np.abs(expected), initial=1))
    np.testing.assert_array_equal(jax.jit(jaxinv.solve)(a, b), x)


@pytest.mark.parametrize("dtype", _TWO_DTYPES, ids=lambda d: np.dtype(d).name)
def test_solve_of_one_triangle(dtype):
    # testSolve of jax.scipy: positive definite matrices of which one triangle is there.
    tolerance = 1e-3 if np.finfo(dtype).bits == 32 else 1e-9
    for lhs, rhs in (((1, 1), (1, 1)), ((4, 4), (4,)), ((8, 8), (8, 4))):
        half, b = well_conditioned(lhs, dtype), normal(rng_for(rhs), rhs, np.dtype(dtype)).astype(dtype)
        a = half @ half.conj().T
        for triangle, lower in ((np.triu(a), False), (np.tril(a), True)):
            x, expected = jaxinv.solve(triangle, b, assume_a="pos", lower=lower), np.linalg.solve(a, b)
            assert x.shape == expected.shape and x.dtype == expected.dtype
            np.testing.assert_allclose(x, expected, rtol=tolerance, atol=tolerance)


def test_solve_broadcasts_as_numpy():
    # testSolveBroadcasting: 2 × 2 matrices and right-hand sides of up to five and four dimensions.
    pairs = [((2,) * i, (2,) * j) for i in (2, 3, 4, 5) for j in (1, 2, 3, 4)]
    arguments = [(_invertible(a, np.float64), rng_for(b).standard_normal(b)) for a, b in pairs]
    got = jax.jit(lambda arguments: [jaxinv.solve(a, b) for a, b in arguments])(arguments)
    for x, (a, b) in zip(got, arguments, strict=True):
        expected = np.linalg.solve(a, b)
        assert x.shape == expected.shape
        np.testing.assert_allclose(x, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.unoptimised
def test_jacobians_of_solve():
    # testIssue1151; of each pair the Jacobian in b is the inverse, that in a −inverse ⊗ x; of two pairs 0.
    rng = rng_for("jacobians")
    a, b = (rng.standard_normal((100, 3, k)).astype(np.float32) for k in (3, 1))
    np.testing.assert_allclose(a @ jaxinv.solve(a, b), b, rtol=1e-2, atol=2e-3)
    a, b = well_conditioned(a.shape, np.float64), b.astype(np.float64)
    in_a, in_b = jax.jacobian(jaxinv.solve, (0, 1))(a, b)
    inverse, x, pairs = np.linalg.inv(a), np.linalg.solve(a, b)[..., 0], np.eye(100)
    expected = np.einsum("pq,pij->piqj", pairs, inverse), -np.einsum("pq,pij,pk->piqjk", pairs, inverse, x)
    np.testing.assert_allclose(in_b[:, :, 0, :, :, 0], expected[0], rtol=1e-12)
    np.testing.assert_allclose(in_a[:, :, 0], expected[1], rtol=1e-12)


@pytest.mark.parametrize(
    "shape",
    [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (10, 10), (25, 25), (2, 2, 2), (2, 3, 3), (3, 2, 2)],
    ids=str,
)
@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.thinned("shape", "dtype", every=2)
def test_det_and_slogdet(shape, dtype):
    a = normal(rng_for("det", shape), shape, np.dtype(dtype)).astype(dtype)
    tolerance = 1e-3 if np.finfo(dtype).bits == 32 else 1e-9
    np.testing.assert_allclose(jaxinv.det(a), np.linalg.det(a), rtol=tolerance)
    methods = (None, "lu", "qr") if np.dtype(dtype).kind == "f" else (None, "lu")
    for method in methods:
        for got, expected in zip(jaxinv.slogdet(a, method=method), np.linalg.slogdet(a), strict=True):
            assert got.shape == expected.shape and got.dtype == expected.dtype
            np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


_DET_SHAPES = [(1, 1), (2, 2), (3, 3), (2, 2, 2), (2, 3, 3), (2, 4, 4), (5, 7, 7)]


@pytest.mark.unoptimised
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        pytest.param(
            shape, dtype, marks=() if (shape, dtype) == ((2, 3, 3), np.float64) else pytest.mark.slow
        )
        for shape in _DET_SHAPES
        for dtype in _DTYPES[:2]
    ],
)
def test_gradients_of_det(shape, dtype):
    # testDetGrad: at random matrices, and where the first of a batch is zero.
    a = normal(rng_for("det", shape), shape, np.dtype(dtype)).astype(dtype)
    check_grads(jaxinv.det, (a,), 2, atol=1e-1, rtol=1e-1)
    (a if a.ndim == 2 else a[0])[:] = 0
    check_grads(jaxinv.det, (a,), 1, atol=1e-1, rtol=1e-1)


def _each(f):
    return lambda values: [f(x) for x in values]


def test_det_of_singular_matrices():
    # testDetOfSingularMatrix, and testDetGradIssue3383: zero beside a regular matrix.
    assert jaxinv.det(np.array([[-1, 3 / 2], [2 / 3, -1]], np.float32)) == pytest.approx(0, abs=1e-6)

    def f(x):
        return jnp.sum(jnp.square(jaxinv.det(x)))

    batch = jnp.array([jnp.eye(3), jnp.zeros((3, 3))])
    np.testing.assert_allclose(jax.grad(f)(batch), [2 * np.eye(3), np.zeros((3, 3))], rtol=0, atol=1e-12)
    one = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    np.testing.assert_allclose(jax.grad(jaxinv.det)(one), [[1, 0], [-1, 0]], rtol=0, atol=1e-12)


@pytest.mark.unoptimised
def test_gradients_of_det_at_singular_matrices():
    # testDetGradIssue6121 and testDetGradOfSingularMatrixCorank{1,2}; ours passes the second order too.
    check_grads(lambda x: jaxinv.det(x).sum(), (jnp.ones((16, 1, 1)),), 2, atol=1e-1, rtol=1e-1)
    corank_1 = np.array([[50, -30, 45], [-30, 90, -81], [45, -81, 81]], np.float32)
    corank_2 = np.array([[36, -42, 18], [-42, 49, -21], [18, -21, 9]], np.float32)
    check_grads(jaxinv.det, (corank_1,), 1, atol=1e-1, rtol=1e-1)
    check_grads(jaxinv.det, (corank_2,), 1, atol=1e-1, rtol=1e-1, eps=1e-1)
    singular = np.stack([corank_1, corank_2, np.diag(np.arange(3.0) // 2)]) / 30
    check_grads(jaxinv.det, (singular,), 2, ("fwd", "rev"), atol=1e-6, rtol=1e-6)


@pytest.mark.unoptimised
@pytest.mark.parametrize("dtype", _TWO_DTYPES, ids=lambda d: np.dtype(d).name)
def test_gradients_of_slogdet(dtype):
    shapes = [(1, 1), (4, 4), (5, 5), (2, 7, 7)]
    a = [well_conditioned(shape, dtype, kappa=5) for shape in shapes]
    check_grads(jax.jit(_each(jaxinv.slogdet)), (a,), 2, atol=1e-1, rtol=2e-1)


def test_slogdet_of_a_singular_matrix_and_its_gradient():
    # jax's test1x1 of slogdet, its case of a matrix of zeros, testIssue1213 and the largest of testSlogdet.
    sign, logabsdet = jaxinv.slogdet(np.zeros((2, 2)))
    assert sign == 0 and logabsdet == -np.inf
    for a in (np.tile(-0.01 * np.eye(5, dtype=np.float32), (2, 1, 1)), rng_for().standard_normal((200, 200))):
        for method in ("lu", "qr"):
            for got, want in zip(jaxinv.slogdet(a, method=method), np.linalg.slogdet(a), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-6)
    gradient = jax.grad(lambda a: jaxinv.slogdet(a)[1])(np.array([[2.0]]))
    np.testing.assert_allclose(gradient, [[0.5]])


_PINV_SHAPES = [(1, 1), (4, 4), (3, 10, 10), (2, 70, 7), (2000, 7), (70, 7, 2), (2, 0, 0), (3, 0, 2), (1, 0)]
_PINV_LARGE = [(7, 1000), (400000, 2), (2, 400000)]


def _check_pinv(shapes, dtype):
    rng = rng_for("pinv", np.dtype(dtype).name)
    a = [normal(rng, shape, np.dtype(dtype)).astype(dtype) for shape in shapes]

    def f(values):
        hermitian = [jaxinv.pinv(x, hermitian=True) for x in values if x.shape[-2] == x.shape[-1]]
        return [jaxinv.pinv(x) for x in values], hermitian

    general, hermitian = jax.jit(f)(a)
    parts = [(x + np.swapaxes(x, -1, -2).conj()) / 2 for x in a if x.shape[-2] == x.shape[-1]]
    for got, x in zip([*general, *hermitian], [*a, *parts], strict=True):
        expected = np.linalg.pinv(x)
        assert got.shape == expected.shape and got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    # Differences of float32 functions: the tolerances are those of JAX's own test.
    check_grads(jax.jit(f), (a,), 1, rtol=6e-2, atol=1e-3)


@pytest.mark.unoptimised
@pytest.mark.parametrize("dtype", _TWO_DTYPES, ids=lambda d: np.dtype(d).name)
def test_pinv(dtype):
    _check_pinv(_PINV_SHAPES, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("shape", _PINV_LARGE, ids=str)
@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
def test_pinv_of_long_matrices(shape, dtype):
    _check_pinv([shape], dtype)


def test_rcond_of_pinv():
    a = np.ones((3, 3))
    with pytest.raises(ValueError, match="only one of rtol and rcond may be given"):
        jaxinv.pinv(a, rcond=1e-2, rtol=1e-2)
    np.testing.assert_array_equal(jaxinv.pinv(a, rcond=1e-2), jaxinv.pinv(a, rtol=1e-2))


@pytest.mark.unoptimised
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-14)])
def test_gradient_of_pinv_at_rank_one(dtype, tolerance):
    # testPinvGradIssue2792: along matrices of rank one, and at the identity.
    def f(p):
        return jaxinv.pinv(jnp.array([[0, 0], [-p, 1]]) / (1 + p**2))

    identity = np.eye(2, dtype=dtype)
    jacobians = jax.jit(lambda p, a: (jax.jacobian(f)(p), jax.jacobian(jaxinv.pinv)(a)))(dtype(2), identity)
    at_identity = -np.einsum("ik,jl->ijkl", identity, identity)
    for got, expected in zip(jacobians, ([[0, -1], [0, 0]], at_identity), strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


_LSTSQ_SHAPES = [
    ((1, 1), (1, 1)),
    ((4, 6), (4,)),
    ((6, 6), (6, 1)),
    ((8, 6), (8, 4)),
    ((0, 3), (0,)),
    ((3, 0), (3,)),
    ((3, 1), (3, 0)),
]


@pytest.mark.parametrize("rcond", [-1, None, 0.5])
@pytest.mark.parametrize("dtype", _DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.thinned("rcond", "dtype", every=2)
def test_lstsq(dtype, rcond):
    rng = rng_for("lstsq", np.dtype(dtype).name)
    tolerance = {np.float32: 1e-4, np.complex64: 1e-5}.get(dtype, 1e-12)
    for a_shape, b_shape in _LSTSQ_SHAPES:
        a, b = (normal(rng, shape, np.dtype(dtype)).astype(dtype) for shape in (a_shape, b_shape))
        got, expected = jaxinv.lstsq(a, b, rcond, numpy_resid=True), np.linalg.lstsq(a, b, rcond)
        for x, y in zip(got, expected, strict=True):
            assert x.shape == np.shape(y), (a_shape, b_shape)
            np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shape", [(2, 1), (2, 2), (1, 2)], ids=str)
def test_lstsq_of_zero_matrices(shape):
    got = jaxinv.lstsq(np.zeros(shape), np.ones(shape), numpy_resid=True)
    for x, y in zip(got, np.linalg.lstsq(np.zeros(shape), np.ones(shape)), strict=True):
        np.testing.assert_array_equal(x, y)
