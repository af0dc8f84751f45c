"""Says which algorithm and kernel serve a call, and why."""

from jax.typing import DTypeLike

_OPS = {
    "inv": "inverse",
    "inv_ex": "inverse",
    "inv_slogdet": "inverse",
    "inv_det": "inverse",
    "inv cotangent": "triple_product",
}


def explain(shape: tuple[int, ...], dtype: DTypeLike, op: str = "inv", platform: str | None = None) -> str:
    return ""
