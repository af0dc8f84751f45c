"""The one factory of JAX primitives: abstract evaluation, batching, sharding and lowering of an operation.

Every operation of jaxinv maps matrices to matrices (or to vectors or one value per matrix) over leading
batch dimensions that all operands share. `define` takes what differs and derives the rest.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.experimental import jet
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir, xla
from jax.sharding import PartitionSpec

from jaxinv import _native

_MATRIX = 2  # dimensions of a matrix; what stands before them is batch


class Operation:
    """A primitive with its rules. Call it to bind; results come as a list."""

    def __init__(self, name, results, portable, ranks, native):
        self.name = name
        self._results = results
        self._ranks = ranks
        self._fold: Callable | None = None
        self.primitive = Primitive(f"jaxinv_{name}")
        self.primitive.multiple_results = True
        self.primitive.def_impl(functools.partial(xla.apply_primitive, self.primitive))
        self.primitive.def_abstract_eval(self._abstract_eval)
        batching.primitive_batchers[self.primitive] = self._batch
        portable_lowering = mlir.lower_fun(portable, multiple_results=True)
        mlir.register_lowering(self.primitive, portable_lowering)
        for platform in _native.PLATFORMS if native else ():
            try:
                mlir.register_lowering(
                    self.primitive,
                    functools.partial(self._lower, platform, portable_lowering),
                    platform=platform,
                )
            except NotImplementedError:  # this jax does not know the platform
                pass

    def __call__(self, *operands, **static) -> list[jax.Array]:
        # Inside shard_map a rule may meet one operand that varies over a mesh axis and one that does
        # not; a primitive has to be given operands that agree.
        varying = [jax.typeof(x).mat.varying for x in operands]
        union = frozenset().union(*varying)
        operands = [
            x if axes == union else lax.pcast(x, tuple(sorted(union - axes, key=str)), to="varying")
            for x, axes in zip(operands, varying, strict=True)
        ]
        return self.primitive.bind(*operands, **static)

    def def_jvp(self, rule: Callable) -> Callable:
        """rule(primals, tangents, **static) -> (results, tangents); None stands for a zero tangent."""

        def jvp(primals, tangents, **static):
            tangents = [None if isinstance(t, ad.Zero) else t for t in tangents]
            out, out_tangents = rule(primals, tangents, **static)
            return out, [
                ad.Zero(jax.typeof(x).to_tangent_aval()) if t is None else t
                for x, t in zip(out, out_tangents, strict=True)
            ]

        ad.primitive_jvps[self.primitive] = jvp
        return rule

    def def_linear_transpose(self, rule: Callable) -> Callable:
        """rule(cotangent, index, operands, **static) -> cotangent of operand `index`, the linear one."""

        def transpose(cotangents, *operands, **static):
            (index,) = [i for i, x in enumerate(operands) if ad.is_undefined_primal(x)]
            out: list[Any] = [None] * len(operands)
            (ct,) = cotangents
            if isinstance(ct, ad.Zero):
                out[index] = ad.Zero(operands[index].aval.to_ct_aval())
            else:
                out[index] = rule(ct, index, operands, **static)
            return out

        ad.primitive_transposes[self.primitive] = transpose
        return rule

    def def_jet(self, rule: Callable) -> Callable:
        """rule(primals, series, **static) -> (results, series of each); None stands for a zero series.

        A series holds Taylor coefficients, from the first order on, at least one.
        """

        def taylor(primals, series, **static):
            out, out_series = rule(primals, series, **static)
            return out, [jet.zero_series if terms is None else terms for terms in out_series]

        jet.jet_rules[self.primitive] = taylor
        return rule

    def refuse_jet(self, *functions: str) -> None:
        """Taylor mode raises, and names the public functions that the operation serves."""

        def refuse(primals, series, **static):
            raise NotImplementedError(
                f"{', '.join(f'jaxinv.{name}' for name in functions)}: no rule for Taylor mode "
                f"(jax.experimental.jet), nest jax.jvp instead; got a series of order {len(series[0])}"
            )

        jet.jet_rules[self.primitive] = refuse

    def def_fold(self, rule: Callable) -> Callable:
        """rule(operands, **static) -> results: vmap where the last operand alone is batched, at its front.

        The results have the new dimension at their front too.
        """
        self._fold = rule
        return rule

    def _batch_rank(self, aval) -> int:
        return aval.ndim - (self._ranks[0] if self._ranks else _MATRIX)

    def _abstract_eval(self, *avals, **static):
        first = avals[0]
        batch = first.shape[: self._batch_rank(first)]
        spec = PartitionSpec(*self._batch_spec(avals))
        out = []
        for shape, dtype in self._results(*avals, **static):
            sharding = first.sharding.update(spec=PartitionSpec(*spec, *([None] * len(shape))))
            out.append(first.update(shape=(*batch, *shape), dtype=dtype, weak_type=False, sharding=sharding))
        return out

    def _batch_spec(self, avals) -> list:
        """How the batch dimensions are sharded (explicit sharding); matrix dimensions must not be."""
        rank = self._batch_rank(avals[0])
        merged: list = [None] * rank
        for aval, own in zip(avals, self._ranks or [_MATRIX] * len(avals), strict=True):
            if aval.ndim - own != rank or aval.shape[:rank] != avals[0].shape[:rank]:
                raise TypeError(
                    f"jaxinv_{self.name}: operands must have equal batch dimensions, got shapes "
                    f"{[a.shape for a in avals]}"
                )
            spec, matrix = aval.sharding.spec[:rank], aval.sharding.spec[rank:]
            if any(axis is not None for axis in matrix):
                raise ValueError(
                    f"jaxinv_{self.name}: the two matrix dimensions must not be sharded, got "
                    f"{aval.sharding.spec}"
                )
            for i, axis in enumerate(spec):
                if merged[i] is not None and axis is not None and merged[i] != axis:
                    raise ValueError(
                        f"jaxinv_{self.name}: operands must be sharded alike along the batch, got "
                        f"{[a.sharding.spec for a in avals]}"
                    )
                merged[i] = merged[i] if axis is None else axis
        return merged

    def _batch(self, operands, dims, **static):
        size, axis = next(
            (x.shape[d], jax.typeof(x).sharding.spec[d])
            for x, d in zip(operands, dims, strict=True)
            if d is not None
        )
        *others, last = dims
        if self._fold and axis is None and last is not None and all(d is None for d in others):
            # An axis that is sharded (explicitly) is no longer where it is folded.
            out = self._fold((*operands[:-1], jnp.moveaxis(operands[-1], last, 0)), **static)
            return out, [0] * len(out)
        operands = [
            _broadcast_front(x, size, axis) if d is None else jnp.moveaxis(x, d, 0)
            for x, d in zip(operands, dims, strict=True)
        ]
        out = self(*operands, **static)
        return out, [0] * len(out)

    def _lower(self, platform, portable_lowering, ctx, *operands, **static):
        aval = ctx.avals_in[0]
        n = aval.shape[-1]
        plan = _native.lowered_plan(platform, self.name, n, aval.dtype, static)
        if not plan["native"]:
            return portable_lowering(ctx, *operands, **static)
        rank = self._batch_rank(aval)
        results = len(ctx.avals_out)
        if plan["workspace"]:
            # Scratch memory is one more result, so that it is sharded with the batch, and dropped.
            scratch = jax.core.ShapedArray((*aval.shape[:rank], plan["workspace"]), np.uint8)
            ctx = ctx.replace(avals_out=[*ctx.avals_out, scratch])
        extra = {"mhlo.frontend_attributes": mlir.ir_attribute({"num_batch_dims": str(rank)})}
        avals = (*ctx.avals_in, *ctx.avals_out)
        if all(isinstance(d, int) for a in avals for d in a.shape):
            extra["sdy.sharding_rule"] = _sharding_rule(rank, ctx.avals_in, ctx.avals_out)
        # Attributes are NumPy-typed: a Python int would arrive as i64.
        attributes = {k: np.bool_(v) if isinstance(v, bool) else v for k, v in static.items()}
        lowering = jax.ffi.ffi_lowering(_native.target(self.name), extra_attributes=extra)
        return lowering(ctx, *operands, **attributes)[:results]


def define(
    name: str,
    *,
    results: Callable[..., Sequence[tuple[tuple[int, ...], Any]]],
    portable: Callable[..., Sequence[jax.Array]],
    ranks: tuple[int, ...] = (),
    native: bool = True,
) -> Operation:
    """Makes the primitive `jaxinv_<name>`.

    Args:
      name: the operation, also the name of its custom call on every platform (`jaxinv_<name>`).
      results: (*avals, **static) -> the shape after the batch dimensions and the dtype of each result.
      portable: (*operands, **static) -> the results in plain jax.numpy; serves every platform for
        which the plan names no native kernel.
      ranks: how many dimensions of each operand are its own, those before are batch; where not given, 2 of
        each. The first operand holds the matrices (..., n, n) that the plan is asked about.
      native: False for an operation of which no backend has a kernel: the plan is not asked.
    """
    return Operation(name, results, portable, ranks, native)


def _broadcast_front(x: jax.Array, size: int, axis) -> jax.Array:
    """Adds a leading dimension of `size`, sharded along `axis` like that of the batched operands."""
    sharding = jax.typeof(x).sharding
    out_sharding = None
    if not sharding.mesh.empty:
        out_sharding = sharding.update(spec=PartitionSpec(axis, *sharding.spec))
    shape = (size, *x.shape)
    return lax.broadcast_in_dim(x, shape, range(1, x.ndim + 1), out_sharding=out_sharding)


def _sharding_rule(rank: int, avals_in, avals_out) -> mlir.ir.Attribute:
    """Shardy's rule: batch dimensions shared by all, each matrix dimension a factor of its own."""
    names = ("ijklmnopqrstuvwxyz"[i] if i < 18 else f"z_{i - 17}" for i in range(1 << 20))
    sizes = {next(names): d for d in avals_in[0].shape[:rank]}
    batch = list(sizes)

    def factors(aval):
        matrix = {next(names): d for d in aval.shape[rank:]}
        sizes.update(matrix)
        return f"[{', '.join([*batch, *matrix])}]"

    left = ", ".join(factors(a) for a in avals_in)
    right = ", ".join(factors(a) for a in avals_out)
    matrix = ", ".join(f for f in sizes if f not in batch)
    text = ", ".join(f"{f}={d}" for f, d in sizes.items())
    return mlir.ir.Attribute.parse(
        f"#sdy.op_sharding_rule<({left})->({right}) {{{text}}} need_replication={{{matrix}}}, custom>"
    )
