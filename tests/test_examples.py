"""The examples run, and print what their sources publish."""

import json
import pathlib
import runpy
import sys

import numpy as np
import pytest

_EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the `main` of an example with a path for its plot; returns its result."""

    def run(name):
        plot = tmp_path / "plot.svg"
        monkeypatch.setattr(sys, "argv", [name, str(plot)])
        out = runpy.run_path(str(_EXAMPLES / f"{name}.py"))["main"]()
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
