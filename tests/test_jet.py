"""Taylor mode: coefficients of compositions with inverses and solutions against nested forward mode."""

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.experimental import jet

import jaxinv

pytestmark = pytest.mark.unoptimised

ORDER = 3


def derivatives(f, primals, series):
    """f and its derivatives along t at 0, by nesting jvp: primals and series as for jet."""

    def along(t):
        def argument(x, terms):
            out, factor = x, 1.0
            for k, term in enumerate(terms, 1):
                factor = factor * t / k
                out = out + factor * term
            return out

        return f(*[argument(x, terms) for x, terms in zip(primals, series, strict=True)])

    out = [along]
    for _ in range(len(series[0])):
        out.append(lambda t, g=out[-1]: jax.jvp(g, (t,), (1.0,))[1])
    return jax.jit(lambda: [g(0.0) for g in out])()


FUNCTIONS = {
    "inv": (lambda a, b: jaxinv.inv(a)),
    "inv_ex": (lambda a, b: jaxinv.inv_ex(a).inverse),
    "inv of inv": (lambda a, b: jaxinv.inv(jaxinv.inv(a) + 3 * a)),
    "solve": jaxinv.solve,
    "solve_ex": (lambda a, b: jaxinv.solve_ex(a, b).x),
    "solve in a": (lambda a, b: jaxinv.solve(a, jnp.ones_like(b))),
    "solve in b": (lambda a, b: jaxinv.solve(jnp.eye(a.shape[-1]) * 3 + 1, b)),
    "solve with a vector": (lambda a, b: jaxinv.solve(a, b[0, :, 0])),
    "inv_rows": (lambda a, b: jaxinv.inv_rows(a, 2)),
    "inv_cols": (lambda a, b: jaxinv.inv_cols(a, [1, 0])),
    "derivative of inv": (lambda a, b: jax.jvp(jaxinv.inv, (a,), (2 * a + 1,))[1]),
    "gradient of solve": (lambda a, b: jax.grad(lambda a: jnp.sum(jaxinv.solve(a, b) ** 2))(a)),
    "unbatched": (lambda a, b: jaxinv.solve(a[0], b)),
    "det": (lambda a, b: jaxinv.det(a)),
    "slogdet": (lambda a, b: jaxinv.slogdet(a).logabsdet),
    "inv_det": (lambda a, b: jaxinv.inv_det(a).det),
    "inv_slogdet": (lambda a, b: jaxinv.inv_slogdet(a).logabsdet),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("n", (3, 17))
@pytest.mark.portable(n=(3,), name=("inv", "solve in a", "det"))
@pytest.mark.thinned("n", "name")
def test_against_nested_forward_mode(path, name, n):
    f = FUNCTIONS[name]
    a, *da = (matrices.well_conditioned((2, n, n), np.float64, i, kappa=3) for i in range(ORDER + 1))
    rng = matrices.rng_for("jet", n)
    b, *db = (rng.standard_normal((2, n, 3)) for _ in range(ORDER + 1))
    out, terms = jax.jit(lambda *series: jet.jet(f, (a, b), series))(da, db)
    expected = derivatives(f, (a, b), (da, db))
    for got, want in zip([out, *terms], expected, strict=True):
        size = np.max(np.abs(want), initial=1)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e4 * n * matrices.eps(np.float64) * size)


@pytest.mark.parametrize(
    ("f", "names"),
    [
        (jaxinv.pinv, "jaxinv.pinv, jaxinv.lstsq"),
        (lambda a: jaxinv.lstsq(a, np.ones(3)).x, "jaxinv.pinv, jaxinv.lstsq"),
        (lambda a: jaxinv.tikhonov_pinv(a, 1.0), "jaxinv.tikhonov_solve, jaxinv.tikhonov_pinv"),
        (lambda a: jaxinv.tikhonov_solve(np.eye(3), a, 1.0), "jaxinv.tikhonov_solve, jaxinv.tikhonov_pinv"),
    ],
)
def test_refused_with_what_to_do_instead(f, names):
    with pytest.raises(NotImplementedError) as caught:
        jet.jet(f, (np.eye(3),), ([np.eye(3)] * 2,))
    message = "no rule for Taylor mode (jax.experimental.jet), nest jax.jvp instead; got a series of order 2"
    assert str(caught.value) == f"{names}: {message}"


def test_series_of_the_inverse_of_a_line():
    # (I + t N)⁻¹ = I − t N + t² N² for a nilpotent N: every coefficient exact.
    shift = np.eye(3, k=1)
    out, terms = jet.jet(jaxinv.inv, (np.eye(3),), ([shift, 0 * shift, 0 * shift],))
    np.testing.assert_array_equal(out, np.eye(3))
    np.testing.assert_allclose(terms, [-shift, 2 * shift @ shift, 0 * shift], rtol=0, atol=1e-12)


def test_right_hand_side_of_an_ode_with_a_mass_matrix():
    # M(y) y' = f(y): Taylor coefficients of the solution by jet, against the exact solution tanh.
    def derivative(y):
        mass = jnp.eye(2) * (2 + y[0] ** 2) + 0.5
        return jaxinv.solve(mass, mass @ (1 - y**2))

    y0 = jnp.zeros(2)
    terms = [derivative(y0)]
    for _ in range(4):
        first, rest = jet.jet(derivative, (y0,), (terms,))
        terms = [first, *rest]
    # tanh = t − 2 t³/3! + 16 t⁵/5!
    np.testing.assert_allclose(np.array(terms)[:, 0], [1, 0, -2, 0, 16], rtol=0, atol=1e-10)
