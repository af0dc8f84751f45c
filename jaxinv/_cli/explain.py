"""Says which algorithm and kernel serve a function at a shape and dtype, what memory it takes, and why."""

import argparse

import jaxinv
from jaxinv._cli.backend import CommandError
from jaxinv._cli.output import PlainOutput
from jaxinv.explain import FUNCTIONS
from jaxinv.linalg.check import STRUCTURES

NAME = "explain"
HELP = "which algorithm, kernel and memory, and why"


def parse_shape(text: str) -> tuple[int, ...]:
    """The shape that "1000,3,3" means."""
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected sizes such as 1000,3,3, got {text!r}") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds SHAPE, DTYPE, --op, --assume-a and --platform."""
    parser.add_argument("shape", metavar="SHAPE", type=parse_shape, help="shape of the array: 1000,3,3")
    parser.add_argument("dtype", metavar="DTYPE", help="its dtype: float32")
    parser.add_argument("--op", choices=FUNCTIONS, default="inv", help="function (default: inv)")
    parser.add_argument(
        "--assume-a", choices=STRUCTURES, default="general", help="what is known of the matrices"
    )
    parser.add_argument("--platform", help="cpu, macos, cuda, rocm, tpu, ... (default: JAX's)")
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace, output: PlainOutput) -> int:
    """Prints `jaxinv.explain(...)`."""
    try:
        output.line(jaxinv.explain(args.shape, args.dtype, args.op, args.platform, args.assume_a))
    except (TypeError, ValueError) as error:
        args.parser.error(str(error))
    except RuntimeError as error:
        raise CommandError(f"jax does not start: {error}") from error
    return 0
