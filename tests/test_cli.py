"""The command line: exit statuses, the first line, the rule on kernels that are not in use, info, check."""

import contextlib
import math
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxinv
from jaxinv import Backend, _native
from jaxinv.__main__ import main
from jaxinv._cli import backend as cli_backend
from jaxinv._cli import check, generators, residual

_REASON = "built for XLA FFI 0.9"
_QUICK_CHECK = ["check", "--sizes", "1", "--dtypes", "float32"]


def run_module(*arguments, **environment):
    # The package under test, wherever it and its compiled module come from.
    search = os.pathsep.join([str(pathlib.Path(jaxinv.__file__).parents[1]), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "jaxinv", *arguments],
        env={**os.environ, "PYTHONPATH": search, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@contextlib.contextmanager
def serving(installed, available):
    """Makes the command line see a compiled module that is, or is not, in use on platform cpu."""
    cpu = Backend("cpu", available, "" if available else _REASON, None, "0", "avx2" if available else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_native, "installed", lambda: installed)
        patch.setattr(_native, "backends", lambda: [cpu])
        patch.setattr(_native, "_disabled", _native._disabled)  # --portable sets it for good
        patch.setattr(cli_backend, "default_platform", lambda: "cpu")
        yield
    jax.clear_caches()


def test_version(capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(["--version"])
    assert exit_status.value.code == 0
    assert capsys.readouterr().out == f"jaxinv {jaxinv.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["nonsense"], "argument COMMAND: invalid choice: 'nonsense'"),
        (["info", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["check", "--sizes", "0"], "argument --sizes: expected a size of 1 or more, got '0'"),
        (["check", "--dtypes", "int8"], "argument --dtypes: invalid choice: 'int8'"),
        (["demo", "--count", "-5"], "argument --count: expected"),
        (["demo", "--replicas", "0"], "argument --replicas: expected a number of 1 or more, got '0'"),
        (["demo", "--seed", "x"], "argument --seed: expected a number of 0 or more, got 'x'"),
        (["demo", "--output", "plot.txt"], "expected a name that ends in .png or .svg, got 'plot.txt'"),
        (["demo", "--output", "no/such/plot.png"], "argument --output: no folder"),
        (["explain", "3,3"], "the following arguments are required: DTYPE"),
        (["explain", "3by3", "float32"], "argument SHAPE: expected sizes such as 1000,3,3, got '3by3'"),
        (["explain", "3,3", "float32", "--op", "svd"], "argument --op: invalid choice: 'svd'"),
        (
            ["explain", "4,3", "float32"],
            "jaxinv.explain: expected square matrices (..., n, n), got shape (4, 3)",
        ),
        (["explain", "3,3", "int8"], "got dtype int8"),
    ],
)
def test_usage_errors(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(arguments)
    captured = capsys.readouterr()
    assert exit_status.value.code == 2
    assert captured.out == ""
    assert captured.err.startswith("usage: jaxinv")
    assert message in captured.err


def test_runs_as_a_module():
    done = run_module("info")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"jaxinv {jaxinv.__version__}\n")
    assert run_module("explain", "3,3").returncode == 2


def test_says_that_jax_does_not_start():
    done = run_module("check", JAX_PLATFORMS="nonsense")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("jaxinv check: error: jax does not start: ")
    assert "Traceback" not in done.stderr


def test_info(capsys, monkeypatch):
    monkeypatch.setattr(_native, "switches", lambda: {"JAXINV_ISA": "avx2", "JAXINV_METAL": ""})
    monkeypatch.setattr(_native, "ffi_versions", lambda: ((0, 5), (0, 3)))
    monkeypatch.setattr(
        _native,
        "backends",
        lambda: [
            Backend("cpu", True, "", "some processor", "0", "avx2"),
            Backend("cuda", False, "no driver", None, "0", None),
        ],
    )
    assert main(["info"]) == 0
    facts = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines()[1:])
    assert facts["jax"].strip().startswith(jax.__version__)
    assert facts["XLA FFI"].strip() == "jaxlib 0.5, compiled module 0.3"
    assert facts["backend cpu"].strip() == "kernel set avx2; some processor"
    assert facts["backend cuda"].strip() == "not available: no driver"
    assert facts["JAXINV_ISA"].strip() == "avx2"
    assert facts["JAXINV_METAL"].strip() == "not set"
    assert "device" in facts


def test_explain(capsys):
    assert main(["explain", "10,3,3", "float32", "--op", "inv_det", "--platform", "tpu"]) == 0
    expected = jaxinv.explain((10, 3, 3), "float32", "inv_det", "tpu")
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize("command", (_QUICK_CHECK, ["demo"]))
def test_fails_where_installed_kernels_are_not_in_use(command, capsys):
    with serving(installed=True, available=False):
        assert main(command) == 1
    captured = capsys.readouterr()
    assert captured.out == f"jaxinv {jaxinv.__version__}: cpu, portable path (XLA): {_REASON}\n"
    assert captured.err == (
        f"jaxinv {command[0]}: error: the compiled module is installed but not in use: {_REASON}. "
        "Mend that, or pass --portable to run without native kernels\n"
    )


@pytest.mark.parametrize(
    ("installed", "available", "arguments", "first_line"),
    [
        (True, False, ["--portable"], "cpu, portable path (XLA): asked for by --portable"),
        (False, False, [], f"cpu, portable path (XLA): {_REASON}"),
        (True, True, [], "cpu, native kernels (avx2)"),
    ],
)
def test_first_line(installed, available, arguments, first_line, capsys):
    with serving(installed, available):
        assert main([*_QUICK_CHECK, *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"jaxinv {jaxinv.__version__}: {first_line}"


def test_a_platform_without_kernels_is_no_failure(capsys):
    with serving(installed=True, available=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli_backend, "default_platform", lambda: "tpu")
        assert main(_QUICK_CHECK) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert line.endswith(": tpu, portable path (XLA): jaxinv has no native kernels for tpu")


def test_portable_is_the_portable_path():
    with serving(installed=True, available=False):
        main([*_QUICK_CHECK, "--portable"])
        assert not _native.plan("cpu", "inverse", 3, np.float32)["native"]


def rows_of(text):
    return [line for line in text.splitlines() if "PASS" in line or "FAIL" in line]


def test_check_passes(portable, capsys):
    dtypes = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")
    sizes = ("1", "3")
    assert main(["check", "--portable", "--sizes", *sizes]) == 0
    text = capsys.readouterr().out
    rows = rows_of(text)
    assert len(rows) == len(dtypes) * len(sizes)
    assert all("PASS" in row for row in rows)
    for dtype in dtypes:
        assert dtype in text
    assert "12 of 12 rows pass" in text


def test_check_does_not_switch_64_bit_types_on(portable):
    with jax.enable_x64(False):
        assert main([*_QUICK_CHECK[:-1], "float64", "--portable"]) == 0
        assert not jax.config.jax_enable_x64


def inaccurate(a):
    return jaxinv.inv(a) * (1 + 1e-3)


def singular_as_zero(a):
    return np.nan_to_num(np.asarray(jaxinv.inv(a)))


def spoils_a_neighbour(a):
    x = np.array(jaxinv.inv(a))
    x[0] = np.nan
    return x


def test_check_fails_where_solve_does(portable, monkeypatch, capsys):
    for wrong in (
        lambda a, b: jaxinv.solve(a, b) * (1 + 1e-3),
        lambda a, b: np.nan_to_num(jaxinv.solve(a, b)),
    ):
        monkeypatch.setattr(check, "solve", wrong)
        assert main(["check", "--portable", "--sizes", "3", "--dtypes", "float32"]) == 1
        (row,) = rows_of(capsys.readouterr().out)
        assert "FAIL" in row


@pytest.mark.parametrize(
    ("wrong", "result"),
    [(inaccurate, "FAIL"), (singular_as_zero, "FAIL: singular not NaN"), (spoils_a_neighbour, "FAIL")],
)
def test_check_fails(wrong, result, portable, monkeypatch, capsys):
    monkeypatch.setattr(check, "inverse", wrong)
    assert main(["check", "--portable", "--sizes", "3", "--dtypes", "float32"]) == 1
    text = capsys.readouterr().out
    (row,) = rows_of(text)
    assert result in row
    assert "0 of 1 rows pass" in text


def test_residuals_of_known_matrices():
    a = np.array([[[2.0, 0], [0, 4]]], np.float32)
    exact = np.array([[[0.5, 0], [0, 0.25]]], np.float32)
    off = exact.copy()
    off[0, 0, 1] = 2.0**-10
    assert [r.item() for r in residual.residuals(a, exact)] == [0, 0]
    # I − X A has −2⁻⁸ beside the diagonal, I − A X has −2⁻⁹; n ε ‖A‖ ‖X‖ = 2 · 2⁻²⁴ · 4 · 0.5.
    left, right = (r.item() for r in residual.residuals(a, off))
    assert (left, right) == (2.0**-8 / 2.0**-22, 2.0**-9 / 2.0**-22)


def test_backward_error_of_known_solutions():
    a, b = np.array([[[2.0, 0], [0, 4]]], np.float32), np.array([[[2.0], [4.0]]], np.float32)
    exact = np.ones((1, 2, 1), np.float32)
    assert residual.backward_error(a, b, exact) == 0
    # b − A x = (0, 4 · 2⁻¹⁰) in units of 2 · 2⁻²⁴ · (4 · (2 + 2⁻¹⁰) + 6).
    off = exact + np.array([[[0], [2.0**-10]]], np.float32)
    expected = 2.0**-8 / (2 * 2.0**-24 * (4 * (2 + 2.0**-10) + 6))
    np.testing.assert_allclose(residual.backward_error(a, b, off), expected, rtol=1e-12)


def test_reference_inverse_is_as_good_as_the_longest_type():
    # Pascal's matrix L Lᵀ, of condition number 1e9, has an integer inverse.
    lower = np.array([[math.comb(i, j) for j in range(10)] for i in range(10)], float)
    signs = (-1.0) ** np.add.outer(np.arange(10), np.arange(10))
    a, exact = lower @ lower.T, (lower * signs).T @ (lower * signs)
    for unit, dtype in ((1, np.float64), (1j, np.complex128)):
        x = residual.reference_inverse((a * unit).astype(dtype))
        bound = 10 * np.finfo(np.longdouble).eps * residual.norm(a) * residual.norm(exact)
        assert residual.norm(x - exact / unit) <= bound * residual.norm(exact)


def test_singular_kinds_have_no_inverse():
    for n in (1, 2, 5):
        for kind, a in generators.singular(n):
            assert not np.all(np.isfinite(a)) or np.linalg.matrix_rank(a) < n, kind
