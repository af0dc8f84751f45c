"""tikhonov_solve, tikhonov_pinv: the stacked problem, derivatives, lam = 0, NaN rule, bad arguments."""

import jax
import matrices
import mpmath
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads
from matrices import DTYPES, adjoint, normal, of_rank, rng_for, wide_dtype
from test_pinv import COLLECTIVES

import jaxinv

pytestmark = pytest.mark.unoptimised

SHAPES = ((5, 3, None), (3, 5, None), (4, 4, None), (5, 3, 2), (3, 5, 4), (1, 1, 1))


def problem(m, n, p, dtype, batch=(2,), kappa=10.0):
    a = of_rank((*batch, m, n), min(m, n), dtype, kappa).astype(dtype)
    b = normal(rng_for("b", m, n), (*batch, m, 2), dtype).astype(dtype)
    lam = np.full(batch, 0.3, matrices.real_dtype(dtype))
    penalty = () if p is None else (normal(rng_for("d", p, n), (*batch, p, n), dtype).astype(dtype),)
    return a, b, lam, *penalty


def stacked(a, lam, d=None):
    d = np.eye(a.shape[-1]) if d is None else d
    return np.concatenate(
        [a, np.broadcast_to(np.sqrt(lam)[..., None, None] * d, (*a.shape[:-2], *d.shape[-2:]))], -2
    )


def expected_pinv(a, lam, *penalty):
    return np.linalg.pinv(stacked(a, lam, *penalty), rcond=1e-14)[..., : a.shape[-2]]


def norm(a):
    return np.linalg.norm(a, axis=(-2, -1))


@jax.jit
def solve_and_pinv(a, b, lam, *penalty):
    return jaxinv.tikhonov_solve(a, b, lam, *penalty), jaxinv.tikhonov_pinv(a, lam, *penalty)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.thinned("dtype", "shape", every=2)
def test_against_the_stacked_problem(dtype, shape):
    a, b, lam, *penalty = problem(*shape, DTYPES[dtype])
    x, p = solve_and_pinv(a, b, lam, *penalty)
    assert x.dtype == p.dtype == a.dtype
    a, b, *penalty = (v.astype(wide_dtype(v.dtype)) for v in (a, b, *penalty))
    lam = lam.astype(float)
    exact = expected_pinv(a, lam, *penalty)
    k = stacked(a, lam, *penalty)
    unit = 10 * max(k.shape[-2:]) * matrices.eps(dtype) * norm(k) * norm(np.linalg.pinv(k))
    unit += matrices.ulp(DTYPES[dtype]) if matrices.is_half(dtype) else 0
    assert (norm(np.asarray(p).astype(exact.dtype) - exact) <= unit * norm(np.linalg.pinv(k))).all()
    assert (
        norm(np.asarray(x).astype(exact.dtype) - exact @ b) <= unit * norm(np.linalg.pinv(k)) * norm(b)
    ).all()


@pytest.mark.parametrize("m", (6, 3))
def test_no_normal_equations(m):
    # kappa = 1e9: its square is beyond float64, and the normal equations would have no digit.
    a, b, _ = problem(m, m if m == 3 else 3, None, np.float64, batch=(), kappa=1e9)
    lam = 1e-20
    with mpmath.workdps(60):
        w = mpmath.matrix(a.tolist())
        x = (w.T * w + mpmath.mpf(lam) * mpmath.eye(3)) ** -1 * (w.T * mpmath.matrix(b.tolist()))
        x = np.array(x.tolist(), float)
    error = norm(np.asarray(jaxinv.tikhonov_solve(a, b, lam)) - x)
    p = norm(expected_pinv(a, np.float64(lam)))
    assert error <= 10 * (m + 3) * 2**-53 * p * p * norm(b - a @ x) + 10 * (m + 3) * 2**-53 * 1e9 * p * norm(
        b
    )
    assert error <= 1e-4 * p * norm(b)


