"""The same matrix gives the same bits alone, anywhere in any batch, under any transform, in every run."""

import os

import jax
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from matrices import DTYPES, rng_for

import jaxinv

_SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17, 21, 32, 33, 40, 64, 130]


def _matrices(n, dtype, count):
    rng = rng_for("invariance", n, dtype.name)
    a = rng.standard_normal((count, n, n))
    if dtype.kind == "c":
        a = a + 1j * rng.standard_normal(a.shape)
    return a.astype(dtype)


def _everything(a):
    """All results that are promised bit for bit."""
    x, info = jaxinv.inv_ex(a)
    plain = jaxinv.inv(a)
    other, sign, logabsdet = jaxinv.inv_slogdet(a)
    another, det = jaxinv.inv_det(a)
    solved = jaxinv.solve_ex(a, plain[..., :2]), jaxinv.solve(a, a), jaxinv.slogdet(a), jaxinv.det(a)
    out = [x, info, plain, other, sign, logabsdet, another, det, *jax.tree.leaves(solved)]
    if a.shape[-1] <= (128 if jax.default_backend() == "cpu" else 32):  # above, by two products of XLA
        out.append(jax.vjp(jaxinv.inv, a)[1](plain)[0])
    return out


def _assert_same_bits(got, expected):
    for g, e in zip(got, expected, strict=True):
        g, e = np.asarray(g), np.asarray(e)
        assert g.dtype == e.dtype and g.shape == e.shape
        assert g.tobytes() == e.tobytes(), f"{np.argwhere(g != e)[:3]}\n{g[g != e][:3]}\n{e[g != e][:3]}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", _SIZES)
@pytest.mark.thinned("n", "dtype")
def test_alone_and_anywhere(native, n, dtype):
    # More than two lane groups of every width, the last one incomplete.
    a = _matrices(n, DTYPES[dtype], 37)
    everything = jax.jit(_everything)
    batch = [np.asarray(x) for x in everything(a)]
    for i in (0, 5, 36):
        _assert_same_bits(everything(a[i]), [x[i] for x in batch])
    _assert_same_bits(everything(a[::-1]), [x[::-1] for x in batch])
    _assert_same_bits(everything(a[3:20]), [x[3:20] for x in batch])
    _assert_same_bits(everything(a), batch)


@pytest.mark.parametrize("n", [3, 8, 12, 33])
def test_under_transforms(native, n):
    a = _matrices(n, DTYPES["float32"], 16)
    expected = [np.asarray(x) for x in _everything(a)]
    _assert_same_bits(jax.jit(_everything)(a), expected)
    _assert_same_bits(jax.vmap(_everything)(a), expected)
    _assert_same_bits(jax.jit(jax.vmap(_everything))(a), expected)
    nested = jax.vmap(jax.vmap(_everything))(a.reshape(4, 4, n, n))
    _assert_same_bits([np.reshape(x, (16, *x.shape[2:])) for x in nested], expected)
    scanned = jax.lax.scan(lambda c, x: (c, _everything(x)), 0, a)[1]
    _assert_same_bits(scanned, expected)


@pytest.mark.parametrize("n", [3, 20, 40])
def test_under_sharding(native, eight_devices, n):
    a = _matrices(n, DTYPES["float64"], 24)
    expected = jax.jit(_everything)(a)
    sharding = NamedSharding(Mesh(np.array(eight_devices), "batch"), PartitionSpec("batch"))
    _assert_same_bits(jax.jit(_everything)(jax.device_put(a, sharding)), expected)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
@pytest.mark.parametrize(("n", "count"), [(200, 1), (200, 2), (200, 9), (256, 3), (300, 1), (450, 1)])
def test_large_matrices_shared_by_threads_or_not(native, n, count, dtype):
    """With few matrices the threads share each one, with many they take one each."""
    a = _matrices(n, DTYPES[dtype], 9)
    for f in (jaxinv.inv, lambda a: jaxinv.solve(a, a[..., :3]), lambda a: jaxinv.inv_rows(a, 70)):
        assert np.asarray(f(a[:count])).tobytes() == np.asarray(f(a))[:count].tobytes()


def test_in_large_batches_and_run_to_run(native):
    a = _matrices(3, DTYPES["float32"], 65_536)
    first = np.asarray(jaxinv.inv(a))
    for _ in range(3):
        assert np.asarray(jaxinv.inv(a)).tobytes() == first.tobytes()
    for i in (0, 1, 65_535, 40_001):
        assert np.asarray(jaxinv.inv(a[i])).tobytes() == first[i].tobytes()


@pytest.mark.parametrize(("n", "dtype"), [(3, "float32"), (5, "float64"), (12, "float64"), (40, "float32")])
def test_outputs_in_fresh_pages(native, n, dtype):
    """Above 32 MB, and from 8 MB a thread on, the tasks of a batch are the pages of its output."""
    few = _matrices(n, DTYPES[dtype], 1009)  # prime: each comes to lie everywhere in a page
    threads = max(os.cpu_count(), jax.device_count())
    count = (max(36, 8 * threads + 1) << 20) // few[0].nbytes
    many = np.resize(few, (count, n, n))
    for f in (jaxinv.inv, lambda a: jax.vjp(jaxinv.inv, a)[1](a)[0], lambda a: jaxinv.solve(a, a)):
        f = jax.jit(f)
        assert np.asarray(f(many)).tobytes() == np.resize(np.asarray(f(few)), many.shape).tobytes()
