"""Serves Whippet models over SageMaker's hosting contract."""

__version__ = "0.1.0"
