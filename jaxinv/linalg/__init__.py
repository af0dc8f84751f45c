"""The public functions, a module per family: check and promote the arguments, call the operation."""
