"""The options of the benchmark, and what each text may be."""

import argparse
import json
import math
import pathlib
import re

from jaxinv._cli.backend import add_portable_argument
from jaxinv._cli.bench.document import SCHEMA
from jaxinv._cli.bench.peers import PEERS, installed
from jaxinv._cli.bench.suite import MLX_TABLE, SUITES
from jaxinv.linalg.check import DTYPES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --suite, what to measure, how long, where to write and what to compare with."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--suite", choices=(*SUITES, MLX_TABLE, "all"), default="inv", help="(default: inv)")
    parser.add_argument(
        "--sizes", type=sizes, metavar="N,...", help="sizes n, such as 1-16,32,64 (default: 3 to 512)"
    )
    parser.add_argument("--dtypes", type=dtypes, metavar="DTYPE,...", help="(default: float32)")
    parser.add_argument(
        "--megabytes", type=megabytes, metavar="MB,...", help="sizes of the output (default: 16)"
    )
    parser.add_argument(
        "--peers", type=peers, metavar="PEER,...", help=f"of {', '.join(PEERS)} (default: those installed)"
    )
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="turns a peer (default: 5)")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=20.0,
        metavar="S",
        help="seconds after which a peer's worker is killed (default: 20)",
    )
    parser.add_argument(
        "--full", action="store_true", help="n to 2048, float32 and float64, outputs of 64 KB to 128 MB"
    )
    parser.add_argument(
        "--output",
        type=folder,
        default=pathlib.Path(),
        metavar="DIR",
        help="where to write jaxinv-bench.json and the plots (default: here)",
    )
    parser.add_argument(
        "--compare",
        type=old_run,
        metavar="OLD.json",
        help="after the run, list what moved since an older one",
    )
    add_portable_argument(parser)


def sizes(text: str) -> tuple[int, ...]:
    """The sizes that "1-3,8" means: 1, 2, 3, 8."""
    out = []
    for part in text.split(","):
        match = re.fullmatch(r"0*([1-9]\d*)(?:-0*([1-9]\d*))?", part)
        first, last = (int(group or match[1]) for group in match.groups()) if match else (1, 0)
        if last < first:
            raise argparse.ArgumentTypeError(f"expected sizes of 1 or more such as 1-16,32, got {part!r}")
        out += range(first, last + 1)
    return tuple(sorted(set(out)))


def dtypes(text: str) -> tuple[str, ...]:
    return _names(text, DTYPES)


def peers(text: str) -> tuple[str, ...]:
    names = _names(text, PEERS)
    for name in names:
        if not installed(name):
            raise argparse.ArgumentTypeError(f"{name!r} is not installed")
    return names


def _names(text, choices) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in choices:
            raise argparse.ArgumentTypeError(f"expected names of {', '.join(choices)}, got {name!r}")
    return names


def megabytes(text: str) -> tuple[float, ...]:
    return tuple(sorted({seconds(part) for part in text.split(",")}))


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, got {text!r}")
    return int(text)


def folder(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"no folder {text!r}")
    return path


def old_run(text: str) -> dict:
    """The JSON of an older run."""
    try:
        run = json.loads(pathlib.Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be read: {error}") from error
    schema = run.get("schema") if isinstance(run, dict) else None
    if schema != SCHEMA:
        raise argparse.ArgumentTypeError(f"expected schema {SCHEMA} in {text!r}, got {schema!r}")
    return run
