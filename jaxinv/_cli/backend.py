"""What serves this process, said first by every command that computes."""

import argparse

from jaxinv import _native
from jaxinv._cli.output import PlainOutput
from jaxinv._version import __version__
from jaxinv.explain import default_platform


class CommandError(Exception):
    """Ends a command with status 1; its text is printed to stderr."""


def add_portable_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --portable, read by `announce`."""
    parser.add_argument(
        "--portable", action="store_true", help="run the portable path (XLA) instead of native kernels"
    )


def announce(output: PlainOutput, portable: bool) -> str:
    """Prints version, platform and kernel set. Call it before anything is traced.

    Returns what was printed after the version, for titles. Raises CommandError where a compiled module is
    installed but not in use, unless the portable path was asked for.
    """
    if portable:
        _native.use_portable()
    try:
        platform = default_platform()
    except RuntimeError as error:
        raise CommandError(f"jax does not start: {error}") from error
    backends = {backend.name: backend for backend in _native.backends()}
    backend = backends.get(_native.PLATFORMS.get(platform, ""))
    if backend is None:
        reason = f"jaxinv has no native kernels for {platform}"
    elif portable:
        reason = "asked for by --portable"
    else:
        reason = backend.reason
    native = backend is not None and backend.available
    serving = f"native kernels ({backend.kernel_set})" if native else f"portable path (XLA): {reason}"
    output.line(f"jaxinv {__version__}: {platform}, {serving}")
    if backend is not None and not native and not portable and _native.installed():
        raise CommandError(
            f"the compiled module is installed but not in use: {reason}. "
            "Mend that, or pass --portable to run without native kernels"
        )
    return f"{platform}, {serving if native else 'portable path (XLA)'}"
