"""Solvers for lineax, and so for optimistix and diffrax: pass one where they take a linear solver.

    lineax.linear_solve(operator, b, solver=jaxinv.lineax.Direct())
    optimistix.Newton(rtol, atol, linear_solver=jaxinv.lineax.Direct())

Needs lineax (the extra `lineax`); importing jaxinv does not import it.
"""

from typing import Any

import equinox as eqx
import jax
import lineax
from jax import numpy as jnp
from lineax.internal import (
    PackedStructures,
    pack_structures,
    ravel_vector,
    transpose_packed_structures,
    unravel_solution,
)

from jaxinv._ops.floating_point import compute_dtype
from jaxinv._ops.lu import lu_factor, lu_solve
from jaxinv._ops.pinv import adjoint, product, pseudo_inverse_factors
from jaxinv.linalg.pinv import default_rtol


class DirectState(eqx.Module):
    """Factors of a square operator, of which the transpose may be meant."""

    lu: jax.Array
    permutation: jax.Array
    info: jax.Array
    structures: PackedStructures
    transpose: bool = eqx.field(static=True)


class Direct(lineax.AbstractLinearSolver[DirectState]):
    """Solver of square systems, as `jaxinv.solve`: by LU with partial pivoting (LAPACK's getrf, getrs).

    `init` factors the matrix of the operator; `compute` substitutes. One factorisation serves all right-hand
    sides, transposes and derivatives. Operators of any kind, pytrees included; float16, bfloat16 (computed in
    float32), float32, float64, complex64, complex128.

    A singular matrix, or one with a NaN or Inf, gives `lineax.RESULTS.singular`, and with `throw=False` a
    solution of NaN. `stats["info"]` is the info of `jaxinv.solve_ex`. An operator that is not square raises
    ValueError. Differentiable in operator and right-hand side, as `lineax.linear_solve` does it.
    """

    def init(self, operator: lineax.AbstractLinearOperator, options: dict[str, Any]) -> DirectState:
        del options
        if operator.in_size() != operator.out_size():
            raise ValueError(
                "jaxinv.lineax.Direct: expected a square operator, got shape "
                f"({operator.out_size()}, {operator.in_size()})"
            )
        matrix = operator.as_matrix()
        factors = lu_factor(matrix.astype(compute_dtype(matrix.dtype)))
        return DirectState(*factors, pack_structures(operator), False)

    def compute(self, state: DirectState, vector, options: dict[str, Any]):
        del options
        b = ravel_vector(vector, state.structures)
        dtype = jnp.result_type(state.lu, b)
        lu, b = state.lu.astype(dtype), b.astype(dtype)
        (x,) = lu_solve(lu, lu, state.permutation, b[:, None], transpose=state.transpose)
        result = lineax.RESULTS.where(state.info == 0, lineax.RESULTS.successful, lineax.RESULTS.singular)
        return unravel_solution(x[:, 0], state.structures), result, {"info": state.info}

    def transpose(self, state: DirectState, options: dict[str, Any]):
        structures = transpose_packed_structures(state.structures)
        return DirectState(state.lu, state.permutation, state.info, structures, not state.transpose), options

    def conj(self, state: DirectState, options: dict[str, Any]):
        conjugate = DirectState(
            state.lu.conj(), state.permutation, state.info, state.structures, state.transpose
        )
        return conjugate, options

    def assume_full_rank(self) -> bool:
        return True


class PseudoInverseState(eqx.Module):
    """The pseudo-inverse left rightᴴ of an operator, and its rank."""

    left: jax.Array
    right: jax.Array
    rank: jax.Array
    structures: PackedStructures


class PseudoInverse(lineax.AbstractLinearSolver[PseudoInverseState]):
    """Least-squares solver of minimum norm for operators of any shape and rank, as `jaxinv.lstsq`.

    Attributes:
      rtol: singular values up to rtol times the largest count as zero; None is the default of `jaxinv.pinv`.

    `stats["rank"]` is the rank. A matrix with a NaN or Inf gives `lineax.RESULTS.singular`. Differentiable
    along operators of constant rank (Golub & Pereyra), as `lineax.linear_solve` does it.
    """

    rtol: float | None = None

    def init(self, operator: lineax.AbstractLinearOperator, options: dict[str, Any]) -> PseudoInverseState:
        del options
        matrix = operator.as_matrix()
        matrix = matrix.astype(compute_dtype(matrix.dtype))
        rtol = default_rtol(matrix) if self.rtol is None else self.rtol
        kind = jnp.finfo(matrix.dtype).dtype
        left, right, _, rank = pseudo_inverse_factors(matrix, jnp.full((1, 1), rtol, kind))
        return PseudoInverseState(left, right, rank[0, 0], pack_structures(operator))

    def compute(self, state: PseudoInverseState, vector, options: dict[str, Any]):
        del options
        b = ravel_vector(vector, state.structures)
        x = product(state.left, product(adjoint(state.right), b[:, None]))
        return unravel_solution(x[:, 0], state.structures), lineax.RESULTS.successful, {"rank": state.rank}

    def transpose(self, state: PseudoInverseState, options: dict[str, Any]):
        structures = transpose_packed_structures(state.structures)
        return PseudoInverseState(state.right.conj(), state.left.conj(), state.rank, structures), options

    def conj(self, state: PseudoInverseState, options: dict[str, Any]):
        return (
            PseudoInverseState(state.left.conj(), state.right.conj(), state.rank, state.structures),
            options,
        )

    def assume_full_rank(self) -> bool:
        return False
