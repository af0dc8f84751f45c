"""Solutions of linear systems: fused for small matrices, by LU factors for the others.

solve(a, b) -> x with op(a) x = b, op = identity or transpose, and with `with_info` LU's info. Its derivative
solves once more: for small matrices that costs less than to write factors and read them again. Triangles,
which need no factorisation, are solved so whatever their size.
"""

import jax
from jax import lax
from jax import numpy as jnp

from jaxinv._ops import diagonal, elimination
from jaxinv._ops.lu import fold, lu_factor, lu_solve, right_hand_side, solve_series, unfold
from jaxinv._ops.structure import TRIANGULAR, bad_column, is_pos, triangular_solve, view
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


def _solution(a, *, structure, transpose):
    """(b -> x with op(a) x = b, info), for any number of right-hand sides by what is done once to a."""
    if structure in TRIANGULAR:
        static = {"structure": structure, "transpose": transpose, "with_info": False}
        return lambda b: solve(a, b, **static)[0], bad_column(a, structure)
    lu, permutation, info = lu_factor(a, structure=structure)
    factors = a, lu, permutation
    return lambda b: lu_solve(*factors, b, structure=structure, transpose=transpose)[0], info


@solve.def_jet
def _jet(primals, series, *, structure, transpose, with_info):
    a, b = primals
    solution, info = _solution(a, structure=structure, transpose=transpose)
    x, x_series = solve_series(solution, series[0], b, series[1], structure, transpose)
    return x + [info] * with_info, x_series + [None] * with_info


@solve.def_fold
def _fold(operands, *, structure, transpose, with_info):
    a, b = operands
    solution, info = _solution(a, structure=structure, transpose=transpose)
    out = [unfold(solution(fold(b)), b.shape)]
    if with_info:
        out.append(jnp.broadcast_to(info, (b.shape[0], *info.shape)))
    return out


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
    if structure in TRIANGULAR:
        return solve(a, b, structure=structure, transpose=transpose, with_info=with_info)
    if a.shape[-1] <= FUSED_MAX and isinstance(columns, int) and columns <= FUSED_MAX:
        return solve(a, b, structure=structure, transpose=transpose, with_info=with_info)
    solution, info = _solution(a, structure=structure, transpose=transpose)
    return [solution(b), info] if with_info else [solution(b)]
