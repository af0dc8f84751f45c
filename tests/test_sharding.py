"""Batches sharded over devices stay sharded, forward and backward, and no program gathers them."""

import re

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from matrices import transpose

import jaxinv
from jaxinv._ops.triple_product import triple_product

pytestmark = pytest.mark.unoptimised
SIZES = (3, 40)
_COLLECTIVES = re.compile(r"all-gather|all-to-all|collective-permute|all-reduce|reduce-scatter")


def mesh_of(devices, shape=(8,), names=("b",), kind=AxisType.Auto):
    return Mesh(np.array(devices).reshape(shape), names, axis_types=(kind,) * len(names))


def everything(a):
    """Results, tangents and cotangents of all functions: what has to stay where it is."""
    x, vjp = jax.vjp(jaxinv.inv, a)
    _, dx = jax.jvp(jaxinv.inv, (a,), (x,))
    slogdet, dslogdet = jax.jvp(jaxinv.inv_slogdet, (a,), (x,))
    det, ddet = jax.jvp(jaxinv.inv_det, (a,), (x,))
    (ga,) = jax.vjp(lambda a: jaxinv.inv_slogdet(a).logabsdet, a)[1](slogdet.logabsdet)
    own, dlog = jax.jvp(jaxinv.slogdet, (a,), (x,))
    out = x, vjp(x), dx, jaxinv.inv_ex(a), slogdet, dslogdet.logabsdet, det, ddet, ga
    return *out, own, dlog.logabsdet, *solutions(a)


def solutions(a):
    """The same of the functions that solve."""
    b = a[..., :2] + 1
    x, vjp = jax.vjp(jaxinv.solve, a, b)
    _, dx = jax.jvp(jaxinv.solve, (a, b), (b @ jnp.matrix_transpose(b), x))
    return jaxinv.solve_ex(a, b), vjp(x), dx, jaxinv.inv_rows(a, 2), jaxinv.inv_cols(a, [1]), jaxinv.det(a)


def assert_same(got, expected, n):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        gate = 1000 * n * matrices.eps(np.float64) * np.max(np.abs(y), initial=1)
        np.testing.assert_allclose(x, y, rtol=0, atol=gate)


def assert_sharded_alike(got, mesh, spec):
    for x in jax.tree.leaves(got):
        rank = len(spec)
        assert x.sharding.is_equivalent_to(
            NamedSharding(mesh, P(*spec, *[None] * (x.ndim - rank))), x.ndim
        ), x.sharding


@pytest.fixture(params=["auto", "explicit"])
def kind(request):
    return {"auto": AxisType.Auto, "explicit": AxisType.Explicit}[request.param]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.thinned("n", "kind", every=2)
def test_batch_stays_sharded(path, eight_devices, kind, n):
    mesh = mesh_of(eight_devices, kind=kind)
    a = matrices.well_conditioned((16, n, n), np.float64)
    expected = everything(a)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(a, NamedSharding(mesh, P("b")))
        compiled = jax.jit(everything).lower(sharded).compile()
        got = compiled(sharded)
    assert not _COLLECTIVES.findall(compiled.as_text())
    assert_sharded_alike(got, mesh, ["b"])
    assert_same(got, expected, n)


def test_batch_of_two_dimensions_over_a_mesh_of_two(eight_devices, kind):
    n = 3
    mesh = mesh_of(eight_devices, (4, 2), ("x", "y"), kind)
    a = matrices.well_conditioned((4, 6, n, n), np.float64)
    expected = everything(a)
    for spec in (["x", "y"], ["y", None], [None, "y"], ["x"]):
        with jax.set_mesh(mesh):
            sharded = jax.device_put(a, NamedSharding(mesh, P(*spec)))
            compiled = jax.jit(everything).lower(sharded).compile()
            got = compiled(sharded)
        assert not _COLLECTIVES.findall(compiled.as_text()), spec
        assert_sharded_alike(got, mesh, spec + [None] * (2 - len(spec)))
        assert_same(got, expected, n)