def test_check_grads():
    """Rank and repeated singular values do not matter: in every direction, not only those of B Cᴴ."""
    problems = []
    for m, n in ((5, 3), (3, 5)):
        a, *rest = problem(m, n, None, np.complex128, batch=(3,), kappa=3)
        a[1], a[2] = of_rank((m, n), 2, a.dtype, kappa=3), np.eye(m, n)
        problems.append((a, *rest))
    a, b, lam, d = problem(5, 3, 2, np.complex128, kappa=3)
    problems.append((a[:1], b[0], lam[:, None], d[0]))  # batches that broadcast
    problems.append(problem(2, 4, 4, np.complex128, kappa=3))

    def f(problems):
        return [solve_and_pinv(*arguments) for arguments in problems]

    check_grads(jax.jit(f), (problems,), order=2, modes=("fwd", "rev"), eps=1e-5, atol=1e-5, rtol=1e-5)


def test_rank_one_against_the_closed_form():
    x, y, b, *tangents = rng_for("rank one").standard_normal((5, 30)) / np.sqrt(30)
    lam = 0.3

    def ours(x, y, lam):
        return solve_and_pinv(jnp.outer(x, y), b, lam)

    def closed_form(x, y, lam):
        p = jnp.outer(y, x) / ((x @ x) * (y @ y) + lam)
        return p @ b, p

    def everything(f):
        def loss(*arguments):
            return sum(jnp.sum(jnp.sin(3 * v)) for v in f(*arguments))

        primals, directions = (x, y, lam), (*tangents, 1.0)
        return jax.jvp(f, primals, directions), jax.jvp(jax.grad(loss, (0, 1, 2)), primals, directions)

    got, want = (jax.tree.leaves(jax.jit(lambda f=f: everything(f))()) for f in (ours, closed_form))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e3 * 2**-53 * np.abs(w).max())


def derivatives_in_lam(a, b, d):
    """x' and x'' at lam = 0: M x' = −DᴴD x, M x'' = −2 DᴴD x'."""
    inverse = np.linalg.inv(adjoint(a) @ a)
    x = inverse @ adjoint(a) @ b
    first = -inverse @ adjoint(d) @ d @ x
    return first, -2 * inverse @ adjoint(d) @ d @ first


@pytest.mark.parametrize("shape", [(5, 3, None), (5, 3, 2), (4, 4, 3)], ids=str)
def test_smooth_in_lam_at_zero(shape):
    a, b, _, *penalty = problem(*shape, np.float64, batch=())

    def x(lam):
        return jaxinv.tikhonov_solve(a, b, lam, *penalty)

    np.testing.assert_allclose(x(0.0), np.linalg.lstsq(a, b)[0], rtol=0, atol=1e-12)
    want = derivatives_in_lam(a, b, penalty[0] if penalty else np.eye(a.shape[1]))
    for mode in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(mode(x)(0.0), want[0], rtol=0, atol=1e-10 * np.abs(want[0]).max())
    np.testing.assert_allclose(
        jax.jacfwd(jax.jacrev(x))(0.0), want[1], rtol=0, atol=1e-9 * np.abs(want[1]).max()
    )


def test_wide_at_zero_is_the_pseudo_inverse_with_its_derivatives():
    a, b, _ = problem(3, 5, None, np.complex128, batch=())
    e = normal(rng_for("e"), a.shape, a.dtype)
    for f, g in (
        (lambda a: jaxinv.tikhonov_pinv(a, 0.0), jaxinv.pinv),
        (lambda a: jaxinv.tikhonov_solve(a, b, 0.0), lambda a: jaxinv.lstsq(a, b).x),
    ):
        for got, want in zip(jax.jvp(f, (a,), (e,)), jax.jvp(g, (a,), (e,)), strict=True):
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-11 * np.abs(want).max())


