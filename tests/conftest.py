"""Eight host devices, 64-bit types, and the fixtures that say which kernels a test runs on."""
# ruff: noqa: E402  (the environment is set before jax is imported)

import collections
import os

# NumPy only serves as an oracle here: its own threads would fight those of the code under test.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The sharding tests need several devices, and XLA reads this once.
_DEVICES = "--xla_force_host_platform_device_count"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=8".strip()

import jax
import pytest

import jaxinv
from jaxinv import _native

jax.config.update("jax_enable_x64", True)

_DISABLED = _native._disabled
_REASONS = {b.name: b.reason for b in jaxinv.backends()}
_REQUIRED = frozenset(filter(None, os.environ.get("JAXINV_REQUIRE", "").split(",")))


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "portable(n=..., dtype=...): the cases of a test with `path` that also run on the portable path",
    )
    config.addinivalue_line(
        "markers",
        "thinned(*names, every=3): of the cases of a path that cross the parameters named, one in so many "
        "runs by default, the others with the slow tests",
    )
    config.addinivalue_line(
        "markers",
        "unoptimised: what XLA compiles is not optimised by LLVM, which takes most of the time of a test "
        "that compiles much and computes little; for derivatives and transformations, not for accuracy",
    )


@pytest.hookimpl(tryfirst=True)  # before slow tests are deselected
def pytest_collection_modifyitems(config, items):
    """Compiling takes most of a test's time: marks say which cases are worth it."""

    def wanted(item):
        mark = item.get_closest_marker("portable")
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if mark is None or params.get("path") != "portable":
            return True
        return all(params[name] in values for name, values in mark.kwargs.items())

    config.hook.pytest_deselected(items=[i for i in items if not wanted(i)])
    items[:] = [i for i in items if wanted(i)]
    seen = collections.defaultdict(dict)  # the values of each parameter, in order
    for item in items:
        mark = item.get_closest_marker("thinned")
        if mark is None or item.get_closest_marker("slow"):
            continue
        diagonal = 0
        for name in mark.args:
            values = seen[item.function, item.callspec.params.get("path"), name]
            diagonal += values.setdefault(str(item.callspec.params[name]), len(values))
        if diagonal % mark.kwargs.get("every", 3):
            item.add_marker(pytest.mark.slow)


def missing(name: str, reason: str) -> None:
    """Skips with the reason, or fails where JAXINV_REQUIRE says that this machine must have `name`."""
    if name in _REQUIRED:
        pytest.fail(f"JAXINV_REQUIRE has {name}, but {reason}")
    pytest.skip(reason)


def _need_native() -> str:
    platform = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    name = _native.PLATFORMS.get(platform, platform)
    reason = _REASONS.get(name, "no such backend")
    if reason:
        missing(name, f"native kernels of {name} are not available: {reason}")
    return name


@pytest.fixture(scope="session")
def native() -> str:
    """Name of the native backend that serves jax's default platform; what it promises is tested there."""
    return _need_native()


@pytest.fixture(scope="module", params=["native", "portable"])
def path(request) -> str:
    """Runs a test on the native kernels and on the portable path; of module scope to group the tests."""
    if request.param == "native":
        _need_native()
    return request.param


@pytest.fixture(scope="module")
def portable() -> str:
    """Runs a test on the portable path whatever kernels are there."""
    return "portable"


@pytest.fixture(autouse=True)
def _serve(request) -> None:
    """Serves each test by the path it asked for: `path` and `portable` above, else what is there."""
    portable = {request.getfixturevalue(f) for f in ("path", "portable") if f in request.fixturenames} == {
        "portable"
    }
    disabled = frozenset(_native.BACKENDS) if portable else _DISABLED
    if _native._disabled != disabled:
        _native._disabled = disabled
        # What is compiled already calls the other path.
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _compile(request) -> None:
    """Compiles for each test as its mark says."""
    unoptimised = request.node.get_closest_marker("unoptimised") is not None
    jax.config.update("jax_disable_most_optimizations", unoptimised)


@pytest.fixture(scope="session")
def flushes() -> bool:
    """True where programs of XLA flush denormal results to zero: on the CPU."""
    return jax.default_backend() == "cpu"


@pytest.fixture(scope="session")
def flushed(flushes) -> bool:
    """True where the path that serves by default flushes denormals: native kernels never do."""
    return flushes and bool(_REASONS["cpu"])


@pytest.fixture(scope="session")
def eight_devices() -> list[jax.Device]:
    devices = jax.devices()
    if len(devices) < 8:
        missing(jax.default_backend(), f"the test needs 8 devices, there are {len(devices)}")
    return devices[:8]
