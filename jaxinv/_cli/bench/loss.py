"""The training loss that this project began with: 60 rows of an inverse, or a Tikhonov pseudo-inverse.

Three routes, each a loss and its gradient: the first rows of the whole inverse of a (batch, n, n), those rows
alone, and the pseudo-inverse of [b; √lam d], b of as many rows as are asked for and d (n, n), without the
columns of d. Peers without a function for a route take the shortest way that they have.
"""

from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp

import jaxinv
from jaxinv._cli.bench.suite import LOSS_ROWS as ROWS
from jaxinv._cli.bench.suite import Case

_LAMBDA = 0.1


def _arguments(case: Case, gaussian: Callable) -> list[np.ndarray]:
    """Of each route what it is differentiated in, and after that what is constant."""
    n = case.n
    if case.mode == "tikhonov_pinv":
        d = gaussian((case.batch, n, n)) + np.float32(4 * np.sqrt(n)) * np.eye(n, dtype=case.dtype)
        return [gaussian((case.batch, ROWS, n)), np.full(case.batch, _LAMBDA, case.dtype), d]
    a = gaussian((case.batch, n, n)) + np.float32(4 * np.sqrt(n)) * np.eye(n, dtype=case.dtype)
    return [a]


_OURS = {
    "inv": lambda a: jaxinv.inv(a)[..., :ROWS, :],
    "inv_rows": lambda a: jaxinv.inv_rows(a, ROWS),
    "tikhonov_pinv": jaxinv.tikhonov_pinv,
}
_JNP = {
    "inv": lambda a: jnp.linalg.inv(a)[..., :ROWS, :],
    "inv_rows": lambda a: jnp.linalg.solve(a.mT, jnp.eye(a.shape[-1], ROWS, dtype=a.dtype)).mT,
    "tikhonov_pinv": lambda b, lam, d: jnp.linalg.pinv(
        jnp.concatenate([b, jnp.sqrt(lam)[:, None, None] * d], axis=-2)
    )[..., :ROWS],
}


def _with_jax(routes, case: Case, gaussian: Callable) -> Callable:
    arguments = [jnp.asarray(x) for x in _arguments(case, gaussian)]
    differentiated = tuple(range(min(len(arguments), 2)))
    step = jax.jit(jax.value_and_grad(lambda *x: jnp.sum(routes[case.mode](*x) ** 2), differentiated))
    return lambda: jax.block_until_ready(step(*arguments))


def _with_torch(case: Case, gaussian: Callable) -> Callable:
    import torch

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = False
    arguments = [torch.from_numpy(x).to(device) for x in _arguments(case, gaussian)]
    differentiated = [x.requires_grad_() for x in arguments[:2]]
    routes = {
        "inv": lambda a: torch.linalg.inv(a)[..., :ROWS, :],
        "inv_rows": lambda a: torch.linalg.solve(a.mT, torch.eye(a.shape[-1], ROWS, device=device)).mT,
        "tikhonov_pinv": lambda b, lam, d: torch.linalg.pinv(
            torch.cat([b, torch.sqrt(lam)[:, None, None] * d], dim=-2)
        )[..., :ROWS],
    }

    def call():
        torch.autograd.grad((routes[case.mode](*arguments) ** 2).sum(), differentiated)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


# Peer -> (case, shape -> Gaussian matrices) -> a call of loss and gradient.
PEERS: dict[str, Callable[[Case, Callable], Callable[[], object]]] = {
    "jaxinv": lambda case, gaussian: _with_jax(_OURS, case, gaussian),
    "jaxinv-1": lambda case, gaussian: _with_jax(_OURS, case, gaussian),
    "jnp": lambda case, gaussian: _with_jax(_JNP, case, gaussian),
    "jnp-1": lambda case, gaussian: _with_jax(_JNP, case, gaussian),
    "torch": _with_torch,
}
