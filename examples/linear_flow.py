"""A linear flow as a layer of Equinox and of Flax, fitted by Optax to scikit-learn's iris data.

The layer maps x to z = W (x − m), which is to be standard normal: x has the density N(z; 0, I) |det W|. Its
inverse draws samples. `jaxinv.inv_slogdet` gives both. The best W has WᵀW = Σ⁻¹, so the mean of −log p at
the end is known: (log det(2π Σ) + d) / 2, the entropy of the Gaussian of the data's covariance Σ.

    python examples/linear_flow.py [plot.svg]
"""

import sys

import equinox as eqx
import jax
import numpy as np
import optax
from jax import numpy as jnp
from sklearn.datasets import load_iris

import jaxinv

STEPS = 1000


def negative_log_likelihood(weight, mean, x):
    """Mean of −log p over the samples x, and the inverse of the weight."""
    inverse, _, logabsdet = jaxinv.inv_slogdet(weight)
    z = (x - mean) @ weight.T
    return jnp.mean(jnp.sum(z**2 + jnp.log(2 * jnp.pi), -1)) / 2 - logabsdet, inverse


class EquinoxFlow(eqx.Module):
    weight: jax.Array
    mean: jax.Array

    def __init__(self, size: int):
        self.weight, self.mean = jnp.eye(size), jnp.zeros(size)

    def __call__(self, x):
        return negative_log_likelihood(self.weight, self.mean, x)


def fit_equinox(x):
    """The fitted weight and mean, and the loss of each step."""
    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, STEPS))

    @eqx.filter_jit
    def fit(flow):
        def step(carry, _):
            flow, state = carry
            (loss, _), gradient = eqx.filter_value_and_grad(lambda flow: flow(x), has_aux=True)(flow)
            update, state = optimiser.update(gradient, state)
            return (eqx.apply_updates(flow, update), state), loss

        (flow, _), losses = jax.lax.scan(step, (flow, optimiser.init(flow)), length=STEPS)
        return flow, losses

    flow, losses = fit(EquinoxFlow(x.shape[1]))
    return flow.weight, flow.mean, losses


def fit_flax(x):
    """The same with Flax's nnx."""
    from flax import nnx

    class FlaxFlow(nnx.Module):
        def __init__(self, size: int):
            self.weight, self.mean = nnx.Param(jnp.eye(size)), nnx.Param(jnp.zeros(size))

        def __call__(self, x):
            return negative_log_likelihood(self.weight[...], self.mean[...], x)

    flow = FlaxFlow(x.shape[1])
    schedule = optax.cosine_decay_schedule(0.1, STEPS)
    optimiser = nnx.Optimizer(flow, optax.adam(schedule), wrt=nnx.Param)

    @nnx.jit
    def step(flow, optimiser):
        (loss, _), gradient = nnx.value_and_grad(lambda flow: flow(x), has_aux=True)(flow)
        optimiser.update(flow, gradient)
        return loss

    losses = jnp.stack([step(flow, optimiser) for _ in range(STEPS)])
    return flow.weight[...], flow.mean[...], losses


FITS = {"equinox": fit_equinox, "flax": fit_flax}


def main(library: str = "equinox") -> tuple[float, float, np.ndarray]:
    """Prints and returns the loss found, the entropy, and W Σ Wᵀ, the identity at the optimum."""
    jax.config.update("jax_enable_x64", True)
    x = load_iris().data
    x = (x - x.mean(0)) / x.std(0)
    covariance = np.cov(x, rowvar=False, bias=True)
    weight, mean, losses = FITS[library](x)
    found, inverse = negative_log_likelihood(weight, mean, x)
    entropy = (np.linalg.slogdet(2 * np.pi * covariance)[1] + x.shape[1]) / 2
    whitened = np.asarray(weight @ covariance @ weight.T)
    samples = mean + np.random.default_rng(0).standard_normal((1000, x.shape[1])) @ inverse.T
    print(f"{library}: mean of -log p {found:.6f}, entropy {entropy:.6f}")
    print("largest entry of W Σ Wᵀ - I:", np.abs(whitened - np.eye(x.shape[1])).max())
    if len(sys.argv) > 1:
        plot(sys.argv[1], x, samples, losses)
    return float(found), float(entropy), whitened


def plot(path: str, x, samples, losses) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    left.plot(losses)
    left.set(xlabel="step", ylabel="mean of −log p")
    right.plot(*samples.T[:2], ".", ms=3, alpha=0.4, label="samples of the flow")
    right.plot(*x.T[:2], ".", label="iris")
    right.set(xlabel="sepal length, standardised", ylabel="sepal width")
    right.legend()
    figure.savefig(path)
    print("plot:", path)


if __name__ == "__main__":
    main()