def test_one_dimension_over_two_mesh_axes(eight_devices, kind):
    mesh = mesh_of(eight_devices, (4, 2), ("x", "y"), kind)
    a = matrices.well_conditioned((16, 3, 3), np.float64)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(a, NamedSharding(mesh, P(("x", "y"))))
        compiled = jax.jit(everything).lower(sharded).compile()
        got = compiled(sharded)
    assert not _COLLECTIVES.findall(compiled.as_text())
    assert_sharded_alike(got, mesh, [("x", "y")])
    assert_same(got, everything(a), 3)


def test_eager_calls_keep_the_sharding(eight_devices, kind):
    mesh = mesh_of(eight_devices, kind=kind)
    a = matrices.well_conditioned((8, 4, 4), np.float64)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(a, NamedSharding(mesh, P("b")))
        x, info = jaxinv.inv_ex(sharded)
        gradient = jax.grad(lambda a: jnp.sum(jaxinv.inv(a) ** 2))(sharded)
    assert_sharded_alike((x, info, gradient), mesh, ["b"])
    assert_same(x, jaxinv.inv(a), 4)


def test_types_under_explicit_sharding(eight_devices):
    mesh = mesh_of(eight_devices, kind=AxisType.Explicit)
    seen = []

    @jax.jit
    def f(a):
        out = jaxinv.inv_ex(a), jaxinv.inv_slogdet(a), jax.grad(lambda a: jaxinv.inv(a).sum())(a)
        seen.extend(jax.typeof(v).sharding.spec for v in jax.tree.leaves(out))
        return out

    with jax.set_mesh(mesh):
        f(jax.device_put(matrices.well_conditioned((8, 3, 3), np.float32), NamedSharding(mesh, P("b"))))
    matrix, vector = P("b", None, None), P("b")
    assert seen == [matrix, vector, matrix, vector, vector, matrix]


@pytest.mark.parametrize("n", (8, 40))
@pytest.mark.parametrize("spec", [P(None, "b"), P(None, None, "b")], ids=str)
def test_sharded_matrix_dimensions_are_gathered_under_auto(eight_devices, n, spec):
    mesh = mesh_of(eight_devices)
    a = matrices.well_conditioned((2, n, n), np.float64)
    sharded = jax.device_put(a, NamedSharding(mesh, spec))
    assert_same(jax.jit(everything)(sharded), everything(a), n)


@pytest.mark.parametrize("spec", [P(None, "b"), P(None, None, "b"), P("b", None)], ids=str)
def test_sharded_matrix_dimensions_are_an_error_under_explicit(eight_devices, spec):
    mesh = mesh_of(eight_devices, kind=AxisType.Explicit)
    a = matrices.well_conditioned((2, 8, 8) if len(spec) == 3 or spec[0] is None else (8, 8), np.float32)
    message = r"^jaxinv_inverse: the two matrix dimensions must not be sharded, got .*'b'"
    with jax.set_mesh(mesh):
        sharded = jax.device_put(a, NamedSharding(mesh, spec))
        with pytest.raises(ValueError, match=message):
            jaxinv.inv(sharded)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.portable(n=(3,))
def test_shard_map(path, eight_devices, n):
    mesh = mesh_of(eight_devices)
    a = matrices.well_conditioned((16, n, n), np.float64)
    mapped = jax.jit(jax.shard_map(everything, mesh=mesh, in_specs=P("b"), out_specs=P("b")))
    got = mapped(a)
    assert not _COLLECTIVES.findall(mapped.lower(a).compile().as_text())
    assert_same(got, everything(a), n)
    gradient = jax.grad(
        lambda a: jnp.sum(jax.shard_map(jaxinv.inv, mesh=mesh, in_specs=P("b"), out_specs=P("b"))(a) ** 2)
    )
    x = matrices.reference(a)
    assert_same(jax.jit(gradient)(a), -2 * transpose(x) @ x @ transpose(x), n)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.portable(n=(3,))
