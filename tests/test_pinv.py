"""pinv: Penrose's conditions, derivatives along constant rank, NaN rule, bad arguments, transformations."""

import jax
import matrices
import mpmath
import numpy as np
import pytest
from jax import export
from jax import numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads
from matrices import DTYPES, adjoint, of_rank
from test_derivatives import equations

import jaxinv

pytestmark = pytest.mark.unoptimised

SHAPES = ((1, 1), (7, 4), (4, 7), (30, 30))
COLLECTIVES = ("all-gather", "all-to-all", "collective-permute", "all-reduce", "reduce-scatter")


def golub_pereyra(a, e, rank):
    """The pseudo-inverse and its derivative along e in wide arithmetic."""
    u, s, vh = np.linalg.svd(a)
    u, s, v = u[..., :rank], s[..., None, :rank], adjoint(vh)[..., :rank]
    p = v / s @ adjoint(u)
    left, right = np.eye(a.shape[-2]) - u @ adjoint(u), np.eye(a.shape[-1]) - v @ adjoint(v)
    eh, ph = adjoint(e), adjoint(p)
    return p, -p @ e @ p + p @ ph @ eh @ left + right @ eh @ ph @ p


def norm(a):
    return np.linalg.norm(a, axis=(-2, -1))


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward_and_penrose(dtype, shape):
    m, n = shape
    a = [of_rank((3, m, n), min(m, n), DTYPES[dtype], kappa) for kappa in (10, 1e3)]
    a = np.concatenate(a).astype(DTYPES[dtype])
    p = jaxinv.pinv(a)
    assert p.shape == (6, n, m) and p.dtype == a.dtype
    a, p = (np.asarray(x).astype(matrices.wide_dtype(x.dtype)) for x in (a, p))
    exact = np.linalg.pinv(a)
    unit = 10 * max(m, n) * matrices.eps(dtype)
    if matrices.is_half(dtype):
        error = np.abs(p - exact).max((-2, -1))
        kappas = norm(a) * norm(exact)
        assert (error <= (matrices.ulp(DTYPES[dtype]) + unit * kappas) * np.abs(exact).max((-2, -1))).all()
        return
    size = norm(a) * norm(p)
    assert (norm(p - exact) <= unit * size * norm(exact)).all()
    assert (norm(a @ p @ a - a) <= unit * size * norm(a)).all()
    assert (norm(p @ a @ p - p) <= unit * size * norm(p)).all()
    assert (norm(a @ p - adjoint(a @ p)) <= unit * size).all()
    assert (norm(p @ a - adjoint(p @ a)) <= unit * size).all()


def test_float64_against_50_digits():
    for shape in ((4, 4), (6, 3), (3, 6)):
        a = of_rank(shape, 3, np.float64, 1e6) if shape != (4, 4) else of_rank(shape, 4, np.float64, 1e6)
        with mpmath.workdps(50):
            tall = mpmath.matrix((a if shape[0] >= shape[1] else a.T).tolist())
            exact = (tall.T * tall) ** -1 * tall.T
            exact = np.array(exact.tolist(), float)
        exact = exact if shape[0] >= shape[1] else exact.T
        error = norm(np.asarray(jaxinv.pinv(a)) - exact)
        assert error <= 10 * max(shape) * 2**-53 * 1e6 * norm(exact)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize(("shape", "rank"), [((6, 4), 2), ((4, 6), 3), ((5, 5), 1), ((5, 5), 4)])
def test_rank_deficient_forward_and_derivatives(dtype, shape, rank):
    a = of_rank((2, *shape), rank, DTYPES[dtype]).astype(DTYPES[dtype])
    e = matrices.normal(matrices.rng_for("e"), a.shape, a.dtype).astype(a.dtype)
    g = matrices.normal(matrices.rng_for("g"), adjoint(a).shape, a.dtype).astype(a.dtype)
    p, dp = jax.jvp(jaxinv.pinv, (a,), (e,))
    _, vjp = jax.vjp(jaxinv.pinv, a)
    exact, dexact = golub_pereyra(*(x.astype(np.complex128) for x in (a, e)), rank)
    unit = 10 * 6 * matrices.eps(dtype) * 10
    assert (norm(p - exact) <= unit * norm(exact)).all()
    assert (norm(dp - dexact) <= unit * norm(exact) ** 2 * norm(e) * 3).all()
    # <g, dP> is the same from either side; JAX's product has no conjugate.
    left, right = np.sum(g * np.asarray(dp), (-2, -1)), np.sum(np.asarray(vjp(g)[0]) * e, (-2, -1))
    assert (np.abs(left.real - right.real) <= unit * norm(exact) ** 2 * norm(e) * norm(g) * 6).all()


