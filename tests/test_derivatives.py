"""Derivatives of every order and mode against the formulas evaluated by NumPy, and what they compile to."""

import itertools

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import DTYPES, transpose

import jaxinv
from jaxinv._ops.triple_product import triple_product

pytestmark = pytest.mark.unoptimised
SIZES = (1, 2, 3, 4, 5, 8, 9, 17, 33, 40)
FLAGS = list(itertools.product([False, True], repeat=3))


def assert_close(got, expected, terms, n, dtype):
    """|got - expected| <= 10 n eps times the norms that enter `expected`; an ulp more for half types."""
    got = np.asarray(got).astype(np.complex128)
    unit = 10 * max(n, 1) * matrices.eps(dtype) + (matrices.ulp(dtype) if matrices.is_half(dtype) else 0)
    error = matrices.norm1(got - expected)
    assert got.shape == expected.shape
    assert (error <= unit * terms).all(), f"error / allowed = {np.max(error / (unit * terms)):.3g}, n = {n}"


def wide(*arrays):
    return [np.asarray(a).astype(matrices.wide_dtype(a.dtype)) for a in arrays]


def inverse_terms(a, x, d, order=1):
    """What rounding of the inverse and of the products may change in X D X: kappa |X|^(order+1) |D|^order."""
    norm = matrices.norm1
    return norm(a) * norm(x) * norm(x) * (norm(x) * norm(d)) ** order


FUNCTIONS = {"inv": jaxinv.inv, "inv_ex": lambda a: jaxinv.inv_ex(a).inverse}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.portable(n=(9,), dtype=("complex128",))
@pytest.mark.thinned("n", "dtype", "name", every=2)
def test_check_grads(path, n, dtype, name):
    a = matrices.well_conditioned((2, n, n), DTYPES[dtype], kappa=3)
    # Central differences of step h err by (h kappa |D|)^2, |D| about sqrt(n), and by rounding over h.
    options = {"modes": ("fwd", "rev"), "eps": 1e-5, "atol": 1e-6 * n, "rtol": 1e-6}
    check_grads(FUNCTIONS[name], (a,), order=2, **options)


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.parametrize("n", (1, 3, 4, 8, 33))
def test_check_grads_in_single_precision(n, dtype):
    a = matrices.well_conditioned((3, n, n), DTYPES[dtype], kappa=3)
    check_grads(jaxinv.inv, (a,), order=1, modes=("fwd", "rev"), atol=0.02 * n, rtol=0.02, eps=2**-7)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", (0, *SIZES))
@pytest.mark.portable(n=(3, 33), dtype=("complex128", "bfloat16"))
@pytest.mark.thinned("n", "dtype")
def test_first_derivatives(path, n, dtype):
    dtype = DTYPES[dtype]
    a = matrices.well_conditioned((5, n, n), dtype)
    d = matrices.well_conditioned((5, n, n), dtype, seed=1)
    x, dx = jax.jit(lambda a, d: jax.jvp(jaxinv.inv, (a,), (d,)))(a, d)
    y, ga = jax.jit(lambda a, d: (lambda y, f: (y, *f(d)))(*jax.vjp(jaxinv.inv, a)))(a, d)
    assert dx.dtype == ga.dtype == x.dtype == dtype
    a, x, d, dx, y, ga = wide(a, x, d, dx, y, ga)
    np.testing.assert_array_equal(x, y)
    exact = matrices.reference(a)
    terms = inverse_terms(a, exact, d)
    assert_close(dx, -exact @ d @ exact, terms, n, dtype)
    # JAX's convention: the plain transpose, also for complex matrices.
    assert_close(
        ga, -transpose(exact) @ d @ transpose(exact), matrices.norm1(transpose(exact)) * terms, n, dtype
    )


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("n", (2, 4, 9))
@pytest.mark.portable(n=(9,), dtype=("complex128",))
def test_second_and_third_derivatives(path, n, dtype):
    a = matrices.well_conditioned((n, n), DTYPES[dtype], kappa=4)
    d, e, f = (matrices.well_conditioned((n, n), DTYPES[dtype], seed=i) for i in (1, 2, 3))

    def along(g, v):
        return lambda a: jax.jvp(g, (a,), (v,))[1]

    x = matrices.reference(a)
    products = sum(x @ p @ x @ q @ x for p, q in itertools.permutations((d, e)))
    terms = matrices.norm1(a) * matrices.norm1(x) * 50
    second = jax.jit(along(along(jaxinv.inv, d), e))(a)
    assert_close(second, products, terms * matrices.norm1(x) ** 3, n, dtype)
    products = -sum(x @ p @ x @ q @ x @ r @ x for p, q, r in itertools.permutations((d, e, f)))
    third = jax.jit(along(along(along(jaxinv.inv, d), e), f))(a)
    assert_close(third, products, terms * matrices.norm1(x) ** 4, n, dtype)


