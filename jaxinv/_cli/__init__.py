"""The commands of `python -m jaxinv`.

Each is a module with NAME, HELP, add_arguments(parser) and run(args, output), which returns the exit status.
"""