def test_broadcasting_and_dtypes():
    a, b, lam = problem(5, 3, None, np.float32, batch=(4,))
    x = jaxinv.tikhonov_solve(a, b[:, :, 0][0], 0.3)
    assert x.shape == (4, 3) and x.dtype == np.float32
    np.testing.assert_allclose(x[1], jaxinv.tikhonov_solve(a[1], b[0], lam[0])[:, 0], rtol=0, atol=1e-5)
    assert jaxinv.tikhonov_solve(a[0], b, np.ones((3, 1)), np.eye(3)).shape == (3, 4, 3, 2)
    assert jaxinv.tikhonov_pinv(a[0], np.ones((2, 6), np.float32)).shape == (2, 6, 3, 5)
    assert jaxinv.tikhonov_pinv(a, np.float64(1)).dtype == np.float64
    # An integer beside a float takes the type of the float.
    ones, eye = np.ones((5, 1), int), np.eye(3, dtype=int)
    out = jaxinv.tikhonov_solve(a, ones, 1, eye), jaxinv.tikhonov_pinv(a, 1, eye)
    np.testing.assert_allclose(out[1] @ ones, out[0], rtol=0, atol=1e-5)
    assert [v.dtype for v in (*out, jaxinv.tikhonov_pinv(eye, 1))] == [np.float32] * 2 + [np.float64]
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for dtype in DTYPES.values():
            for m, n, p in ((5, 3, None), (3, 5, None), (5, 3, 2)):
                a, b, lam, *penalty = problem(m, n, p, dtype)
                arguments = a, b, lam, *penalty

                def everything(arguments):
                    a, _, _, *penalty = arguments
                    out = jax.jvp(jaxinv.tikhonov_solve, arguments, arguments)
                    return *out, jaxinv.tikhonov_pinv(a, 0.5, *penalty)

                out = jax.jit(everything).lower(arguments).out_info  # traces the operations' bodies too
                assert [v.dtype for v in out] == [a.dtype] * 3


@pytest.mark.parametrize("shape", [(0, 3, None), (3, 0, None), (0, 0, None), (0, 3, 4), (3, 3, 0)], ids=str)
def test_empty(shape):
    m, n, p = shape
    penalty = () if p is None else (np.ones((p, n)) + np.eye(p, n),)
    a = np.eye(m, n)
    x = jaxinv.tikhonov_solve(a, np.ones((m, 2)), 1.0, *penalty)
    assert x.shape == (n, 2) and jaxinv.tikhonov_pinv(a, 1.0, *penalty).shape == (n, m)
    if p is None:
        np.testing.assert_array_equal(x, np.zeros((n, 2)))


@pytest.mark.parametrize("shape", [(5, 3, None), (3, 5, None), (5, 3, 2)], ids=str)
def test_what_gives_nan_and_leaves_its_neighbours(shape):
    arguments = problem(*shape, np.float64, batch=(4,))
    clean = np.asarray(jaxinv.tikhonov_solve(*arguments))
    cases = [(2, -1e-30), (2, np.nan), (2, np.inf), (0, np.nan), (0, np.inf)]
    for index, bad in cases + ([(3, np.nan)] if len(arguments) > 3 else []):
        broken = [x.copy() for x in arguments]
        broken[index][1 if index == 2 else (1, 0, 2)] = bad
        for x in (
            jaxinv.tikhonov_solve(*broken),
            jax.grad(lambda *args: jnp.sum(jaxinv.tikhonov_solve(*args)))(*broken),
        ):
            assert np.isnan(x[1]).all() and np.isfinite(np.delete(x, 1, 0)).all()
        x = np.asarray(jaxinv.tikhonov_solve(*broken))
        np.testing.assert_array_equal(np.delete(x, 1, 0), np.delete(clean, 1, 0))


def test_singular():
    a = np.ones((3, 3))
    a[:, 1] = 0
    assert np.isnan(jaxinv.tikhonov_pinv(a, 0.0)).all()
    assert np.isfinite(jaxinv.tikhonov_pinv(a, 0.1)).all()
    assert np.isnan(jaxinv.tikhonov_pinv(a, 0.1, np.eye(3)[[0, 2]])).all()
    assert np.isnan(jaxinv.tikhonov_pinv(np.ones((1, 4)), 0.1, np.eye(2, 4))).all()  # singular by its shape


def loss(a, b, lam):
    return jnp.sum(jnp.sin(jaxinv.tikhonov_solve(a, b, lam))) + jnp.sum(jnp.cos(jaxinv.tikhonov_pinv(a, lam)))


