"""Prints versions, devices, backends with the reason where one is missing, and switches."""

import argparse
import os
import platform

import jax
import jaxlib
import numpy as np

from jaxinv import _native
from jaxinv._cli.output import PlainOutput
from jaxinv._version import __version__

NAME = "info"
HELP = "versions, devices, backends, switches"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: `info` has no options."""


def run(args: argparse.Namespace, output: PlainOutput) -> int:
    """Prints what a bug report needs. Returns 0, also where no backend is available."""
    output.line(f"jaxinv {__version__}")
    for name, text in _facts():
        output.line(f"{name + ':':<16}{text}")
    return 0


def _facts():
    yield "python", f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores"
    yield "jax", f"{jax.__version__}, jaxlib {jaxlib.__version__}, numpy {np.__version__}"
    runtime, built = (v and f"{v[0]}.{v[1]}" for v in _native.ffi_versions())
    yield "XLA FFI", f"jaxlib {runtime or 'unknown'}, compiled module {built or 'none'}"
    try:
        for device in jax.devices():
            yield "device", f"{device.platform}:{device.id} {device.device_kind}"
    except RuntimeError as error:
        yield "device", f"none, jax does not start: {error}"
    for backend in _native.backends():
        text = f"kernel set {backend.kernel_set}" if backend.available else f"not available: {backend.reason}"
        yield f"backend {backend.name}", f"{text}; {backend.device}" if backend.device else text
    for switch, value in _native.switches().items():
        yield switch, value or "not set"
