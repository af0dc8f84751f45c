"""assume_a: what is read, accuracy, info, exact symmetry and zeros, transformations."""

import functools

import jax
import matrices
import numpy as np
import pytest
from jax import numpy as jnp
from jax.experimental import jet
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from matrices import DTYPES, adjoint, assert_inverse
from solutions import assert_solution
from test_jet import derivatives

import jaxinv

STRUCTURES = ("pos", "pos lower", "upper triangular", "lower triangular", "diagonal")
FUNCTIONS = {
    "inv": jaxinv.inv,
    "inv_ex": lambda a, **k: jaxinv.inv_ex(a, **k).inverse,
    "inv_slogdet": jaxinv.inv_slogdet,
    "inv_det": jaxinv.inv_det,
    "inv_rows": lambda a, **k: jaxinv.inv_rows(a, [0, -1], **k),
    "inv_cols": lambda a, **k: jaxinv.inv_cols(a, 1, **k),
    "solve": lambda a, **k: jaxinv.solve(a, jnp.ones(a.shape[-1], a.dtype), **k),
    "solve_ex": lambda a, **k: jaxinv.solve_ex(a, jnp.ones((a.shape[-1], 2), a.dtype), **k).x,
    "slogdet": jaxinv.slogdet,
    "det": jaxinv.det,
}
_SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 2, 4, 5, 8, 16, 31, 32, 33, 64, 130)]
structures = pytest.mark.parametrize("structure", STRUCTURES)


def some(*names):
    """All functions, those not named as slow tests."""
    return [name if name in names else pytest.param(name, marks=pytest.mark.slow) for name in FUNCTIONS]


def keywords(structure):
    return {
        "assume_a": structure.split(" l")[0] if "pos" in structure else structure,
        "lower": "l" in structure[3:],
    }


def read(structure, n):
    """Which entries are read."""
    full = np.ones((n, n), bool)
    if structure == "diagonal":
        return np.eye(n, dtype=bool)
    return np.tril(full) if "lower" in structure else np.triu(full)


def hermitian(structure, a):
    """H(a)."""
    a = np.where(read(structure, a.shape[-1]), a, 0)
    if "pos" not in structure:
        return a
    diagonal = a * np.eye(a.shape[-1])
    return (a - diagonal) + adjoint(a - diagonal) + diagonal.real


def hide(structure, a):
    """`a` with NaN for what is not read."""
    out = np.where(read(structure, a.shape[-1]), a, np.array(np.nan, a.dtype))
    if "pos" in structure and np.iscomplexobj(a):
        out.imag += np.where(np.eye(a.shape[-1]), np.nan, 0)  # of the diagonal
    return out


def generate(structure, n, dtype, count=3):
    """Names and matrices of that structure, kappa <= 0.1/eps, in the dtype."""
    rng = matrices.rng_for("structure", structure, n, dtype.name)
    bound = 0.1 / (matrices.ulp(dtype) if matrices.is_half(dtype) else matrices.eps(dtype))
    parts = {}
    if "pos" in structure:
        q = np.linalg.qr(matrices.normal(rng, (count, n, n), dtype))[0]
        kappas = np.geomspace(10, bound / max(n, 1), count)
        sigma = np.geomspace(np.ones(count), 1 / kappas, n, axis=-1)
        parts["condition"] = (q * sigma[:, None, :]) @ adjoint(q)
        # A graded matrix keeps the error of its own scaling: D S D with S well conditioned.
        d = matrices._grades(n, dtype) ** 0.5
        g = matrices.normal(rng, (count, n, n), dtype)
        well = g @ adjoint(g) / max(n, 1) + np.eye(n)
        parts["graded"] = d[:, None] * well * d
        scale = 7 if dtype == np.float16 else 60
        parts["scaled"] = np.ldexp(1.0, scale) * well
        parts["scaled down"] = np.ldexp(1.0, -scale) * well
        if 2 <= n <= (3 if matrices.is_half(dtype) else 5):
            parts["hilbert"] = matrices._hilbert(rng, 1, n, dtype)
    elif structure == "diagonal":
        d = np.geomspace(1, 1 / bound, max(n, 1))[:n]
        phase = np.exp(1j * rng.uniform(0, 6, (count, n)))
        d = d * (phase if dtype.kind == "c" else np.sign(phase.real))
        parts["condition"] = np.eye(n) * d[:, None, :]
    else:
        low = matrices.normal(rng, (count, n, n), dtype) / max(n, 1)
        d = rng.uniform(0.5, 2, (count, n)) * rng.choice((-1, 1), (count, n))
        a = np.tril(low, -1) + np.eye(n) * d[:, None, :]
        r = adjoint(
            np.linalg.qr(matrices.with_condition(rng, np.geomspace(10, bound / 3, count), n, dtype))[1]
        )
        parts = {"unit": a, "condition": r, "graded": matrices._grades(n, dtype)[:, None] * a}
        if "upper" in structure:
            parts = {k: np.swapaxes(v, -1, -2) for k, v in parts.items()}
    names = [name for name, v in parts.items() for _ in v]
    a = hermitian(structure, np.concatenate(list(parts.values())).astype(dtype)).astype(dtype)
    keep = matrices.condition(a) <= 0.15 / matrices.eps(dtype)
    assert keep.mean() > 0.5 or n == 0
    return [x for x, k in zip(names, keep, strict=True) if k], a[keep]


