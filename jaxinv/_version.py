"""The version; also what the compiled module must report to be used."""

__version__ = "0.1.0"
