"""Gaussian-process regression of scikit-learn's diabetes data, its hyper-parameters from 64 starts at once.

The kernel is c · exp(−|x − x'|² / 2 l²) + noise. Its logarithmic marginal likelihood (Rasmussen & Williams,
Gaussian Processes for Machine Learning, 2006, eq. 2.30) needs K⁻¹ and log det K, which `jaxinv.inv_slogdet`
gives from one factorisation, with derivatives. Steps of Adam are vmapped over the starts: a batch of 64
covariance matrices. scikit-learn's GaussianProcessRegressor is printed beside the best.

    python examples/gaussian_process.py [plot.svg]
"""

import sys

import jax
import numpy as np
from jax import numpy as jnp
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

import jaxinv

STARTS, SAMPLES, STEPS = 64, 80, 80


def signal(theta, x, z):
    """Covariance of the signal; theta holds the logarithms of c, l and noise, as in scikit-learn."""
    difference = x[:, None] - z[None]
    return jnp.exp(theta[0] - 0.5 * jnp.sum(difference**2, -1) * jnp.exp(-2 * theta[1]))


def posterior(theta, x, y):
    """K⁻¹ y and the logarithmic marginal likelihood."""
    k = signal(theta, x, x) + jnp.exp(theta[2]) * jnp.eye(len(x))
    inverse, _, logdet = jaxinv.inv_slogdet(k, assume_a="pos")
    weights = inverse @ y
    return weights, -0.5 * (y @ weights + logdet + len(x) * jnp.log(2 * jnp.pi))


@jax.jit
def fit(starts, x, y):
    """Maximum of the likelihood from each start by Adam, and the likelihoods on the way."""
    likelihood = jax.vmap(jax.value_and_grad(lambda theta: posterior(theta, x, y)[1]))

    def step(state, k):
        theta, mean, square = state
        value, gradient = likelihood(theta)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        update = mean / (1 - 0.9**k) / (jnp.sqrt(square / (1 - 0.99**k)) + 1e-8)
        rate = 0.3 * jnp.minimum(1, 3 * (1 - k / STEPS))
        return (theta + rate * update, mean, square), value

    zeros = jnp.zeros_like(starts)
    (theta, *_), path = jax.lax.scan(step, (starts, zeros, zeros), 1.0 + jnp.arange(STEPS))
    return theta, path


def main() -> dict[str, float]:
    """Prints and returns likelihood and R² of ours and of scikit-learn's."""
    jax.config.update("jax_enable_x64", True)
    x, y = load_diabetes(return_X_y=True, scaled=False)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:SAMPLES], order[SAMPLES:]
    x = (x - x[train].mean(0)) / x[train].std(0)
    y = (y - y[train].mean()) / y[train].std()
    starts = np.random.default_rng(1).uniform([-2, -1, -3], [2, 3, 1], (STARTS, 3))
    theta, path = fit(jnp.asarray(starts), x[train], y[train])
    weights, likelihoods = jax.vmap(lambda t: posterior(t, x[train], y[train]))(theta)
    best = int(jnp.argmax(likelihoods))
    prediction = signal(theta[best], x[test], x[train]) @ weights[best]

    kernel = ConstantKernel(1.0, (1e-5, 1e5)) * RBF(3.0, (1e-5, 1e5)) + WhiteKernel(0.5, (1e-5, 1e5))
    reference = GaussianProcessRegressor(kernel, alpha=0).fit(x[train], y[train])
    out = {
        "likelihood": float(likelihoods[best]),
        "likelihood by scikit-learn at the same kernel": reference.log_marginal_likelihood(theta[best]),
        "likelihood found by scikit-learn": reference.log_marginal_likelihood_value_,
        "R²": float(1 - jnp.mean((y[test] - prediction) ** 2) / np.var(y[test])),
        "R² of scikit-learn": reference.score(x[test], y[test]),
        "starts that end there": int(jnp.sum(likelihoods > likelihoods[best] - 0.01)),
    }
    print("c = {:.4g}, l = {:.4g}, noise = {:.4g}".format(*np.exp(theta[best])))
    for name, value in out.items():
        print(f"{name:48}{value:14.6f}")
    if len(sys.argv) > 1:
        plot(sys.argv[1], path)
    return out


def plot(path: str, likelihoods) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(likelihoods, color="C0", alpha=0.3)
    top = float(np.max(likelihoods))
    axes.set(xlabel="step", ylabel="logarithmic marginal likelihood", ylim=(top - 60, top + 5))
    figure.savefig(path)
    print("plot:", path)


if __name__ == "__main__":
    main()