def test_shard_map_of_a_replicated_matrix(path, eight_devices, n):
    # The inverse of one matrix that all devices share, times what each has: the cotangent is summed.
    mesh = mesh_of(eight_devices)
    a = matrices.well_conditioned((n, n), np.float64)
    y = matrices.rng_for("y").standard_normal((8, n))

    def local(a, y):
        return jnp.einsum("ij,bj->bi", jaxinv.inv(a), y)

    mapped = jax.shard_map(local, mesh=mesh, in_specs=(P(), P("b")), out_specs=P("b"))
    for mode in (jax.jacrev, jax.jacfwd):
        got = jax.jit(mode(lambda a: jnp.sum(jnp.sin(mapped(a, y)))))(a)
        assert_same(got, jax.grad(lambda a: jnp.sum(jnp.sin(local(a, y))))(a), n)


@pytest.mark.parametrize("replicated", range(3))
@pytest.mark.parametrize("n", (3, 40))
def test_shard_map_of_the_product_with_each_operand_replicated(path, eight_devices, replicated, n):
    mesh = mesh_of(eight_devices)
    operands = [matrices.well_conditioned((8, n, n), np.float64, seed=i) for i in range(3)]
    operands[replicated] = operands[replicated][:1]
    specs = [P() if i == replicated else P("b") for i in range(3)]

    def product(*operands):
        (out,) = triple_product(*operands, transpose_l=False, transpose_g=True, transpose_r=False)
        return out

    def loss(f):
        return lambda *x: jnp.sum(jnp.sin(f(*x)))

    mapped = jax.shard_map(product, mesh=mesh, in_specs=tuple(specs), out_specs=P("b"))
    repeated = [np.repeat(x, 8, 0) if i == replicated else x for i, x in enumerate(operands)]
    assert_same(jax.jit(mapped)(*operands), product(*repeated), n)
    got = jax.jit(jax.grad(loss(mapped), argnums=(0, 1, 2)))(*operands)
    expected = list(jax.grad(loss(product), argnums=(0, 1, 2))(*repeated))
    expected[replicated] = expected[replicated].sum(0, keepdims=True)
    assert_same(got, expected, n)


def test_shard_map_with_explicit_outer_axis(eight_devices):
    mesh = Mesh(
        np.array(eight_devices).reshape(4, 2), ("x", "y"), axis_types=(AxisType.Explicit, AxisType.Explicit)
    )
    a = matrices.well_conditioned((8, 3, 3), np.float64)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(a, NamedSharding(mesh, P(("x", "y"))))
        mapped = jax.shard_map(everything, in_specs=P(("x", "y")), out_specs=P(("x", "y")))
        got = jax.jit(mapped)(sharded)
    assert_same(got, everything(a), 3)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.portable(n=(3,))
def test_vmap_over_an_explicitly_sharded_axis(path, eight_devices, n):
    mesh = mesh_of(eight_devices, kind=AxisType.Explicit)
    a = matrices.well_conditioned((8, n, n), np.float64)
    d = matrices.well_conditioned((n, n), np.float64, seed=1)
    x = matrices.reference(a)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(a, NamedSharding(mesh, P("b")))
        mapped = jax.jit(jax.vmap(jaxinv.inv))(sharded)
        # The tangent has no batch of its own: it is broadcast, sharded like the rest.
        tangent = jax.jit(jax.vmap(lambda a: jax.jvp(jaxinv.inv, (a,), (jnp.asarray(d),))[1]))(sharded)
        gradient = jax.jit(jax.vmap(jax.grad(lambda a: jaxinv.inv(a).sum())))(sharded)
    assert_sharded_alike((mapped, tangent, gradient), mesh, ["b"])
    assert_same(mapped, x, n)
    assert_same(tangent, -x @ d @ x, n)
    assert_same(gradient, -transpose(x) @ np.ones((n, n)) @ transpose(x), n)


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev], ids=["jacfwd", "jacrev"])
def test_jacobians_over_an_explicitly_sharded_axis(path, eight_devices, mode):
    n = 3
    mesh = mesh_of(eight_devices, kind=AxisType.Explicit)
    a = matrices.well_conditioned((8, n, n), np.float64)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(a, NamedSharding(mesh, P("b")))
        got = jax.jit(jax.vmap(mode(jaxinv.inv)))(sharded)
    assert_sharded_alike(got, mesh, ["b"])
    x = matrices.reference(a)
    assert_same(got, -np.einsum("bik,blj->bijkl", x, x), n)


