"""Quadratic discriminant analysis of scikit-learn's handwritten digits: ten covariances of 64 × 64 pixels.

Each class has a Gaussian of its own, with covariance (1 − r) Σ + r I (Friedman, J. Amer. Statist. Assoc. 84,
1989, 165-175). `jaxinv.inv_slogdet` gives inverses and determinants of all classes, for all values of r
at once. scikit-learn's QuadraticDiscriminantAnalysis(reg_param=r) is printed beside it; since 1.9 it divides
by the number of samples, as is done here.

    python examples/quadratic_discriminant.py [plot.svg]
"""

import sys

import jax
import numpy as np
from jax import numpy as jnp
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

import jaxinv

TRAIN = 1200
REGULARISATIONS = (0.001, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9)


@jax.jit
def log_probabilities(x, means, covariances, priors, regularisations):
    """Logarithms of the probabilities of the classes, (regularisations, samples, classes)."""
    r = regularisations[:, None, None, None]
    shrunk = (1 - r) * covariances + r * jnp.eye(x.shape[-1])
    inverse, _, logdet = jaxinv.inv_slogdet(shrunk, assume_a="pos")
    centred = x[None] - means[:, None]  # (classes, samples, pixels)
    distance = jnp.sum((centred @ inverse) * centred, -1)
    scores = -0.5 * (distance + logdet[..., None]) + jnp.log(priors)[:, None]
    return jax.nn.log_softmax(jnp.moveaxis(scores, 1, -1))


def main() -> dict[float, tuple[float, float, float]]:
    """Prints and returns, for each r, both accuracies and the largest difference of the probabilities."""
    jax.config.update("jax_enable_x64", True)
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(pixels))
    pixels, labels = pixels[order], labels[order]
    x, y = pixels[:TRAIN], labels[:TRAIN]
    classes = [x[y == digit] for digit in range(10)]
    means = np.stack([c.mean(0) for c in classes])
    covariances = np.stack([np.cov(c, rowvar=False, bias=True) for c in classes])
    priors = np.array([len(c) / TRAIN for c in classes])
    test, truth = pixels[TRAIN:], labels[TRAIN:]
    ours = log_probabilities(test, means, covariances, priors, np.array(REGULARISATIONS))
    out = {}
    print("r        accuracy  scikit-learn  largest difference of probabilities")
    for r, logarithms in zip(REGULARISATIONS, np.asarray(ours), strict=True):
        reference = QuadraticDiscriminantAnalysis(reg_param=r).fit(x, y)
        difference = np.abs(np.exp(logarithms) - reference.predict_proba(test)).max()
        out[r] = np.mean(logarithms.argmax(-1) == truth), reference.score(test, truth), difference
        print("{:<8} {:8.2%}  {:12.2%}  {:.1e}".format(r, *out[r]))
    if len(sys.argv) > 1:
        plot(sys.argv[1], out)
    return out


def plot(path: str, rows) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.semilogx(list(rows), [row[0] for row in rows.values()], "o-")
    axes.set(xlabel="r", ylabel=f"accuracy on {1797 - TRAIN} digits not seen")
    figure.savefig(path)
    print("plot:", path)


if __name__ == "__main__":
    main()
