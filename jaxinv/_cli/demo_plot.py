"""The plot of the demo: convergence, error of each parameter, throughput of the bulk job."""

import numpy as np

from jaxinv._cli.calibration import PARAMETERS, PIXEL_NOISE, Problems, Refinement
from jaxinv._cli.output import make_figure

_BLUE, _GREY, _RED = "#1f5fa8", "#8a8a8a", "#b3261e"


def draw(problems: Problems, refinement: Refinement, rates: dict[str, float], tolerance: float, serving: str):
    """The figure, or None where matplotlib is not installed."""
    figure = make_figure(figsize=(13.5, 4.6), layout="constrained")
    if figure is None:
        return None
    convergence, error, throughput = figure.subplots(1, 3, width_ratios=(1.15, 1.15, 0.8))
    _draw_convergence(convergence, refinement.reprojection)
    _draw_errors(error, problems, refinement, tolerance)
    _draw_throughput(throughput, rates)
    figure.suptitle(f"jaxinv demo: {len(problems.start)} cameras calibrated at once ({serving})")
    return figure


def _draw_convergence(axes, reprojection: np.ndarray) -> None:
    iterations = np.arange(len(reprojection))
    axes.plot(iterations, reprojection, color=_BLUE, alpha=0.08, linewidth=0.8)
    axes.plot(iterations, np.median(reprojection, axis=1), color=_BLUE, linewidth=2.2, label="median camera")
    axes.axhline(PIXEL_NOISE, color=_RED, linestyle="--", linewidth=1.2, label=f"noise, {PIXEL_NOISE} px")
    axes.set_yscale("log")
    axes.set_xlabel("Newton iteration")
    axes.set_ylabel("reprojection error, RMS, pixels")
    axes.set_title("Convergence of every camera")
    axes.legend(frameon=False)


def _draw_errors(axes, problems: Problems, refinement: Refinement, tolerance: float) -> None:
    rng = np.random.default_rng(0)  # spreads the points sideways
    for label, intrinsics, color in (
        ("start", problems.start, _GREY),
        ("recovered", refinement.intrinsics, _BLUE),
    ):
        error = 100 * np.abs(intrinsics / problems.published - 1)
        x = np.arange(len(PARAMETERS)) + rng.uniform(-0.3, 0.3, size=error.shape)
        axes.plot(x.ravel(), error.ravel(), ".", color=color, markersize=2.5, alpha=0.5, label=label)
    axes.axhline(tolerance, color=_RED, linestyle="--", linewidth=1.2, label=f"allowed, {tolerance} %")
    axes.set_yscale("log")
    axes.set_ylim(1e-5, 1e3)
    axes.set_xticks(range(len(PARAMETERS)), PARAMETERS)
    axes.set_ylabel("difference from published, %")
    axes.set_title("Error of every parameter")
    axes.legend(
        frameon=False, ncols=3, loc="upper center", markerscale=4, columnspacing=1.2, handletextpad=0.4
    )


def _draw_throughput(axes, rates: dict[str, float]) -> None:
    millions = [1e-6 * rate for rate in rates.values()]
    bars = axes.bar(list(rates), millions, color=(_BLUE, _GREY), width=0.6)
    axes.bar_label(bars, [f"{value:.3g}" for value in millions], padding=3)
    axes.margins(y=0.12)
    axes.set_ylabel("million inverses per second")
    axes.set_title("3 × 3 float32, under jit")