OPTIONS = {"modes": ("fwd", "rev"), "eps": 1e-5, "atol": 1e-5}


def test_check_grads():
    a = [of_rank(shape, 3, np.float64, kappa=3) for shape in ((3, 5), (2, 3, 3))]
    check_grads(jax.jit(lambda a: [jaxinv.pinv(x) for x in a]), (a,), order=2, rtol=1e-6, **OPTIONS)


def test_check_grads_at_constant_rank():
    """Beside full rank and repeated singular values; the Hermitian part B Bᴴ has constant rank too."""
    dtype = np.dtype(complex)
    rng = matrices.rng_for("factors", "complex128")
    b, c, d = (matrices.normal(rng, shape, dtype) for shape in ((1, 4, 2), (1, 2, 3), (1, 4, 2)))
    full = np.stack([of_rank((4, 3), 3, dtype, kappa=3), np.eye(4, 3)])
    hermitian = np.stack(
        [of_rank((4, 4), 4, dtype, 3.0) + 0.1 * matrices.normal(rng, (4, 4), dtype), np.eye(4)]
    )

    def f(b, c, full, d, hermitian):
        tall, square = jnp.concatenate([b @ c, full]), jnp.concatenate([d @ adjoint(d), hermitian])
        return jaxinv.pinv(tall), jaxinv.pinv(square, hermitian=True)

    check_grads(jax.jit(f), (b, c, full, d, hermitian), order=2, rtol=1e-5, **OPTIONS)


def outer(x, y):
    return jnp.outer(x, y)


def closed_form(x, y):
    return jnp.outer(y, x) / (x @ x) / (y @ y)


def test_rank_one_against_the_closed_form():
    # PyTorch issue 65911: the gradient there is NaN.
    x, y = matrices.rng_for("rank one").standard_normal((2, 30))

    def loss(f):
        return lambda x, y: jnp.sum(jnp.sin(3 * f(x, y)))

    def ours(x, y):
        return jaxinv.pinv(outer(x, y))

    np.testing.assert_allclose(
        ours(x, y), closed_form(x, y), rtol=0, atol=1e3 * 2**-53 * np.abs(closed_form(x, y)).max()
    )
    for mode in (jax.jacfwd, jax.jacrev):
        for got, want in zip(mode(ours, (0, 1))(x, y), mode(closed_form, (0, 1))(x, y), strict=True):
            assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()
            assert np.abs(got - want).max() <= 1e3 * 2**-53 * np.abs(want).max()
    got = jax.tree.leaves(jax.hessian(loss(ours), (0, 1))(x, y))
    want = jax.tree.leaves(jax.hessian(loss(closed_form), (0, 1))(x, y))
    for g, w in zip(got, want, strict=True):
        assert np.isfinite(g).all() and np.abs(g - w).max() <= 1e-12 * max(np.abs(w).max() for w in want)


@pytest.mark.parametrize("n", (1, 4))
def test_repeated_singular_values(n):
    # At the identity P = A⁻¹ = 2I − A + (A − I)² − ..., so d² sum(P)[E, E] = 2 sum(E E).
    hessian = jax.hessian(lambda a: jnp.sum(jaxinv.pinv(a)))(np.eye(n))
    e = matrices.rng_for("e").standard_normal((n, n))
    value = np.einsum("ij,ijkl,kl", e, hessian, e)
    np.testing.assert_allclose(value, 2 * np.sum(e @ e), rtol=1e-12, atol=1e-12)
    third = jax.jacfwd(jax.hessian(lambda a: jnp.sum(jaxinv.pinv(a))))(np.eye(n))
    assert np.isfinite(third).all()


