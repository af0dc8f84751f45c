"""The Metal kernels of LU, systems and structured matrices on the SIMT emulator."""

import re

import emulated_metal as metal
import matrices
import numpy as np
import pytest
from programs import once
from solutions import assert_solution

_TYPES = ("float32", "complex64")
_SEEDS, _MANY_SEEDS = range(1, 3), range(1, 20)
# Both sides of every number of lanes.
_SIZES = (1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 24, 31, 32)
_POS, _TRIANGLES = metal.STRUCTURES[1:3], metal.STRUCTURES[3:]


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    return once(tmp_path_factory, "metal", metal.build_program)


def _rhs(n, columns, batch, dtype):
    return matrices.normal(
        matrices.rng_for("rhs", n, columns, dtype), (batch, n, columns), np.dtype(dtype)
    ).astype(dtype)


def _assert_bits(first, second):
    for x, y in zip(first, second, strict=True):
        assert x.tobytes() == y.tobytes()


def _assert_factors(a, lu, permutation, names=None):
    """|P a − L U| <= 8 n eps |L| |U| (1-norms), L of partial pivoting."""
    n = a.shape[-1]
    wide = matrices.wide_dtype(a.dtype)
    np.testing.assert_array_equal(np.sort(permutation), np.broadcast_to(np.arange(n), permutation.shape))
    low = np.tril(lu.astype(wide), -1) + np.eye(n)
    up = np.triu(lu.astype(wide))
    rest = np.take_along_axis(a.astype(wide), permutation[..., None], -2) - low @ up
    tiny = float(np.finfo(a.real.dtype).tiny)
    gate = 8 * n * (matrices.eps(a.dtype) * matrices.norm1(abs(low) @ abs(up)) + tiny)
    assert (matrices.norm1(rest) <= gate).all(), (n, names)
    return low


@pytest.mark.parametrize("dtype", _TYPES)
def test_factors_of_every_generator(program, dtype):
    for n in range(1, 33):
        names, a = matrices.generate(n, dtype, 1)
        lu, permutation, info = metal.lu_factor(program, a)
        assert not info.any(), names
        low = _assert_factors(a, lu, permutation, names)
        assert (abs(low.real) + abs(low.imag)).max() <= 1 + 4 * matrices.eps(dtype) or np.iscomplexobj(a)


def _reference_permutation(a):
    """Of partial pivoting in Python, the lowest of the largest rows; None where a multiplier is rounded."""
    a, rows = a.astype(np.float64).copy(), np.arange(len(a))
    for k in range(len(a)):
        chosen = k + int(np.argmax(abs(a[k:, k])))  # the first
        a[[k, chosen]], rows[[k, chosen]] = a[[chosen, k]], rows[[chosen, k]]
        factors = a[k + 1 :, k] / a[k, k]
        if (factors % (1 / 64)).any():
            return None
        a[k + 1 :] -= np.outer(factors, a[k])
    return rows