@pytest.mark.parametrize("shape", [(5, 3), pytest.param((3, 5), marks=pytest.mark.slow)], ids=str)
def test_transformations(shape):
    arguments = problem(*shape, None, np.float64, batch=(3,))
    gradient = jax.grad(loss, (0, 1, 2))

    def everything(a, b, lam):
        _, linear = jax.linearize(loss, a, b, lam)
        return {
            "vmap": jax.vmap(gradient)(a, b, lam),
            "checkpoint": jax.grad(jax.checkpoint(loss), (0, 1, 2))(a, b, lam),
            "scan": jax.grad(
                lambda *x: jax.lax.scan(lambda c, x: (c + loss(*x), None), 0.0, x)[0], (0, 1, 2)
            )(a, b, lam),
            "linear": linear(a, b, lam),
            "hessians": [h(lambda t: loss(a, b, t))(lam) for h in (jax.hessian, twice_forward)],
            "shared": jax.vmap(jaxinv.tikhonov_solve, (None, 0, None))(a[0], b, lam[0]),
        }

    def twice_forward(f):
        return jax.jacfwd(jax.jacfwd(f))

    def same(got, want):
        for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e4 * 2**-53 * np.abs(y).max())

    got, want = jax.jit(everything)(*arguments), jax.jit(gradient)(*arguments)
    for name in ("vmap", "checkpoint", "scan"):
        same(got[name], want)
    same(got["linear"], sum(np.sum(g * x) for g, x in zip(want, arguments, strict=True)))
    same(*got["hessians"])
    a, b, lam = arguments
    same(got["shared"], jaxinv.tikhonov_solve(a[0], b, lam[0]))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize("shape", [(5, 3, 2), (3, 5, None)], ids=str)
@pytest.mark.thinned("kind", "shape", every=2)
def test_batch_stays_sharded(eight_devices, kind, shape):
    mesh = Mesh(np.array(eight_devices), ("b",), axis_types=(kind,))
    a, b, lam, *penalty = problem(*shape, np.float64, batch=(8,))

    def everything(a, b, *rest):
        def both(a, b, *rest):
            return jaxinv.tikhonov_solve(a, b, *rest), jaxinv.tikhonov_pinv(a, *rest)

        out, vjp = jax.vjp(both, a, b, *rest)
        return out, vjp(out), jaxinv.tikhonov_pinv(a, 0.5)

    with jax.set_mesh(mesh):
        arguments = jax.device_put((a, b, lam, *penalty), NamedSharding(mesh, P("b")))
        compiled = jax.jit(everything).lower(*arguments).compile()
        got = compiled(*arguments)
    assert not [c for c in COLLECTIVES if c in compiled.as_text()]
    want = jax.jit(everything)(a, b, lam, *penalty)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert x.sharding.is_equivalent_to(NamedSharding(mesh, P("b", *[None] * (x.ndim - 1))), x.ndim)
        np.testing.assert_allclose(x, y, rtol=0, atol=1e-11 * max(np.abs(y).max(), 1))


def test_shard_map_of_a_matrix_that_all_share(eight_devices):
    mesh = Mesh(np.array(eight_devices), ("b",))
    a, _, _ = problem(5, 3, None, np.float64, batch=())
    y = rng_for("y").standard_normal((8, 5, 1))

    def local(a, y, lam):
        return jnp.sin(jaxinv.tikhonov_solve(a, y, lam))

    split = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("b"), P()), out_specs=P("b"))
    got = jax.jit(jax.grad(lambda a, lam: jnp.sum(split(a, y, lam)), (0, 1)))(a, 0.1)
    want = jax.grad(lambda a, lam: jnp.sum(local(a, y, lam)), (0, 1))(a, 0.1)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=0, atol=1e-12 * np.abs(w).max())


ONES = np.ones((3, 2))


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        ("tikhonov_pinv", (np.ones(3), 1.0), ValueError, "expected a of shape (..., m, n), got shape (3,)"),
        ("tikhonov_pinv", (ONES, 1j), TypeError, "expected lam to be real, got dtype complex128"),
        ("tikhonov_pinv", (ONES, None), TypeError, "expected an array, got NoneType"),
        (
            "tikhonov_pinv",
            (ONES, 1.0, np.ones((2, 3))),
            ValueError,
            "expected penalty of shape (..., p, 2), got shape (2, 3)",
        ),
        (
            "tikhonov_solve",
            (ONES, np.ones((2, 1)), 1.0),
            ValueError,
            "expected b of shape (3,) or (..., 3, k), got shape (2, 1)",
        ),
        (
            "tikhonov_solve",
            (np.ones((2, 3, 2)), np.ones(3), np.ones(3)),
            ValueError,
            "expected batch dimensions that broadcast, got (2,) and (3,)",
        ),
    ],
)
def test_bad_arguments(function, arguments, error, message):
    with pytest.raises(error) as caught:
        getattr(jaxinv, function)(*arguments)
    assert str(caught.value) == f"jaxinv.{function}: {message}"
