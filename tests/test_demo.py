"""The demo: recovers published intrinsics, checks the bulk job, writes its plot, works without the extra."""

import importlib.util
import re
import sys

import numpy as np
import pytest

import jaxinv
from jaxinv.__main__ import main
from jaxinv._cli import bulk, calibration, demo
from jaxinv._cli.cameras import CAMERAS

_SMALL = ["demo", "--replicas", "2", "--count", "1000"]


def untracked(steps, description):
    return steps


def test_recovers_published_intrinsics(path, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "plot.png"
    arguments = [*_SMALL, "--seed", "3", "--output", str(plot)]
    assert main(arguments if path == "native" else [*arguments, "--portable"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"jaxinv {jaxinv.__version__}: ")
    for camera in CAMERAS:
        assert camera.name in text
    worst = re.search(r"calibration: worst error (\S+) % of 0.1 % allowed: PASS", text)
    assert worst is not None and float(worst.group(1)) <= 0.1
    assert re.search(r"bulk: worst residual min\(L, R\) \S+, max\(L, R\) \S+, min of 30 allowed: PASS", text)
    assert f"plot: written to {plot}" in text
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_plain_lines_without_the_extra(portable, monkeypatch, tmp_path, capsys):
    for module in ("rich", "rich.console", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, module, None)
    plot = tmp_path / "plot.png"
    assert main([*_SMALL, "--portable", "--output", str(plot)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 'plot: install "jaxinv[demo]"' in lines
    assert not plot.exists()
    assert "refining 32 cameras: 0 of 15" in lines
    header = lines.index(next(line for line in lines if line.startswith("camera")))
    assert lines[header].split() == ["camera", *calibration.PARAMETERS]
    assert lines[header + 1].startswith("KITTI odometry 00")
    assert [line.split()[0] for line in lines[header + 2 : header + 5]] == [
        "recovered",
        "published",
        "error,",
    ]
    assert all(line.isascii() or "×" in line for line in lines)


def test_svg(portable, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "plot.svg"
    assert main([*_SMALL, "--portable", "--output", str(plot)]) == 0
    assert "<svg" in plot.read_text(encoding="utf-8")


def test_a_plot_that_cannot_be_written(portable, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    plot = tmp_path / "plot.png"
    plot.mkdir()
    assert main([*_SMALL, "--portable", "--output", str(plot)]) == 1
    assert capsys.readouterr().err.startswith("jaxinv demo: error: the plot cannot be written: ")


def test_fails_where_a_camera_is_beyond_the_tolerance(portable, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(demo, "TOLERANCE", 1e-6)
    assert main([*_SMALL, "--portable", "--output", str(tmp_path / "plot.png")]) == 1
    text = capsys.readouterr().out
    assert "of 1e-06 % allowed: FAIL" in text
    assert text.splitlines()[-1].startswith("FAIL in ")


@pytest.mark.parametrize("worst", (31.0, np.nan))
def test_fails_where_a_matrix_is_beyond_the_gate(worst, portable, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(bulk, "worst_residuals", lambda a, x: (worst, worst))
    assert main([*_SMALL, "--portable", "--output", str(tmp_path / "plot.png")]) == 1
    text = capsys.readouterr().out
    assert "min of 30 allowed: FAIL" in text and "0.1 % allowed: PASS" in text


def test_published_values_only_make_the_observations(path):
    problems = calibration.synthesise(1, seed=0)
    blind = problems._replace(published=np.full_like(problems.published, np.nan))
    seen, unseen = (calibration.refine(p, untracked).intrinsics for p in (problems, blind))
    np.testing.assert_array_equal(seen, unseen)
    np.testing.assert_allclose(unseen, problems.published, rtol=1e-3)


def test_starts_are_ten_per_cent_off_and_noise_is_half_a_pixel():
    problems = calibration.synthesise(4, seed=1)
    offset = np.abs(problems.start / problems.published - 1)
    assert 0.1 <= offset.min() and offset.max() <= 0.2
    focal, centre = np.split(problems.published[:, None], 2, axis=-1)
    noise = problems.pixels - (problems.rays * focal + centre)
    assert noise.std() == pytest.approx(calibration.PIXEL_NOISE, rel=0.01)
    other = calibration.synthesise(4, seed=2)
    assert not np.any(problems.start == other.start) and not np.any(problems.pixels == other.pixels)


def test_reprojection_error_ends_at_the_noise():
    problems = calibration.synthesise(2, seed=5)
    reprojection = calibration.refine(problems, untracked).reprojection
    assert reprojection.shape == (calibration.ITERATIONS + 1, 2 * len(CAMERAS))
    assert reprojection[0].min() > 10
    np.testing.assert_allclose(reprojection[-1], calibration.PIXEL_NOISE, rtol=0.1)


def test_published_cameras():
    assert len({camera.name for camera in CAMERAS}) == len(CAMERAS) >= 12
    for camera in CAMERAS:
        assert camera.source
        assert 0 < camera.cx < camera.width and 0 < camera.cy < camera.height
    mlx = next(camera for camera in CAMERAS if "MLX" in camera.name)
    np.testing.assert_array_equal(mlx.matrix(), [[1162.38, 0, 618.25], [0, 1156.83, 410.75], [0, 0, 1]])


def test_worst_residuals_sees_one_wrong_matrix():
    a = bulk.perturbed_intrinsics(bulk._CHUNK + 7, seed=0)
    x = np.linalg.inv(a.astype(float)).astype(np.float32)
    least, most = bulk.worst_residuals(a, x)
    assert least <= most < 1
    x[-1] *= 1.01
    assert bulk.worst_residuals(a, x)[0] > 30
    x[0, 0, 0] = np.nan
    assert np.isnan(bulk.worst_residuals(a, x)[0])


def test_rich_draws_the_table(portable, tmp_path, capsys):
    if importlib.util.find_spec("rich") is None:
        pytest.skip("rich is not installed")
    assert main([*_SMALL, "--portable", "--output", str(tmp_path / "plot.png")]) == 0
    assert "┃ camera" in capsys.readouterr().out