@structures
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", (3, 40, *_SLOW))
@pytest.mark.portable(n=(40, 0), dtype=("float32",))
@pytest.mark.thinned("structure", "n", "dtype", every=4)
def test_accuracy(path, structure, n, dtype, flushes):
    """Inverse, determinant and solution, with NaN in what must not be read."""
    dtype, options = DTYPES[dtype], keywords(structure)
    names, a = generate(structure, n, dtype)
    hidden = hide(structure, a)
    x, info = jaxinv.inv_ex(hidden, **options)
    x = np.asarray(x)
    flushed = flushes  # wherever the portable path serves
    assert not info.any() and x.dtype == dtype
    assert_inverse(a, x, names, flushed)
    np.testing.assert_array_equal(jaxinv.inv(hidden, **options), x)
    if "pos" in structure:
        np.testing.assert_array_equal(x, adjoint(x))
    else:
        np.testing.assert_array_equal(x[:, ~read(structure, n)], 0)
    b = matrices.normal(matrices.rng_for("b", n), (*a.shape[:-1], 3), dtype).astype(dtype)
    y, info = jaxinv.solve_ex(hidden, b, **options)
    assert not info.any()
    assert_solution(a, b, np.asarray(y), names, flushed)
    wide = a.astype(matrices.wide_dtype(dtype))
    sign, log = np.linalg.slogdet(wide)
    if "pos" not in structure:
        d = np.diagonal(wide, axis1=-2, axis2=-1)
        sign, log = np.prod(d / np.abs(d), -1), np.sum(np.log(np.abs(d)), -1)
    slack = 10 * n * n * matrices.eps(dtype) * matrices.condition(a) * ("pos" in structure)
    slack += 20 * (n + 1) * matrices.eps(dtype) * (1 + np.abs(log)) + 2 * matrices.ulp(dtype) * (
        1 + np.abs(log)
    )
    for got in (jaxinv.slogdet(hidden, **options), jaxinv.inv_slogdet(hidden, **options)[1:]):
        assert np.all(np.abs(np.asarray(got[0]).astype(sign.dtype) - sign) <= slack)
        assert np.all(np.abs(np.asarray(got[1]).astype(float) - log) <= slack)


@structures
@pytest.mark.parametrize("n", (5, 40))
def test_what_is_not_read_changes_nothing(native, structure, n):
    """Not the scale either that matrices of small entries are brought to."""
    a = np.ldexp(generate(structure, n, np.dtype(np.float32))[1][:1], -105).astype(np.float32)
    hidden, keep = hide(structure, a), read(structure, n)
    for value in (1, np.inf, np.finfo(np.float32).max):
        other = np.where(keep, a, np.float32(value))
        for f in (jaxinv.inv_slogdet, FUNCTIONS["solve"]):
            got, want = (jax.tree.leaves(f(v, **keywords(structure))) for v in (other, hidden))
            for x, y in zip(got, want, strict=True):
                np.testing.assert_array_equal(x, y)


