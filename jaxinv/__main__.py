"""`python -m jaxinv`: info, demo, check, explain, bench."""

import argparse
import sys
from collections.abc import Sequence

from jaxinv._cli import bench, check, demo, explain, info
from jaxinv._cli.backend import CommandError
from jaxinv._cli.output import make_output
from jaxinv._version import __version__

# A new command is a module or package of `_cli/` and a name here.
COMMANDS = (info, demo, check, explain, bench)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line, with one subparser for each command."""
    parser = argparse.ArgumentParser(prog="jaxinv", description="Batched matrix inversion for JAX.")
    parser.add_argument("--version", action="version", version=f"jaxinv {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = commands.add_parser(command.NAME, help=command.HELP, description=command.__doc__)
        command.add_arguments(subparser)
        subparser.set_defaults(command=command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns its exit status: 0 success, 1 failure; usage errors exit with 2."""
    args = make_parser().parse_args(argv)
    try:
        return args.command.run(args, make_output())
    except CommandError as error:
        print(f"jaxinv {args.command.NAME}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