def test_operands_sharded_differently_under_explicit(eight_devices):
    mesh = mesh_of(eight_devices, (4, 2), ("x", "y"), AxisType.Explicit)
    a = matrices.well_conditioned((8, 3, 3), np.float32)
    with jax.set_mesh(mesh):
        l, g = (jax.device_put(a, NamedSharding(mesh, P(axis))) for axis in ("x", "y"))
        with pytest.raises(
            ValueError, match=r"^jaxinv_triple_product: operands must be sharded alike along the batch"
        ):
            triple_product(l, g, l, transpose_l=False, transpose_g=False, transpose_r=False)


@pytest.mark.parametrize("batch", (8, 16, 64))
def test_uneven_work_and_singular_members(eight_devices, batch):
    mesh = mesh_of(eight_devices)
    a = matrices.well_conditioned((batch, 4, 4), np.float32)
    a[batch // 3] = 0
    x, info = jax.jit(jaxinv.inv_ex)(jax.device_put(a, NamedSharding(mesh, P("b"))))
    np.testing.assert_array_equal(info, np.arange(batch) == batch // 3)
    np.testing.assert_array_equal(x, jaxinv.inv(a))


@pytest.mark.parametrize("replicated", ["a", "b"])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.portable(n=(40,))
def test_shard_map_of_solve_with_each_operand_replicated(path, eight_devices, replicated, n):
    mesh = mesh_of(eight_devices)
    a = matrices.well_conditioned((8, n, n), np.float64)
    b = matrices.rng_for("b").standard_normal((8, n, 2))
    a, b = (x[0] if name == replicated else x for name, x in (("a", a), ("b", b)))
    specs = tuple(P() if name == replicated else P("b") for name in ("a", "b"))

    def loss(f):
        return lambda a, b: jnp.sum(jnp.sin(f(a, b)))

    mapped = jax.shard_map(jaxinv.solve, mesh=mesh, in_specs=specs, out_specs=P("b"))
    assert_same(jax.jit(mapped)(a, b), np.linalg.solve(a, b), n)
    for mode in (jax.jacrev, jax.jacfwd) if n == 3 else (jax.jacrev,):
        got = jax.jit(mode(loss(mapped), argnums=(0, 1)))(a, b)
        assert_same(got, jax.grad(loss(jaxinv.solve), argnums=(0, 1))(a, b), n)


@pytest.mark.parametrize("n", (3, 40))
def test_gradient_of_det_stays_sharded(eight_devices, kind, n):
    mesh = mesh_of(eight_devices, kind=kind)
    a = matrices.well_conditioned((16, n, n), np.float64)
    gradient = jax.jit(jax.grad(lambda a: jaxinv.det(a).sum()))
    with jax.set_mesh(mesh):
        sharded = jax.device_put(a, NamedSharding(mesh, P("b")))
        compiled = gradient.lower(sharded).compile()
        got = compiled(sharded)
    assert not re.search("all-gather|all-to-all|collective-permute", compiled.as_text())
    assert_sharded_alike(got, mesh, ["b"])
    det = np.linalg.det(a)[:, None, None]
    np.testing.assert_allclose(got / det, transpose(np.linalg.inv(a)), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.portable(n=(40,))
def test_vmap_of_solve_over_an_explicitly_sharded_axis(path, eight_devices, n):
    mesh = mesh_of(eight_devices, kind=AxisType.Explicit)
    a, b = matrices.well_conditioned((n, n), np.float64), np.ones((8, n, 2)) * np.arange(8)[:, None, None]
    with jax.set_mesh(mesh):
        sharded = jax.device_put(b, NamedSharding(mesh, P("b")))
        x = jax.jit(jax.vmap(jaxinv.solve, (None, 0)))(a, sharded)
        y = jax.jit(jaxinv.solve)(a, sharded)
    assert_sharded_alike((x, y), mesh, ["b"])
    assert_same((x, y), (np.linalg.solve(a, b),) * 2, n)
