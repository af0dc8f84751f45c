"""Solvers for lineax, and so for optimistix and diffrax: pass one where they take a linear solver.

    lineax.linear_solve(operator, b, solver=jaxinv.lineax.Direct())
    optimistix.Newton(rtol, atol, linear_solver=jaxinv.lineax.Direct())

Needs lineax (the extra `lineax`); importing jaxinv does not import it.
"""

import dataclasses
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
from jaxinv._ops.solve import solve_systems
from jaxinv._ops.structure import TRIANGULAR, bad_column
from jaxinv.linalg.pinv import default_rtol


class DirectState(eqx.Module):
    """What is done once to a square operator, of which the transpose may be meant.

    Attributes:
      matrix: LU factors; of triangular and diagonal operators their matrix.
      permutation: the rows of LU; None where `matrix` is no factorisation.
      info: as `jaxinv.solve_ex`.
      structures: of what the operator takes and gives.
      structure: what is known of the matrix.
      transpose: whether solutions are those of the transpose.
    """

    matrix: jax.Array
    permutation: jax.Array | None
    info: jax.Array
    structures: PackedStructures
    structure: str = eqx.field(static=True)
    transpose: bool = eqx.field(static=True)


class Direct(lineax.AbstractLinearSolver[DirectState]):
    """Solver of square systems, as `jaxinv.solve`: by LU with partial pivoting (LAPACK's getrf, getrs).

    `init` factors the matrix of the operator; `compute` substitutes. One factorisation serves all right-hand
    sides, transposes and derivatives. Operators of any kind, pytrees included; float16, bfloat16 (computed in
    float32), float32, float64, complex64, complex128. The operator's tags choose `assume_a`: diagonal, upper
    or lower triangular, positive semidefinite ("pos": Cholesky; one triangle is read).

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
        structure = _structure(operator)
        matrix = operator.as_matrix()
        matrix = matrix.astype(compute_dtype(matrix.dtype))
        if structure in _SUBSTITUTED:
            matrix, permutation, info = matrix, None, bad_column(matrix, structure)
        else:
            matrix, permutation, info = lu_factor(matrix, structure=structure)
        return DirectState(matrix, permutation, info, pack_structures(operator), structure, False)

    def compute(self, state: DirectState, vector, options: dict[str, Any]):
        del options
        b = ravel_vector(vector, state.structures)
        dtype = jnp.result_type(state.matrix, b)
        matrix, b = state.matrix.astype(dtype), b.astype(dtype)[:, None]
        static = {"structure": state.structure, "transpose": state.transpose}
        if state.permutation is None:
            (x,) = solve_systems(matrix, b, **static)
        else:
            (x,) = lu_solve(matrix, matrix, state.permutation, b, **static)
        result = lineax.RESULTS.where(state.info == 0, lineax.RESULTS.successful, lineax.RESULTS.singular)
        return unravel_solution(x[:, 0], state.structures), result, {"info": state.info}

    def transpose(self, state: DirectState, options: dict[str, Any]):
        structures = transpose_packed_structures(state.structures)
        return dataclasses.replace(state, structures=structures, transpose=not state.transpose), options

    def conj(self, state: DirectState, options: dict[str, Any]):
        return dataclasses.replace(state, matrix=state.matrix.conj()), options

    def assume_full_rank(self) -> bool:
        return True


_SUBSTITUTED = (*TRIANGULAR, "diagonal")


def _structure(operator: lineax.AbstractLinearOperator) -> str:
    """What the tags of an operator say of its matrix."""
    if lineax.is_diagonal(operator):
        return "diagonal"
    if lineax.is_upper_triangular(operator):
        return "upper triangular"
    if lineax.is_lower_triangular(operator):
        return "lower triangular"
    return "pos upper" if lineax.is_positive_semidefinite(operator) else "general"


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
        return dataclasses.replace(
            state, left=state.right.conj(), right=state.left.conj(), structures=structures
        ), options

    def conj(self, state: PseudoInverseState, options: dict[str, Any]):
        return dataclasses.replace(state, left=state.left.conj(), right=state.right.conj()), options

    def assume_full_rank(self) -> bool:
        return False
