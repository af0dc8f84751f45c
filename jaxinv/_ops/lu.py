"""LU with partial pivoting, and solutions by its factors.

lu_factor(a, structure) -> lu, permutation, info: a[permutation] = L U, L below the diagonal of `lu` (its own
diagonal is 1), U on and above it; all NaN where info is not 0. It has no derivative of its own. Of positive
definite matrices it is Cholesky's factorisation without its square roots: U = D Lᴴ, rows in order.

lu_solve(a, lu, permutation, b, structure, transpose) -> x with op(a) x = b, op = identity or transpose. `a`
is never read: it carries the derivative, dx = lu_solve(db − op(da) x), by the same factors. So a program has
one factorisation, forward and backward, to any order.
"""

import functools

import jax
from jax import numpy as jnp

from jaxinv._ops import elimination
from jaxinv._ops.structure import is_pos, view
from jaxinv._ops.triple_product import dot
from jaxinv._primitive import Operation, define


def _factor_results(a, *, structure):
    return [(a.shape[-2:], a.dtype), (a.shape[-1:], jnp.dtype(jnp.int32)), ((), jnp.dtype(jnp.int32))]


def _factor_portable(a, *, structure):
    lu, permutation, info, _ = elimination.lu(view(a, structure), is_pos(structure))
    return [lu, permutation, info]


lu_factor: Operation = define("lu_factor", results=_factor_results, portable=_factor_portable)


@lu_factor.def_jvp
def _factor_jvp(primals, tangents, **static):
    return lu_factor(*primals, **static), [None, None, None]


@lu_factor.def_jet
def _factor_jet(primals, series, **static):
    return lu_factor(*primals, **static), [None, None, None]


def _solve_results(a, lu, permutation, b, *, structure, transpose):
    return [(b.shape[-2:], b.dtype)]


def _solve_portable(a, lu, permutation, b, *, structure, transpose):
    return [elimination.lu_solve(lu, permutation, b, transpose)]


lu_solve: Operation = define("lu_solve", results=_solve_results, portable=_solve_portable, ranks=(2, 2, 1, 2))


@lu_solve.def_jvp
def _solve_jvp(primals, tangents, *, structure, transpose):
    a, *factors, _ = primals
    (x,) = lu_solve(*primals, structure=structure, transpose=transpose)
    rhs = right_hand_side(tangents[0], tangents[-1], x, structure, transpose)
    if rhs is None:
        return [x], [None]
    return [x], lu_solve(a, *factors, rhs, structure=structure, transpose=transpose)


@lu_solve.def_linear_transpose
def _solve_transpose(ct, index, operands, *, structure, transpose):
    (ct_b,) = lu_solve(*operands[:3], ct, structure=structure, transpose=not transpose)
    return ct_b


@lu_solve.def_jet
def _solve_jet(primals, series, *, structure, transpose):
    a, *factors, b = primals
    solution = functools.partial(lu_solve, a, *factors, structure=structure, transpose=transpose)
    return solve_series(lambda b: solution(b)[0], series[0], b, series[-1], structure, transpose)


@lu_solve.def_fold
def _solve_fold(operands, *, structure, transpose):
    *factors, b = operands
    (x,) = lu_solve(*factors, fold(b), structure=structure, transpose=transpose)
    return [unfold(x, b.shape)]


def fold(b: jax.Array) -> jax.Array:
    """(f, ..., n, k) -> (..., n, f k): one matrix solves for many right-hand sides."""
    b = jnp.moveaxis(b, 0, -2)
    return b.reshape(*b.shape[:-2], b.shape[-2] * b.shape[-1])


def unfold(x: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """The way back to `shape`."""
    f, *rest, k = shape
    return jnp.moveaxis(x.reshape(*rest, f, k), -2, 0)


def right_hand_side(da, db, x, structure: str, transpose: bool) -> jax.Array | None:
    """db − op(H(da)) x, of which the tangent of x is the solution. None stands for zero."""
    if da is None:
        return db
    product = dot(view(da, structure), x, transpose)
    return -product if db is None else db - product


def solve_series(solve, a_series, b, b_series, structure: str, transpose: bool):
    """Taylor coefficients of x: op(A₀) X_k = B_k − Σ_{j=1…k} op(A_j) X_{k−j}."""
    x, a_series = [solve(b)], [view(term, structure) for term in a_series]
    for k, term in enumerate(b_series, 1):
        rhs = term - sum(dot(a_series[j - 1], x[k - j], transpose) for j in range(1, k + 1))
        x.append(solve(rhs))
    return [x[0]], [x[1:]]