@pytest.mark.parametrize("n", (2, 5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))))
@pytest.mark.portable(n=(5,))
def test_every_mode_gives_the_same_jacobian_and_hessian(path, n):
    a = matrices.well_conditioned((n, n), np.float64, kappa=4)
    x = matrices.reference(a)
    expected = -np.einsum("ik,lj->ijkl", x, x)
    size = 100 * n * matrices.eps(np.float64) * matrices.norm1(a) * matrices.norm1(x) ** 3
    forward, f = jax.linearize(jaxinv.inv, a)
    basis = jnp.eye(n * n).reshape(-1, n, n)
    modes = {
        "jacfwd": jax.jacfwd(jaxinv.inv)(a),
        "jacrev": jax.jacrev(jaxinv.inv)(a),
        "linearize": jnp.moveaxis(jax.vmap(f)(basis), 0, -1).reshape((n,) * 4),
        "linear_transpose": jax.vmap(jax.linear_transpose(f, a))(basis)[0].reshape((n,) * 4),
    }
    for name, jacobian in modes.items():
        np.testing.assert_allclose(jacobian, expected, rtol=0, atol=size, err_msg=name)
    np.testing.assert_array_equal(forward, jaxinv.inv(a))

    def loss(a):
        return jnp.sum(jnp.sin(jaxinv.inv(a)))

    hessians = [f(g(loss))(a) for f in (jax.jacfwd, jax.jacrev) for g in (jax.jacfwd, jax.jacrev)]
    hessians.append(jax.hessian(loss)(a))
    cos, sin = np.cos(x), np.sin(x)
    second = np.einsum("ij,ik,lp,qj->klpq", cos, x, x, x)
    second = second + np.einsum("klpq->pqkl", second)
    second -= np.einsum("ij,ik,lj,ip,qj->klpq", sin, x, x, x, x)
    for hessian in hessians:
        np.testing.assert_allclose(hessian, second, rtol=0, atol=size * 100 * matrices.norm1(x) ** 2)


@pytest.mark.parametrize("n", (3, 4, 9))
@pytest.mark.portable(n=(3,))
def test_vmap_and_derivatives_commute(path, n):
    a = matrices.well_conditioned((4, n, n), np.float64)
    d = matrices.well_conditioned((4, n, n), np.float64, seed=1)

    def jvp(a, d):
        return jax.jvp(jaxinv.inv, (a,), (d,))[1]

    def loss(a):
        return jnp.sum(jaxinv.inv(a) ** 2)

    x = matrices.reference(a)
    terms = inverse_terms(a, x, d)
    for mapped in (jax.vmap(jvp)(a, d), jax.jvp(jax.vmap(jaxinv.inv), (a,), (d,))[1], jvp(a, d)):
        assert_close(mapped, -x @ d @ x, terms, n, a.dtype)
    one = jax.vmap(jvp, in_axes=(None, 0))(a[0], d)
    assert_close(one, -x[0] @ d @ x[0], inverse_terms(a[:1], x[:1], d), n, a.dtype)
    other = jax.vmap(jvp, in_axes=(0, None))(a, d[0])
    assert_close(other, -x @ d[0] @ x, inverse_terms(a, x, d[:1]), n, a.dtype)
    expected = -2 * transpose(x) @ x @ transpose(x)
    terms = inverse_terms(a, x, 2 * x) * n
    for gradient in (
        jax.vmap(jax.grad(loss))(a),
        jax.grad(lambda a: jax.vmap(loss)(a).sum())(a),
        jax.grad(loss)(a),
    ):
        assert_close(gradient, expected, terms, n, a.dtype)


def operands(n, dtype):
    return [matrices.well_conditioned((3, n, n), DTYPES[dtype], seed=i) for i in range(4)]


def numpy_triple_product(l, g, r, flags):
    l, g, r = (transpose(x) if f else x for x, f in zip((l, g, r), flags, strict=True))
    return -l @ g @ r


def bound(flags):
    names = ("transpose_l", "transpose_g", "transpose_r")
    return lambda *x: triple_product(*x, **dict(zip(names, flags, strict=True)))[0]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.portable(dtype=("bfloat16",))