def test_zero_matrices_have_zero_pseudo_inverse_and_derivative():
    a = np.zeros((2, 3, 4))
    np.testing.assert_array_equal(jaxinv.pinv(a), np.zeros((2, 4, 3)))
    np.testing.assert_array_equal(jax.grad(lambda a: jnp.sum(jaxinv.pinv(a)))(a), a)
    np.testing.assert_array_equal(
        jax.hessian(lambda a: jnp.sum(jaxinv.pinv(a)))(a[0]), np.zeros((3, 4, 3, 4))
    )


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (0, 2, 3), (2, 0, 3), (2, 3, 0)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "complex128", "bfloat16"])
def test_empty(shape, dtype):
    a = np.zeros(shape, DTYPES[dtype])
    p, vjp = jax.vjp(jaxinv.pinv, a)
    assert p.shape == (*shape[:-2], shape[-1], shape[-2]) and p.dtype == a.dtype
    assert vjp(p)[0].shape == shape


def test_hermitian_takes_the_hermitian_part():
    a = of_rank((3, 5, 5), 5, np.complex128)
    np.testing.assert_allclose(
        jaxinv.pinv(a, hermitian=True), jaxinv.pinv((a + adjoint(a)) / 2), rtol=0, atol=1e-10
    )
    s = np.diag([1.0, -2, 0, 1e-20])
    np.testing.assert_allclose(jaxinv.pinv(s, hermitian=True), np.diag([1, -0.5, 0, 0]), rtol=1e-15)


def test_rtol_is_traced_and_batched():
    a = np.broadcast_to(np.diag([1.0, 1e-2, 1e-4]), (3, 3, 3))
    rtol = np.array([1e-1, 1e-3, 1e-5])
    expected = [np.diag([1, 0, 0]), np.diag([1, 1e2, 0]), np.diag([1, 1e2, 1e4])]
    np.testing.assert_allclose(jax.jit(jaxinv.pinv)(a, rtol), expected, rtol=1e-15)
    np.testing.assert_allclose(jaxinv.pinv(a[0], rtol), expected, rtol=1e-15)
    np.testing.assert_allclose(jax.vmap(jaxinv.pinv, (None, 0))(a[0], rtol), expected, rtol=1e-15)
    np.testing.assert_allclose(jaxinv.pinv(a[0], rcond=1e-3), expected[1], rtol=1e-15)
    np.testing.assert_array_equal(jax.grad(lambda r: jnp.sum(jaxinv.pinv(a, r)))(rtol), np.zeros(3))
    # Up to rtol times the largest counts as zero, as in NumPy; a singular value of zero always does.
    np.testing.assert_array_equal(jaxinv.pinv(np.diag([4.0, 2, 0]), 0.5), np.diag([0.25, 0, 0]))
    np.testing.assert_array_equal(jaxinv.pinv(np.diag([4.0, 2, 0]), -1.0), np.diag([0.25, 0.5, 0]))
    assert np.isnan(jaxinv.pinv(a[0], np.nan)).all()


def test_default_rtol_is_that_of_numpy():
    n, eps = 4, 2.0**-52
    a = np.diag([1, 1, 1, 3 * n * eps])  # jnp's default, ten times as much, would drop it
    assert jaxinv.pinv(a)[3, 3] != 0
    a[3, 3] = 0.5 * n * eps
    assert jaxinv.pinv(a)[3, 3] == 0


@pytest.mark.parametrize("hermitian", (False, True))
@pytest.mark.parametrize("bad", (np.nan, np.inf, -np.inf))
@pytest.mark.parametrize("dtype", ["float32", "complex128", "float16"])
def test_not_finite(dtype, bad, hermitian):
    a = of_rank((5, 4, 4), 4, DTYPES[dtype]).astype(DTYPES[dtype])
    clean = np.asarray(jaxinv.pinv(a, hermitian=hermitian))
    a[2, 1, 3] = bad
    p = np.asarray(jaxinv.pinv(a, hermitian=hermitian))
    assert np.isnan(p[2]).all()
    np.testing.assert_array_equal(np.delete(p, 2, 0), np.delete(clean, 2, 0))
    gradient = jax.grad(lambda a: jnp.sum(jnp.abs(jaxinv.pinv(a, hermitian=hermitian))))(a)
    assert np.isnan(gradient[2]).all() and np.isfinite(np.delete(gradient, 2, 0)).all()


