"""The JSON of a run: when, where and with what it was measured."""

import datetime
import json
import os
import pathlib
import platform

import jax
import jaxlib
import numpy as np

from jaxinv import _native
from jaxinv._cli.backend import CommandError
from jaxinv._cli.output import PlainOutput
from jaxinv._version import __version__
from jaxinv.explain import default_platform

# Goes up when a reader of older files would misread one.
SCHEMA = 1
NAME = "jaxinv-bench.json"


def begin(serving: str) -> dict:
    """The head of a run; `serving` is what `announce` returned."""
    name = _native.PLATFORMS.get(default_platform())
    backend = next((b for b in _native.backends() if b.name == name), None)
    return {
        "schema": SCHEMA,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "serving": serving,
        "machine": {
            "processor": (backend and backend.device) or platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "kernel_set": backend and backend.kernel_set,
        },
        "versions": dict(
            jaxinv=__version__,
            python=platform.python_version(),
            jax=jax.__version__,
            jaxlib=jaxlib.__version__,
            numpy=np.__version__,
        ),
        "load_average": [load_average()],
        "yardsticks": [],
        "cells": [],
        "accuracy": [],
    }


def load_average() -> list[float] | None:
    """Over 1, 5 and 15 minutes; None where the system has none."""
    return list(os.getloadavg()) if hasattr(os, "getloadavg") else None


def write(run: dict, folder: pathlib.Path, output: PlainOutput) -> None:
    """Writes the run into the folder."""
    path = folder / NAME
    try:
        path.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--output: {str(path)!r} cannot be written: {error}") from error
    output.line(f"results: written to {path.resolve()}")
