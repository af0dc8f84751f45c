"""Solutions of linear systems: fused for small matrices, by LU factors for the others.

solve(a, b) -> x with op(a) x = b, op = identity or transpose, and with `with_info` LU's info. Its derivative
solves once more: for small matrices that costs less than to write factors and read them again. Triangles,
which need no factorisation, are solved so whatever their size.
"""

import functools

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._ops import diagonal, elimination
from jaxinv._ops.lu import fold, lu_factor, lu_solve, right_hand_side, solve_series, unfold
from jaxinv._ops.structure import TRIANGULAR, is_pos, triangular_solve, view
from jaxinv._primitive import Operation, define

FUSED_MAX = 16  # largest n, and most right-hand sides, of the fused operation


def _results(a, b, *, structure, transpose, with_info):
    out = [(b.shape[-2:], b.dtype)]
    if with_info:
        out.append(((), jnp.dtype(jnp.int32)))
    return out


def _portable(a, b, *, structure, transpose, with_info):
    if structure in TRIANGULAR:
        x, info = triangular_solve(a, b, structure, transpose)
    else:
        lu, permutation, info, _ = elimination.lu(view(a, structure), is_pos(structure))
        x = elimination.lu_solve(lu, permutation, b, transpose)
    return [x, info] if with_info else [x]


solve: Operation = define("solve", results=_results, portable=_portable)


@solve.def_jvp
def _jvp(primals, tangents, *, structure, transpose, with_info):
    out = solve(*primals, structure=structure, transpose=transpose, with_info=with_info)
    rhs = right_hand_side(*tangents, out[0], structure, transpose)
    out_tangents: list[jax.Array | None] = [None]
    if rhs is not None:
        out_tangents = solve(primals[0], rhs, structure=structure, transpose=transpose, with_info=False)
    return out, out_tangents + [None] * with_info


@solve.def_linear_transpose
def _transpose(ct, index, operands, *, structure, transpose, with_info):
    (ct_b,) = solve(operands[0], ct, structure=structure, transpose=not transpose, with_info=with_info)
    return ct_b


def is_direct(a: jax.Array, structure: str) -> bool:
    """Whether each right-hand side, however many there are, is solved for without factors in memory."""
    return structure in TRIANGULAR or (is_pos(structure) and a.shape[-1] <= FUSED_MAX)


def _solution(a, *, structure, transpose, with_info):
    """b -> the results of `solve`, for any number of right-hand sides; what is done to a is done once."""
    static = {"structure": structure, "transpose": transpose}
    if is_direct(a, structure):
        return functools.partial(solve, a, **static, with_info=with_info)
    lu, permutation, info = lu_factor(a, structure=structure)

    def solution(b):
        x = lu_solve(a, lu, permutation, b, **static)
        return [*x, info] if with_info else x

    return solution


@solve.def_jet
def _jet(primals, series, *, structure, transpose, with_info):
    a, b = primals
    solution = _solution(a, structure=structure, transpose=transpose, with_info=with_info)
    _, x_series = solve_series(lambda b: solution(b)[0], series[0], b, series[1], structure, transpose)
    return solution(b), x_series + [None] * with_info


@solve.def_fold
def _fold(operands, *, structure, transpose, with_info):
    a, b = operands
    x, *info = _solution(a, structure=structure, transpose=transpose, with_info=with_info)(fold(b))
    return [unfold(x, b.shape), *(jnp.broadcast_to(v, (b.shape[0], *v.shape)) for v in info)]


def solve_systems(
    a: jax.Array, b: jax.Array, *, structure: str, transpose: bool = False, with_info: bool = False
) -> list[jax.Array]:
    """x with op(a) x = b and, if asked for, info; batch dimensions of a and b broadcast.

    Where a has size 1 along a batch dimension and b has not, that dimension is folded into the columns of
    b: a matrix is factored once, whatever number of right-hand sides it meets.
    """
    a_batch, b_batch = a.shape[:-2], b.shape[:-2]
    batch = jnp.broadcast_shapes(a_batch, b_batch)
    rank = len(batch)
    a, b = (lax.expand_dims(x, range(rank + 2 - x.ndim)) for x in (a, b))
    folded = [
        i
        for i in range(rank)
        if a.shape[i] == 1 and b.shape[i] != 1 and jax.typeof(b).sharding.spec[i] is None
    ]
    if folded:
        i = folded[0]
        front = jnp.moveaxis(b, i, 0)
        out = solve_systems(
            jnp.squeeze(a, i), fold(front), structure=structure, transpose=transpose, with_info=with_info
        )
        x = unfold(out[0], (front.shape[0], *out[0].shape[:-1], front.shape[-1]))
        return [jnp.moveaxis(x, 0, i), *(jnp.broadcast_to(jnp.expand_dims(v, i), batch) for v in out[1:])]
    a, b = (jnp.broadcast_to(x, (*batch, *x.shape[-2:])) for x in (a, b))
    if structure == "diagonal":
        return diagonal.solve(a, b, with_info=with_info)
    columns = b.shape[-1]
    few = a.shape[-1] <= FUSED_MAX and isinstance(columns, int) and columns <= FUSED_MAX
    if few or is_direct(a, structure):
        return solve(a, b, structure=structure, transpose=transpose, with_info=with_info)
    return _solution(a, structure=structure, transpose=transpose, with_info=with_info)(b)
