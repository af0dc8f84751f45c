"""The examples run, and print what their sources publish."""

import json
import pathlib
import runpy
import sys
import time

import numpy as np
import pytest

_EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the `main` of an example, 30 s at most, with a path for its plot; returns its result."""

    def run(name, *arguments):
        plot = tmp_path / "plot.svg"
        monkeypatch.setattr(sys, "argv", [name, str(plot)])
        start = time.process_time()  # of all threads: what else runs on the machine does not count
        out = runpy.run_path(str(_EXAMPLES / f"{name}.py"))["main"](*arguments)
        assert time.process_time() - start < 30
        assert "</svg>" in plot.read_text()
        return out

    return run


def test_variable_projection_gives_the_certified_values(run):

    sets = json.loads((_EXAMPLES / "nist_strd.json").read_text())["sets"]
    for name, (parameters, rss) in run("variable_projection").items():
        # NIST prints eleven digits; the residual of Lanczos1 is at the rounding of float64.
        np.testing.assert_allclose(parameters, sets[name]["certified"], rtol=1e-8)
        np.testing.assert_allclose(rss, sets[name]["rss"], rtol=0.05 if name == "Lanczos1" else 1e-8)


def test_learned_lambda_agrees_with_a_grid_of_leave_one_out_errors(run):
    for lam, reference, ours, theirs in run("tikhonov_learned_lambda").values():
        # The grid of RidgeCV has steps of 10^(1/6): the minimum lies within one of its best point.
        assert abs(np.log10(lam / reference)) <= 1 / 6
        assert abs(ours - theirs) <= 0.005


def test_gaussian_process_agrees_with_scikit_learn(run):
    out = run("gaussian_process")
    np.testing.assert_allclose(
        out["likelihood"], out["likelihood by scikit-learn at the same kernel"], rtol=1e-10
    )
    # Both searches end at the same maximum, within what a thousandth of it in likelihood means.
    assert abs(out["likelihood"] - out["likelihood found by scikit-learn"]) <= 1e-3
    assert abs(out["R²"] - out["R² of scikit-learn"]) <= 1e-3
    assert out["starts that end there"] >= 32


def test_quadratic_discriminant_agrees_with_scikit_learn(run):
    rows = run("quadratic_discriminant").values()
    for accuracy, reference, difference in rows:
        assert accuracy == reference and difference <= 1e-10
    assert max(accuracy for accuracy, *_ in rows) > 0.99


@pytest.mark.parametrize("library", ["equinox", "flax"])
def test_linear_flow_reaches_the_entropy(run, library):
    pytest.importorskip("optax")
    pytest.importorskip(library)
    found, entropy, whitened = run("linear_flow", library)
    assert abs(found - entropy) <= 1e-10
    np.testing.assert_allclose(whitened, np.eye(4), rtol=0, atol=1e-6)