@pytest.mark.parametrize("n", [2, 3, 4, 7, 8, 16, 32])
def test_ties_take_the_lowest_row(program, n):
    """Of matrices whose elimination is exact: blocks, products of triangles of signs, the rows permuted."""
    rng, size = matrices.rng_for("ties", n), min(n, 4)
    low = np.tril(rng.integers(-1, 2, (99, n // size, size, size)), -1) + np.eye(size)
    blocks = low @ np.triu(rng.choice([-1, 1], low.shape))
    a = np.einsum("kbij,bc->kbicj", blocks, np.eye(n // size)).reshape(99, *[n // size * size] * 2)
    a = np.take_along_axis(a, np.argsort(rng.random(a.shape[:2]))[..., None], -2).astype(np.float32)
    checked = 0
    for x, permutation in zip(a, metal.lu_factor(program, a)[1], strict=True):
        expected = _reference_permutation(x)
        if expected is not None:
            np.testing.assert_array_equal(permutation, expected)
            checked += 1
    assert checked > 9
    ones = np.ones((1, n, n), np.float32)
    ones[0, :, 0] = [(-1) ** i for i in range(n)]
    assert metal.lu_factor(program, ones)[1][0, 0] == 0


def _columns(n):
    return (1, 3, 16, 17) if n % 4 == 0 else (1 + n % 5, 20)


@pytest.mark.parametrize("dtype", _TYPES)
@pytest.mark.parametrize("transpose", [False, True])
def test_solutions_of_every_generator(program, dtype, transpose):
    for n in range(1, 33) if not transpose else _SIZES:
        names, a = matrices.generate(n, dtype, 1)
        lu, permutation, _ = metal.lu_factor(program, a)
        scaled = abs(a.real).max((-2, -1)) + abs(a.imag).max((-2, -1))
        usual = (scaled > 2.0**-100) & (scaled < 2.0**111)
        for columns in _columns(n):
            b = _rhs(n, columns, len(a), dtype)
            x, info = metal.solve(program, a, b, transpose=transpose)
            assert not info.any(), names
            op = matrices.transpose(a) if transpose else a
            assert_solution(op, b, x, names)
            y, _ = metal.solve(program, lu, b, permutation, transpose=transpose)
            assert_solution(op[usual], b[usual], y[usual], names)
            if not transpose:
                _assert_bits([x[usual]], [y[usual]])


def _assert_determinants(a, info, mantissa, exponent, zero):
    """Of those with info 0 by NumPy's; of the others 0 where `zero`, else NaN."""
    assert (mantissa[zero] == 0).all() and np.isnan(mantissa[(info != 0) & ~zero]).all()
    assert not exponent[info != 0].any()
    n = a.shape[-1]
    for i in np.flatnonzero(info == 0):
        bits = int(np.floor(np.log2(abs(a[i]).max())))
        scaled = a[i].astype(matrices.wide_dtype(a.dtype)) / 2.0**bits
        sign, log = np.linalg.slogdet(scaled)
        assert 1 <= max(abs(mantissa[i].real), abs(mantissa[i].imag)) < 2
        unit = 10 * n * matrices.eps(a.dtype) * np.linalg.cond(scaled)
        assert abs(mantissa[i] / abs(mantissa[i]) - sign) <= unit
        got = np.log(abs(mantissa[i]).astype(np.float64)) + (exponent[i] - n * bits) * np.log(2.0)
        assert abs(got - log) <= unit + 1e-13 * abs(log)


@pytest.mark.parametrize("dtype", _TYPES)
def test_singular_and_scaled_matrices(program, dtype):
    for n in _SIZES:
        a, expected = matrices.odd_batch(n, dtype)
        good = expected == 0
        lu, permutation, info = metal.lu_factor(program, a)
        assert info.tolist() == expected.tolist(), n
        assert np.isnan(lu[~good]).all()
        _assert_factors(a[good], lu[good], permutation[good])
        mantissa, exponent = metal.determinant(program, a)
        _assert_determinants(a, info, mantissa, exponent, np.isin(np.arange(8), [2, 7]))
        b = _rhs(n, 3, 8, dtype)
        b[5] *= np.float32(2.0**-100)
        x, info = metal.solve(program, a, b)
        assert info.tolist() == expected.tolist(), n
        assert np.isnan(x[~good]).all()
        assert_solution(a[good], b[good], x[good])
        y, _ = metal.solve(program, lu, b, permutation)
        assert np.isnan(y[~good]).all()
        for i in (0, 5, 6):  # alone, where its neighbours are not
            one = slice(i, i + 1)
            _assert_bits([lu[one], permutation[one]], metal.lu_factor(program, a[one])[:2])
            _assert_bits([x[one]], metal.solve(program, a[one], b[one], flags=metal.ONLY)[:1])


@pytest.mark.parametrize("n", [1, 4, 12, 32])
def test_flushed_denormals(program, n):
    """Where the device takes them for zero, as Apple's GPUs do: systems and determinants as everywhere."""
    for dtype in _TYPES:
        a, b = matrices.denormal(n, dtype), _rhs(n, 2, 4, dtype) * np.float32(2.0**-60)
        for flags in (0, metal.FLUSH):
            x, info = metal.solve(program, a, b, flags=flags)
            assert not info.any()
            assert_solution(a, b, x)
            mantissa, exponent = metal.determinant(program, a, flags=flags)
            _assert_determinants(a, info, mantissa, exponent, info != 0)
        assert metal.lu_factor(program, np.zeros((1, n, n), dtype), flags=metal.FLUSH)[2] == [1]


def _systems(program, a, b, structure, seed=0, **options):
    """All results that there are for a structure."""
    options |= {"structure": structure, "seed": seed}
    out = list(metal.invert(program, a, **options)) if structure != "general" else []
    for transpose in (False, True):
        out += metal.solve(program, a, b, transpose=transpose, **options)
    if structure not in _TRIANGLES:
        out += metal.lu_factor(program, a, **options)
        out += metal.determinant(program, a, **options)
        lu, permutation = out[-5:-3]
        for transpose in (False, True):
            out += metal.solve(program, lu, b, permutation, transpose=transpose, **options)[:1]
    return out


def _schedules(program, n, dtype, structure, seeds):
    a = np.concatenate([_structured(n, dtype, structure)[1]] * (3 if n <= 8 else 1))
    b = _rhs(n, 1 + 7 * n % 18, len(a), dtype)
    first = _systems(program, a, b, structure)
    for seed in seeds:  # also groups that take several matrices in turn
        options = {"flags": metal.UNALIGNED, "groups": seed % 2}
        _assert_bits(first, _systems(program, a, b, structure, seed, **options))


@pytest.mark.parametrize("structure", metal.STRUCTURES)
def test_bits_do_not_depend_on_the_schedule(program, structure):
    for dtype, sizes in (("float32", (3, 9, 20)), ("complex64", (4, 16))):
        for n in sizes:
            _schedules(program, n, dtype, structure, _SEEDS)


@pytest.mark.slow
@pytest.mark.parametrize("structure", metal.STRUCTURES)
@pytest.mark.parametrize("dtype", _TYPES)
def test_bits_do_not_depend_on_any_of_many_schedules(program, dtype, structure):
    for n in _SIZES:
        _schedules(program, n, dtype, structure, _MANY_SEEDS)


def _structured(n, dtype, structure):
    """(full matrices, what is stored of them): usual ones and scaled ones; what is not read is NaN."""
    rng = matrices.rng_for("structured", n, dtype, structure)
    g = matrices.normal(rng, (5, n, n), np.dtype(dtype))
    g[1] *= np.exp2(-np.linspace(0, 6, n))[:, None]
    if structure == "general":
        full = g.astype(dtype)
        return full, full
    if structure in _POS:
        full = g @ matrices.adjoint(g) / n + 0.1 * np.eye(n) * abs(g).max((1, 2), keepdims=True) ** 2
    else:
        off = (np.triu(g, 1) if structure.startswith("upper") else np.tril(g, -1)) / n
        full = off + np.eye(n) * rng.uniform(0.5, 2, (5, n, 1)) * np.where(np.arange(n) % 3 == 1, -1, 1)
    full[3] *= 2.0**-108 if not matrices.is_half(dtype) else 2.0**-6
    full[4] *= 2.0**112 if not matrices.is_half(dtype) else 2.0**6
    full = full.astype(dtype)
    stored = full.copy()
    stored[:, ~_read(n, structure)] = np.nan
    if structure in _POS:
        full = np.where(_read(n, structure), full, matrices.adjoint(full))
        if np.iscomplexobj(full):
            stored.imag[:, range(n), range(n)] = np.nan
            full.imag[:, range(n), range(n)] = 0
    return full, stored


def _read(n, structure):
    return np.triu(np.ones((n, n), bool)) if "upper" in structure else np.tril(np.ones((n, n), bool))


@pytest.mark.parametrize("structure", metal.STRUCTURES[1:])
@pytest.mark.parametrize("dtype", metal.TYPES)
def test_inverses_of_structured_matrices(program, dtype, structure):
    for n in range(1, 33) if dtype in _TYPES else (1, 3, 8, 20):
        full, stored = _structured(n, dtype, structure)
        x, info, mantissa, exponent = metal.invert(program, stored, structure=structure)
        assert not info.any()
        matrices.assert_inverse(full, x)
        if structure in _POS:
            np.testing.assert_array_equal(x, matrices.adjoint(x))
        else:
            assert not x[:, ~_read(n, structure)].any()
        if not matrices.is_half(dtype):
            _assert_determinants(full, info, mantissa, exponent, info != 0)


@pytest.mark.parametrize("structure", metal.STRUCTURES[1:])
@pytest.mark.parametrize("dtype", _TYPES)
def test_structured_systems(program, dtype, structure):
    for n in _SIZES:
        full, stored = _structured(n, dtype, structure)
        for transpose in (False, True):
            op = matrices.transpose(full) if transpose else full
            for columns in _columns(n):
                b = _rhs(n, columns, len(full), dtype)
                x, info = metal.solve(program, stored, b, transpose=transpose, structure=structure)
                assert not info.any()
                assert_solution(op, b, x)
        if structure in _TRIANGLES:
            continue
        lu, permutation, info = metal.lu_factor(program, stored, structure=structure)
        assert not info.any() and (permutation == np.arange(n)).all()
        low = _assert_factors(full[:4], lu[:4], permutation[:4])
        pivots = np.einsum("...ii->...i", lu[:4])
        assert (pivots.real > 0).all() and not pivots.imag.any()
        np.testing.assert_allclose(low * pivots[:, None, :], matrices.adjoint(np.triu(lu[:4])), rtol=1e-6)
        mantissa, exponent = metal.determinant(program, stored, structure=structure)
        _assert_determinants(full, info, mantissa, exponent, info != 0)


@pytest.mark.parametrize("structure", metal.STRUCTURES[1:])
@pytest.mark.parametrize("dtype", _TYPES)
def test_bad_structured_matrices(program, dtype, structure):
    """A zero pivot, NaN and Inf that are read, a negative pivot: in the middle of a batch."""
    for n in (1, 2, 5, 16, 32):
        _, good = _structured(n, dtype, structure)
        a, k = np.repeat(good[:1], 6, 0), n // 2
        row, column = (k // 2, k) if "upper" in structure else (k, k // 2)
        for bad in (1, 4):  # of a positive definite matrix: a pivot that is exactly zero
            a[bad] = np.where(_read(n, structure), np.diag(np.arange(n) != k), np.nan)
        a[2, row, column] = np.nan
        a[3, row, column] = np.inf
        if structure in _POS:
            a[4, k, k] = -1
        b = _rhs(n, 2, 6, dtype)
        failed = np.array([0, 1, 1, 1, 1, 0], bool)
        x, info, mantissa, exponent = metal.invert(program, a, structure=structure)
        assert info[[1, 4]].tolist() == [k + 1] * 2 and (info != 0).tolist() == failed.tolist()
        at = column if structure in _TRIANGLES else k
        assert info[2] == info[3] == at + 1
        assert np.isnan(x[failed]).all()
        assert mantissa[1] == 0 and np.isnan(mantissa[[2, 3]]).all()
        assert np.isnan(mantissa[4]) if structure in _POS else mantissa[4] == 0
        alone = metal.invert(program, a[:1], structure=structure)
        _assert_bits([v[:1] for v in (x, info, mantissa, exponent)], alone)
        y, again = metal.solve(program, a, b, structure=structure)
        assert (
            again.tolist() == info.tolist() and np.isnan(y[failed]).all() and not np.isnan(y[~failed]).any()
        )
        if structure in _POS:
            lu, permutation, again = metal.lu_factor(program, a, structure=structure)
            assert again.tolist() == info.tolist() and np.isnan(lu[failed]).all()
            assert (permutation == np.arange(n)).all()
            got = metal.determinant(program, a, structure=structure)
            _assert_bits(got, (mantissa, exponent))


def test_runs_fit_the_device(program):
    for dtype in _TYPES:
        for n in _SIZES:
            for batch, columns in ((1, 1), (33, 5), (2**37 // (n * n), 1), (3, 2**36 // n)):
                for operation in ("lu_factor", "solve", "lu_solve"):
                    (run,) = metal.runs(program, n, batch, dtype, operation, columns=columns)
                    name, groups, threads, most, memory = run
                    assert 0 < groups < 2**31 and threads % 32 == 0, name
                    assert 0 < threads <= most <= 128 and memory <= 32768, name


# What shows a missing barrier in a file: operation, structure, dtype, n, right-hand sides.
_SHOWN = {
    "elimination": [
        ("solve", "general", "float32", 12, 3),
        ("lu_factor", "pos upper", "float32", 12, 0),
        ("solve", "upper triangular", "float32", 12, 17),
    ],
    "lu_simdgroup": [("lu_factor", "pos upper", "complex64", 12, 0)],
    "solve_simdgroup": [
        ("solve", "general", "float32", 12, 3),
        ("solve", "pos upper", "float32", 12, 17),
        ("lu_solve", "general", "float32", 12, 3),
    ],
    "triangle_simdgroup": [
        ("inverse", "upper triangular", "float32", 12, 0),
        ("inverse", "pos upper", "float32", 12, 0),
    ],
}


def _problems(place):
    """Functions of (program, seed, without) whose results a barrier may change."""
    for operation, structure, dtype, n, columns in _SHOWN[re.match(r"metal/(\w+)\.h", place)[1]]:
        a = np.concatenate([_structured(n, dtype, structure)[1]] * 2)
        b = _rhs(n, columns, len(a), dtype)
        rows = np.argsort(matrices.rng_for("rows", n).random((len(a), n))).astype(np.int32)

        def problem(program, seed, without, a=a, b=b, rows=rows, operation=operation, structure=structure):
            options = {"structure": structure, "seed": seed, "without": without, "groups": 1}
            if operation == "inverse":
                return metal.invert(program, a, flags=metal.ONLY, **options)
            if operation == "lu_factor":
                return metal.lu_factor(program, a, **options)
            return metal.solve(program, a, b, rows if operation == "lu_solve" else None, **options)

        yield problem


def test_every_barrier_is_needed(program):
    """One at a time is left out: some result changes with the schedule."""
    places = metal.barriers(_SHOWN)
    assert not [place for place in places if not metal.shows(program, place, _problems(place))]


@pytest.mark.sanitisers
def test_systems_with_address_and_undefined_behaviour_sanitisers(tmp_path):
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    program = metal.build_program(tmp_path, flags)
    for structure in metal.STRUCTURES:
        for dtype in _TYPES:
            for n, columns in ((1, 1), (3, 2), (4, 20), (8, 16), (13, 17), (32, 33)):
                a = _structured(n, dtype, structure)[1]
                _systems(program, a, _rhs(n, columns, len(a), dtype), structure, flags=metal.UNALIGNED)