def loss(a):
    return jnp.sum(jnp.sin(jaxinv.pinv(a)))


def test_transformations():
    a = of_rank((3, 2, 4, 3), 3, np.float64)
    expected, gradient = jaxinv.pinv(a), jax.grad(loss)(a)

    def same(got, want):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e3 * 2**-53 * np.abs(want).max())

    same(jax.jit(jaxinv.pinv)(a), expected)
    same(jax.vmap(jaxinv.pinv, 3, 3)(np.moveaxis(a, 0, 3)).transpose(3, 0, 1, 2), expected)
    same(jax.vmap(jax.vmap(jaxinv.pinv))(a), expected)
    same(jax.jit(jax.vmap(jax.vmap(jax.grad(loss))))(a), gradient)
    same(jax.grad(jax.checkpoint(loss))(a), gradient)
    same(jax.grad(lambda a: jax.lax.scan(lambda c, x: (c + loss(x), None), 0.0, a)[0])(a), gradient)
    _, linear = jax.linearize(jaxinv.pinv, a)
    same(linear(a), -expected)  # P is homogeneous of degree −1
    same(jax.jvp(jax.vmap(jaxinv.pinv), (a,), (a,))[1], -expected)
    same(jax.vmap(lambda x: jax.jvp(jaxinv.pinv, (x,), (x,))[1])(a), -expected)
    hessian, forward = (
        jax.jit(jax.vmap(h(loss)))(a[0]) for h in (jax.hessian, lambda f: jax.jacfwd(jax.jacfwd(f)))
    )
    assert np.abs(hessian - forward).max() <= 1e-12 * np.abs(forward).max()
    with jax.disable_jit():
        same(jaxinv.pinv(a[0]), expected[0])


def test_strict_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for dtype in DTYPES.values():
            for shape in ((2, 4, 3), (3, 4), (3, 3)):
                a = of_rank(shape, 3, dtype).astype(dtype)
                for hermitian in {False, shape == (3, 3)}:
                    f = jax.tree_util.Partial(jaxinv.pinv, hermitian=hermitian)
                    # Lowering traces the operation's body too.
                    out = jax.jit(lambda a: jax.jvp(f, (a,), (a,))).lower(a).out_info  # noqa: B023
                    assert [v.dtype for v in out] == [a.dtype] * 2


def sharded(a, mesh):
    return jax.device_put(a, NamedSharding(mesh, P("b")))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize("shape", [(8, 5, 3), (8, 3, 5), (8, 3, 3)], ids=str)
@pytest.mark.thinned("kind", "shape", every=2)
def test_batch_stays_sharded(eight_devices, kind, shape):
    mesh = Mesh(np.array(eight_devices), ("b",), axis_types=(kind,))
    a = of_rank(shape, 2, np.float64)

    def everything(a):
        p, vjp = jax.vjp(jaxinv.pinv, a)
        hvp = jax.jvp(jax.grad(loss), (a,), (a,))[1]
        return p, vjp(p), jax.jvp(jaxinv.pinv, (a,), (a,))[1], hvp, jaxinv.pinv(a, 0.5)

    with jax.set_mesh(mesh):
        compiled = jax.jit(everything).lower(sharded(a, mesh)).compile()
        got = compiled(sharded(a, mesh))
    assert not [c for c in COLLECTIVES if c in compiled.as_text()]
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(jax.jit(everything)(a)), strict=True):
        assert x.sharding.is_equivalent_to(NamedSharding(mesh, P("b", None, None)), 3)
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-11 * max(np.abs(y).max(), 1))


