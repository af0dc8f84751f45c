"""assume_a: derivatives of what is computed, of both orders, from one factorisation."""

import functools

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads
from matrices import DTYPES, adjoint
from test_derivatives import count
from test_structures import FUNCTIONS, generate, hermitian, hide, keywords, read, some, structures

import jaxinv


@pytest.mark.unoptimised
@structures
@pytest.mark.parametrize("function", some("inv_slogdet", "solve"))
@pytest.mark.parametrize("dtype", [pytest.param("float64", marks=pytest.mark.slow), "complex128"])
@pytest.mark.thinned("structure", "function", every=2)
def test_check_grads(structure, function, dtype):
    """The derivative of what is computed: general matrices perturb entries that are not read."""
    rng = matrices.rng_for("grads", structure)
    n = 3
    a = matrices.normal(rng, (2, n, n), DTYPES[dtype])
    a = a @ adjoint(a) / n + np.eye(n) if "pos" in structure else a / n + 2 * np.eye(n)
    f = functools.partial(FUNCTIONS[function], **keywords(structure))
    if "slogdet" in function:  # the sign of a complex determinant is tested by the determinant
        whole, f = f, lambda a: (whole(a)[:-2], whole(a)[-1])
    check_grads(f, (a,), order=2, modes=("fwd", "rev"), eps=1e-5, atol=1e-4, rtol=1e-4)


@pytest.mark.unoptimised
def test_check_grads_by_factors():
    """Of sizes whose solutions keep the factorisation."""
    n, rng = 18, matrices.rng_for("grads", "factors")
    a, b = (matrices.normal(rng, (2, n, k), np.dtype(complex)) for k in (n, 2))

    def f(a, b):
        return jaxinv.solve(a, b, assume_a="pos"), FUNCTIONS["inv_rows"](a, assume_a="pos")

    a = a @ adjoint(a) / n + np.eye(n)
    check_grads(f, (a, b), order=2, modes=("fwd", "rev"), eps=1e-5, atol=1e-4, rtol=1e-4)


@structures
@pytest.mark.parametrize("n", (3, 20))
def test_gradient_of_what_is_read(structure, n):
    a = hide(structure, generate(structure, n, np.dtype(np.float32))[1][:2])

    def loss(a):
        return jnp.sum(jaxinv.inv(a, **keywords(structure)) ** 2)

    gradient = np.asarray(jax.grad(loss)(a))
    x = np.linalg.inv(hermitian(structure, a).astype(float))
    full = -2 * np.swapaxes(x, -1, -2) @ x @ np.swapaxes(x, -1, -2)
    if "pos" in structure:
        full = full + np.swapaxes(full, -1, -2) - full * np.eye(n)
    np.testing.assert_array_equal(gradient[:, ~read(structure, n)], 0)
    error = np.abs(gradient - np.where(read(structure, n), full, 0)).max((-2, -1))
    assert np.all(error <= 1e-5 * n * matrices.norm1(x) ** 3 * matrices.condition(hermitian(structure, a)))


@structures
def test_one_factorisation(structure):
    a = generate(structure, 20, np.dtype(np.float32))[1][:1]
    options = keywords(structure)

    def solution(a):
        return jnp.sum(jaxinv.solve(a, jnp.ones((20, 2), a.dtype), **options) ** 2)

    def log(a):
        x, _, logabsdet = jaxinv.inv_slogdet(a, **options)
        return jnp.sum(x) + jnp.sum(logabsdet)

    for f in (jax.grad(solution), jax.grad(lambda a: jax.grad(solution)(a).sum())):
        assert count(jax.make_jaxpr(f)(a).jaxpr, "jaxinv_lu_factor") == ("pos" in structure)
    assert count(jax.make_jaxpr(jax.grad(log))(a).jaxpr, "jaxinv_inverse") == (structure != "diagonal")


@pytest.mark.unoptimised
@pytest.mark.parametrize("structure", ["pos", "upper triangular", "diagonal"])
def test_det_at_every_rank(structure):
    """Values and both derivatives where the general determinant of H(a) has them."""
    a = np.stack([np.diag([2.0, 5, 3, 0]), np.diag([2.0, 0, 3, 0])])

    def everything(f):
        return jax.jit(jax.vmap(lambda a: (f(a), jax.grad(f)(a), jax.hessian(f)(a))))(a)

    got = everything(lambda a: jaxinv.det(a, **keywords(structure)))
    want = everything(lambda a: jaxinv.det(hermitian_jax(a, structure)))
    np.testing.assert_allclose(got[0], [0, 0], atol=1e-12)
    for x, y in zip(got[1:], want[1:], strict=True):
        np.testing.assert_allclose(x, y, atol=1e-10)


def hermitian_jax(a, structure):
    upper = jnp.triu(a)
    return {"pos": upper + jnp.triu(a, 1).T, "upper triangular": upper}.get(structure, a * jnp.eye(4))
