"""The Lambda in front of a Whippet endpoint."""

__version__ = "0.1.0"
