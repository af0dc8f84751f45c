"""Variable projection: what the derivative of the pseudo-inverse was found for (Golub & Pereyra, 1973).

Fits a sum of three exponentials, y = c1 exp(-k1 x) + c2 exp(-k2 x) + c3 exp(-k3 x), to the Lanczos data of
NIST's reference data sets. The amplitudes c enter linearly: for given rates k the best are Φ(k)⁺ y. What is
left is a problem in the rates alone, the residual (I − Φ Φ⁺) y, with the pseudo-inverse in its Jacobian.

    python examples/variable_projection.py [plot.svg]
"""

import json
import pathlib
import sys

import jax
import numpy as np
from jax import numpy as jnp

import jaxinv

DATA = json.loads((pathlib.Path(__file__).parent / "nist_strd.json").read_text())


def lanczos(name: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y of one data set, y rounded as NIST prints it."""
    x = DATA["x"]["first"] + DATA["x"]["step"] * np.arange(DATA["x"]["count"])
    y = sum(c * np.exp(-k * x) for c, k in zip(DATA["amplitudes"], DATA["rates"], strict=True))
    return x, np.array([float(format(v, DATA["sets"][name]["format"])) for v in y])


def basis(rates, x):
    return jnp.exp(-rates * x[:, None])


def amplitudes(rates, x, y):
    return jaxinv.pinv(basis(rates, x)) @ y


def residual(rates, x, y):
    return y - basis(rates, x) @ amplitudes(rates, x, y)


@jax.jit
def fit(x, y, rates):
    """Rates by Levenberg-Marquardt on the projected residual."""

    def step(_, state):
        rates, damping = state
        r = residual(rates, x, y)
        jacobian = jax.jacfwd(residual)(rates, x, y)
        scale = jnp.diag(jnp.linalg.norm(jacobian, axis=0))
        trial = rates - jaxinv.tikhonov_solve(jacobian, r, damping, scale)
        # At the minimum the sum of squares is flat: its rounding must not refuse the last steps.
        better = jnp.sum(residual(trial, x, y) ** 2) <= (1 + 1e-9) * jnp.sum(r**2)
        return jnp.where(better, trial, rates), jnp.where(better, damping / 10, damping * 4)

    return jax.lax.fori_loop(0, 200, step, (rates, 1e-2))[0]


def main() -> dict[str, tuple[np.ndarray, float]]:
    """Prints each fit under NIST's certified one; returns c1, k1, ..., k3 and the squared residual."""
    jax.config.update("jax_enable_x64", True)
    fits = {}
    print(f"{'':22}" + "".join(f"{name:>14}" for name in ("c1", "k1", "c2", "k2", "c3", "k3", "residual²")))
    for name, certified in DATA["sets"].items():
        x, y = lanczos(name)
        rates = jnp.sort(fit(x, y, jnp.asarray(DATA["start_rates"])))
        c = amplitudes(rates, x, y)
        rss = float(jnp.sum(residual(rates, x, y) ** 2))
        fits[name] = np.stack([c, rates], axis=-1).ravel(), rss
        rows = {"NIST": (*certified["certified"], certified["rss"]), "fit": (*fits[name][0], rss)}
        for source, row in rows.items():
            print(f"{name:10}{source:12}" + "".join(f"{v:14.9f}" for v in row[:-1]) + f"{row[-1]:14.6e}")
    if len(sys.argv) > 1:
        plot(sys.argv[1], fits)
    return fits


def plot(path: str, fits) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    x, y = lanczos("Lanczos1")
    c, rates = fits["Lanczos1"][0].reshape(3, 2).T
    fine = np.linspace(0, 1.3, 200)
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(x, y, "o", label="Lanczos1")
    axes.plot(fine, np.exp(-fine[:, None] * rates) @ c, label="fit")
    for k, amplitude in zip(rates, c, strict=True):
        axes.plot(fine, amplitude * np.exp(-k * fine), "--", label=f"{amplitude:.4f} exp(−{k:.4f} x)")
    axes.set(xlabel="x", ylabel="y", yscale="log", ylim=(1e-3, 4))
    axes.legend()
    figure.savefig(path)
    print("plot:", path)


if __name__ == "__main__":
    main()
