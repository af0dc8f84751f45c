"""Tikhonov regularisation whose λ is learned by its derivatives, on scikit-learn's handwritten digits.

A digit of 8 × 8 pixels becomes 512 random ReLU features; a linear map to the ten classes is fitted to 60
digits (matrices 60 × 512) and to 512 digits (512 × 512). λ minimises the leave-one-out error, a function of
the regularised pseudo-inverse X: with H = A X, e_i = (y − H y)_i / (1 − H_ii). Newton's method on log λ takes
its first and second derivatives through `jaxinv.tikhonov_pinv`. scikit-learn's RidgeCV, which tries a grid of
λ on the same error, is printed beside it.

    python examples/tikhonov_learned_lambda.py [plot.svg]
"""

import sys

import jax
import numpy as np
from jax import numpy as jnp
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeCV

import jaxinv

FEATURES = 512
GRID = np.geomspace(1e-4, 1e6, 61)


def leave_one_out(log_lam, a, y):
    """Mean square error of each sample as predicted from the others."""
    h = a @ jaxinv.tikhonov_pinv(a, jnp.exp(log_lam))
    error = (y - h @ y) / (1 - jnp.diag(h))[:, None]
    return jnp.mean(error**2)


@jax.jit
def newton_step(log_lam, a, y):
    gradient, curvature = jax.jvp(lambda t: jax.grad(leave_one_out)(t, a, y), (log_lam,), (1.0,))
    return log_lam - jnp.clip(gradient / jnp.abs(curvature), -1.5, 1.5)


def learn(a, y, log_lam=0.0) -> float:
    """λ of the smallest leave-one-out error near the starting point."""
    log_lam = jnp.asarray(log_lam)
    for _ in range(20):
        before, log_lam = log_lam, newton_step(log_lam, a, y)
        if abs(log_lam - before) < 1e-6:
            break
    return float(jnp.exp(log_lam))


def accuracy(a, y, lam, a_test, labels):
    return float(jnp.mean(jnp.argmax(a_test @ jaxinv.tikhonov_solve(a, y, lam), axis=1) == labels))


def main() -> dict[int, tuple[float, float, float, float]]:
    """Prints and returns, for each number of samples, λ learned, λ of RidgeCV, and the accuracies of both."""
    jax.config.update("jax_enable_x64", True)
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    pixels, labels = pixels[order] / 16, labels[order]
    rng = np.random.default_rng(1)
    features = np.maximum(pixels @ rng.standard_normal((64, FEATURES)) + rng.standard_normal(FEATURES), 0)
    targets = np.eye(10)[labels] - 0.1
    test, out, curves = slice(512, None), {}, {}
    print("samples   λ learned   λ of RidgeCV   accuracy on 1285 other digits: learned, RidgeCV, λ = 1e-8")
    for m in (60, 512):
        a, y = features[:m], targets[:m]
        lam = learn(a, y)
        reference = float(RidgeCV(GRID, fit_intercept=False).fit(a, y).alpha_)
        scores = [accuracy(a, y, v, features[test], labels[test]) for v in (lam, reference, 1e-8)]
        out[m] = lam, reference, scores[0], scores[1]
        print(f"{m:7d}  {lam:10.4f}  {reference:13.4f}   " + "  ".join(f"{s:.2%}" for s in scores))
        curves[m] = a, y, lam
    if len(sys.argv) > 1:
        plot(sys.argv[1], curves)
    return out


def plot(path: str, curves) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    error = jax.jit(leave_one_out)
    for m, (a, y, lam) in curves.items():
        (line,) = axes.loglog(GRID[::6], [error(np.log(v), a, y) for v in GRID[::6]], label=f"{m} samples")
        axes.plot(lam, error(np.log(lam), a, y), "o", color=line.get_color(), label="learned")
    axes.set(xlabel="λ", ylabel="leave-one-out error")
    axes.legend()
    figure.savefig(path)
    print("plot:", path)


if __name__ == "__main__":
    main()