@structures
@pytest.mark.parametrize("n", (1, 5, 20))
@pytest.mark.portable(n=(5,))
@pytest.mark.thinned("structure", "n")
def test_info_and_nan(path, structure, n):
    """Each kind of failure, in the middle of a batch; its neighbours are as without it."""
    dtype, options = np.dtype(np.float32), keywords(structure)
    k, last = n // 2, n - 1
    good = generate(structure, n, dtype)[1][:1]
    lower = "lower" in structure
    place = (last, k) if lower else (k, last)  # of an entry that is read, beside the diagonal
    # An entry beside the diagonal spoils the leading minor, or the column, that it lies in.
    column = (k if "triangular" in structure else last) + 1 if lower else last + 1
    bad, infos, dets = [], [], []
    for value, det in ((0, 0), (np.nan, np.nan), (np.inf, np.nan), (-np.inf, np.nan)):
        a = good[0].copy() if value else np.eye(n, dtype=dtype)
        a[k, k] = value
        bad.append(a), infos.append(k + 1), dets.append(det)
    for value in (np.nan, np.inf):
        a = good[0].copy()
        a[place] = value
        if structure != "diagonal" or n == 1:
            bad.append(a), infos.append(column if n > 1 else 1), dets.append(np.nan)
    if "pos" in structure:
        a = np.eye(n, dtype=dtype)
        a[k, k] = -1
        bad.append(a), infos.append(k + 1), dets.append(np.nan)
    if n > 1:  # a zero, and behind it a NaN
        a = np.eye(n, dtype=dtype)
        a[0, 0] = 0
        a[place] = np.nan if structure != "diagonal" else a[place]
        bad.append(a), infos.append(1), dets.append(np.nan if structure != "diagonal" else 0)
    batch = hide(structure, np.concatenate([good, np.stack(bad), good]))
    x, info = jaxinv.inv_ex(batch, **options)
    y, same = jaxinv.solve_ex(batch, np.ones((n, 1), dtype), **options)
    np.testing.assert_array_equal(info, [0, *infos, 0])
    np.testing.assert_array_equal(same, info)
    assert np.isnan(x[1:-1]).all() and np.isnan(y[1:-1]).all()
    alone = jaxinv.inv(hide(structure, good), **options)[0]
    np.testing.assert_array_equal(x[0], x[-1])
    if path == "native":
        np.testing.assert_array_equal(x[0], alone)
    for det in (jaxinv.det(batch, **options), jaxinv.inv_det(batch, **options).det):
        np.testing.assert_array_equal(det[1:-1], dets)
    for slogdet in (jaxinv.slogdet(batch, **options), jaxinv.inv_slogdet(batch, **options)[1:]):
        sign, log = (np.asarray(v)[1:-1] for v in slogdet)
        np.testing.assert_array_equal(sign, dets)
        np.testing.assert_array_equal(log, np.where(np.isnan(dets), np.nan, -np.inf))


@pytest.mark.parametrize("n", [5, 20])
def test_info_without_right_hand_sides(path, n):
    a = np.stack([np.eye(n), np.eye(n), np.eye(n)])
    a[1, 2, 2] = 0
    x, info = jaxinv.solve_ex(a, np.zeros((3, n, 0)), assume_a="lower triangular")
    assert x.shape == (3, n, 0)
    np.testing.assert_array_equal(info, [0, 3, 0])


def test_the_first_minor_that_is_not_positive():
    """Not the first entry of the diagonal that is not."""
    a = np.array([[1.0, 2, 0], [2, 1, 0], [0, 0, -1]])
    zero = np.array([[1.0, 2, 0], [2, 4, 0], [0, 0, 1]])
    out = jaxinv.inv_ex(np.stack([a, zero]), assume_a="pos")
    np.testing.assert_array_equal(out.info, [2, 2])
    np.testing.assert_array_equal(jaxinv.det(np.stack([a, zero]), assume_a="pos"), [np.nan, 0])


@structures
@pytest.mark.parametrize("function", some("inv_det", "inv_rows"))
@pytest.mark.thinned("structure", "function", every=2)
def test_functions(structure, function):
    """Shapes and dtypes: no matrix, empty matrices, integers, batches; under vmap and jit."""
    f = functools.partial(FUNCTIONS[function], **keywords(structure))
    general = functools.partial(FUNCTIONS[function])
    a = generate(structure, 3, np.dtype(np.float64))[1][:2]
    if function == "inv_rows":
        shapes = ((0, 3, 3), (2, 1, 3, 3))
    else:
        shapes = ((0, 3, 3), (2, 1, 3, 3), (4, 0, 0)) if function != "inv_cols" else ((0, 3, 3),)
    for shape in shapes:
        given = np.broadcast_to(np.eye(shape[-1]), shape)
        for got, want in zip(jax.tree.leaves(f(given)), jax.tree.leaves(general(given)), strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(
        jax.tree.leaves(f(np.eye(3, dtype=int)))[0], jax.tree.leaves(f(np.eye(3)))[0]
    )
    expected = f(a)
    for got in (jax.vmap(f)(a), jax.jit(f)(a)):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12), got, expected)