@pytest.mark.thinned("flags", "dtype")
def test_triple_product(path, flags, dtype):
    for n in (0, 1, 2, 3, 4, 7, 10, 16, 33, 129):
        l, g, r, _ = operands(n, dtype)
        out = jax.jit(bound(flags))(l, g, r)
        assert out.dtype == DTYPES[dtype]
        # All condition numbers are 10, all norms below n.
        assert_close(out, numpy_triple_product(*wide(l, g, r), flags), np.full(3, n), n, DTYPES[dtype])
        same = jax.jit(lambda l, g: bound(flags)(l, g, l))(l, g)
        assert_close(same, numpy_triple_product(*wide(l, g, l), flags), np.full(3, n), n, DTYPES[dtype])


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.portable(dtype=("complex128",), flags=FLAGS[3:5])
def test_triple_product_is_linear_in_each_operand(path, flags, dtype):
    n = 4
    *primals, v = operands(n, dtype)
    f = bound(flags)
    for i in range(3):
        at = [*primals[:i], v, *primals[i + 1 :]]
        expected = numpy_triple_product(*at, flags)
        tangents = [v if j == i else np.zeros_like(v) for j in range(3)]
        assert_close(jax.jvp(f, primals, tangents)[1], expected, np.full(3, n), n, v.dtype)

        def linear(x, i=i):
            return f(*primals[:i], x, *primals[i + 1 :])

        # <c, T v> = <T' c, v> for every operand, without conjugation.
        c = matrices.well_conditioned(v.shape, v.dtype, seed=9)
        (transposed,) = jax.linear_transpose(linear, v)(c)
        left, right = np.sum(c * expected, (-2, -1)), np.sum(np.asarray(transposed) * v, (-2, -1))
        np.testing.assert_allclose(left, right, rtol=0, atol=100 * n**2 * matrices.eps(dtype))
        twice = jax.linear_transpose(lambda c: jax.linear_transpose(linear, v)(c)[0], c)
        assert_close(twice(v)[0], expected, np.full(3, n), n, v.dtype)
    check_grads(f, primals, order=2, modes=("fwd", "rev"), atol=1e-4, rtol=1e-4)


def equations(jaxpr):
    """All equations, those of inner jaxprs too."""
    for e in jaxpr.eqns:
        yield e
        for inner in jax.tree.leaves(e.params, is_leaf=lambda v: hasattr(v, "eqns")):
            if hasattr(inner, "eqns"):
                yield from equations(getattr(inner, "jaxpr", inner))


def count(jaxpr, name):
    return sum(e.primitive.name == name for e in equations(jaxpr))


@pytest.mark.parametrize("n", (3, 40))
def test_the_inverse_is_never_recomputed(n):
    a = matrices.well_conditioned((3, n, n), np.float32)

    def loss(a):
        return jnp.sum(jaxinv.inv(a) ** 2)

    functions = {
        "grad": jax.grad(loss),
        "value_and_grad": jax.value_and_grad(loss),
        "jvp": lambda a: jax.jvp(jaxinv.inv, (a,), (a,)),
        "gradient of a gradient": jax.grad(lambda a: jnp.sum(jax.grad(loss)(a) ** 2)),
        "jacfwd": jax.jacfwd(loss),
    }
    for name, f in functions.items():
        jaxpr = jax.make_jaxpr(f)(a).jaxpr
        assert count(jaxpr, "jaxinv_inverse") == 1, name
        assert count(jaxpr, "jaxinv_triple_product") >= 1, name
        for solver in ("triangular_solve", "lu", "lu_pivots_to_permutation"):
            assert count(jaxpr, solver) == 0, name
    assert count(jax.make_jaxpr(jax.grad(loss))(a).jaxpr, "jaxinv_triple_product") == 1
    text = jax.jit(jax.grad(loss)).lower(a).compile().as_text()
    assert "triangular-solve" not in text and "trsm" not in text
    if any(b.available for b in jaxinv.backends()):
        assert text.count('custom_call_target="jaxinv_inverse"') == 1


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize("n", (1, 2, 3, 4, 9, 33))
@pytest.mark.portable(n=(9,), dtype=("float32",))
@pytest.mark.thinned("n", "dtype", every=2)
def test_masked_matrices_have_zero_gradients(path, n, dtype):
    a = matrices.well_conditioned((4, n, n), DTYPES[dtype])
    a[1] = 0
    a[2, 0, 0] = np.nan
    ok = np.array([True, False, False, True])[:, None, None]

    def loss(a):
        safe = jnp.where(ok, a, jnp.eye(n, dtype=a.dtype))
        return jnp.sum(jnp.abs(jnp.where(ok, jaxinv.inv(safe), 0)) ** 2)

    value, gradient = jax.value_and_grad(loss)(a)
    assert np.isfinite(value) and np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[1:3], 0)
    assert (np.abs(gradient[0]) > 0).any() and (np.abs(gradient[3]) > 0).any()


def test_info_has_no_derivative():
    a = matrices.well_conditioned((2, 3, 3), np.float32)
    _, tangent = jax.jvp(lambda a: jaxinv.inv_ex(a).info, (a,), (a,))
    assert tangent.dtype == jax.dtypes.float0 and tangent.shape == (2,)
    (cotangent,) = jax.vjp(lambda a: jaxinv.inv_ex(a).info, a)[1](np.zeros(2, jax.dtypes.float0))
    np.testing.assert_array_equal(cotangent, np.zeros_like(a))