def test_shard_map(eight_devices):
    mesh = Mesh(np.array(eight_devices), ("b",))
    a, y = of_rank((8, 4, 3), 3, np.float64), matrices.rng_for("y").standard_normal((8, 4))
    each = jax.shard_map(jax.vmap(jaxinv.pinv), mesh=mesh, in_specs=P("b"), out_specs=P("b"))
    mapped = jax.jit(jax.grad(lambda a: jnp.sum(jnp.sin(each(a)))))
    np.testing.assert_allclose(mapped(a), jax.grad(loss)(a), rtol=0, atol=1e-12 * np.abs(mapped(a)).max())

    def local(a, y):  # a is the same for all
        return jnp.sin(y @ jaxinv.pinv(a).T)

    split = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("b")), out_specs=P("b"))
    for mode in (jax.jacrev, jax.jacfwd):
        got = jax.jit(mode(lambda a: jnp.sum(split(a, y))))(a[0])
        want = jax.grad(lambda a: jnp.sum(local(a, y)))(a[0])
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


def test_export_with_symbolic_batch():
    (batch,) = export.symbolic_shape("batch")
    exported = export.export(jax.jit(jaxinv.pinv))(jax.ShapeDtypeStruct((batch, 4, 3), np.float64))
    loaded = export.deserialize(exported.serialize(vjp_order=1))
    a = of_rank((5, 4, 3), 3, np.float64)
    np.testing.assert_allclose(loaded.call(a), jaxinv.pinv(a), rtol=0, atol=1e-13)
    gradient = jax.grad(lambda a: jnp.sum(jnp.sin(loaded.call(a))))(a)
    np.testing.assert_allclose(gradient, jax.grad(loss)(a), rtol=0, atol=1e-11)
    (n,) = export.symbolic_shape("n")
    with pytest.raises(ValueError, match=r"^jaxinv\.pinv: the matrix size must be known when tracing"):
        export.export(jax.jit(jaxinv.pinv))(jax.ShapeDtypeStruct((4, n), np.float64))


def test_every_product_is_in_full_precision():
    """Whatever the platform: as traced, for lstsq and Tikhonov regularisation too, tall and wide."""
    functions = [
        lambda a, b: jaxinv.pinv(a),
        lambda a, b: jaxinv.pinv(a[:3, :3], hermitian=True),
        lambda a, b: jaxinv.lstsq(a, b)[::3],
        lambda a, b: jaxinv.lstsq(a, b).residuals,
        lambda a, b: jaxinv.tikhonov_pinv(a, b[0]),
        lambda a, b: jaxinv.tikhonov_solve(a, b, b[0]),
        lambda a, b: jaxinv.tikhonov_pinv(a, b[0], a),
        lambda a, b: jaxinv.tikhonov_solve(a, b, b[0], a),
    ]
    highest = (jax.lax.Precision.HIGHEST,) * 2
    for a in (np.ones((5, 3), np.float32), np.ones((3, 5), np.float32)):
        for f in functions:

            def loss(a, b, f=f):
                return sum(jnp.sum(jnp.sin(v)) for v in jax.tree.leaves(f(a, b)))

            arguments = a, np.ones(len(a), np.float32)
            gradient = jax.grad(loss, (0, 1))
            jaxpr = jax.make_jaxpr(lambda *x, g=gradient: jax.jvp(g, x, x))(*arguments).jaxpr
            products = [e.params for e in equations(jaxpr) if e.primitive.name == "dot_general"]
            assert products and all(p["precision"] == highest for p in products)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((np.ones(3),), {}, ValueError, "expected a of shape (..., m, n), got shape (3,)"),
        ((2.0,), {}, ValueError, "expected a of shape (..., m, n), got shape ()"),
        (([[1.0]],), {}, TypeError, "expected an array, got list"),
        (
            (np.ones((2, 3)),),
            {"hermitian": True},
            ValueError,
            "expected square matrices with hermitian=True, got shape (2, 3)",
        ),
        ((np.ones((2, 3)), 0.1), {"rcond": 0.1}, ValueError, "only one of rtol and rcond may be given"),
        ((np.ones((2, 3)), 1j), {}, TypeError, "expected rtol to be real, got dtype complex128"),
        (
            (np.ones((2, 2, 3)), np.ones(3)),
            {},
            ValueError,
            "expected batch dimensions that broadcast, got (2,) and (3,)",
        ),
    ],
)
def test_bad_arguments(arguments, keywords, error, message):
    with pytest.raises(error) as caught:
        jaxinv.pinv(*arguments, **keywords)
    assert str(caught.value) == f"jaxinv.pinv: {message}"