@structures
@pytest.mark.thinned("structure", every=2)
def test_other_transforms(structure):
    """Shared matrices, jet, strict types, explicit sharding and shard_map, symbolic export."""
    n, options = 3, keywords(structure)
    a = generate(structure, n, np.dtype(np.float64))[1][:2]
    h, b = hermitian(structure, a), matrices.normal(matrices.rng_for("c"), (5, n, 2), np.dtype(float))
    shared = jax.vmap(lambda b: jaxinv.solve_ex(a[0], b, **options))(b)
    np.testing.assert_allclose(shared.x, np.linalg.solve(h[0], b), rtol=1e-9, atol=1e-9)
    assert shared.info.shape == (5,)
    da, dda = (matrices.normal(matrices.rng_for(k), a.shape, a.dtype) for k in "de")
    names = ("inv", "det", "slogdet", "solve") if structure in ("upper triangular", "diagonal") else ("inv",)

    def everything(a):
        return [v for name in names for v in jax.tree.leaves(FUNCTIONS[name](a, **options))]

    value, series = jet.jet(everything, (a,), ((da, dda),))
    want = derivatives(everything, (a,), ((da, dda),))
    for got, expected in zip([value, *zip(*series, strict=True)], want, strict=True):
        for x, y in zip(got, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-10 * np.abs(y).max())
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        single = jnp.asarray(a, np.float32)
        for f in FUNCTIONS.values():
            jax.jit(jax.grad(lambda a, f=f: sum(jnp.sum(v) for v in jax.tree.leaves(f(a, **options))))).lower(
                single
            )
    exported = jax.export.export(jax.jit(lambda a: jaxinv.inv_slogdet(a, **options)), disabled_checks=CHECKS)(
        jax.ShapeDtypeStruct((jax.export.symbolic_shape("b")[0], n, n), a.dtype)
    )
    np.testing.assert_array_equal(exported.call(a)[0], jaxinv.inv(a, **options))


CHECKS = [jax.export.DisabledSafetyCheck.custom_call(f"jaxinv_{op}") for op in ("inverse", "determinant")]


@structures
@pytest.mark.thinned("structure", every=2)
def test_sharded(structure, eight_devices):
    n, options = 3, keywords(structure)
    a = np.tile(generate(structure, n, np.dtype(np.float64))[1][:2], (4, 1, 1))
    mesh = jax.make_mesh((8,), ("i",), axis_types=(AxisType.Explicit,), devices=eight_devices)
    loss = {
        name: lambda a, f=f: sum(jnp.sum(jnp.abs(v) ** 2) for v in jax.tree.leaves(f(a, **options)))
        for name, f in FUNCTIONS.items()
        if name in ("inv_slogdet", "solve", "det")
    }
    for name, f in loss.items():
        expected = jax.grad(f)(a)
        with jax.set_mesh(mesh):
            given = jax.device_put(a, NamedSharding(mesh, PartitionSpec("i")))
            compiled = jax.jit(jax.grad(f)).lower(given).compile()
            got = compiled(given)
            assert "all-gather" not in compiled.as_text(), name
            assert got.sharding.spec[0] == "i"
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
        mapped = jax.shard_map(
            jax.grad(f), mesh=mesh, in_specs=PartitionSpec("i"), out_specs=PartitionSpec("i")
        )
        np.testing.assert_allclose(jax.jit(mapped)(given), expected, rtol=1e-9, atol=1e-9)


@structures
def test_products_in_full_precision(structure):
    square = jax.ShapeDtypeStruct((2, 70, 70), np.float32)
    for f in (FUNCTIONS["inv_slogdet"], FUNCTIONS["solve"], FUNCTIONS["det"]):
        gradient = jax.grad(
            lambda a, f=f: sum(jnp.sum(v) for v in jax.tree.leaves(f(a, **keywords(structure))))
        )
        text = jax.jit(gradient).trace(square).lower(lowering_platforms=("tpu",)).as_text()
        assert all(line.count("HIGHEST") == 2 for line in text.splitlines() if "dot_general" in line)


@structures
def test_explain(structure):
    options = {k: v for k, v in keywords(structure).items() if k == "assume_a"}
    for op in FUNCTIONS:
        for platform in ("cpu", "cuda", "tpu"):
            text = jaxinv.explain((7, 20, 20), "float32", op, platform, **options)
            if structure == "diagonal":
                assert "elementwise" in text
            elif platform == "cuda":  # the kernels, or what the build would have
                assert "cuda/" in text or "elementwise" in text
    with pytest.raises(ValueError, match=r"jaxinv\.explain: assume_a must be one of .*, got 'sym'"):
        jaxinv.explain((3, 3), "float32", assume_a="sym")
