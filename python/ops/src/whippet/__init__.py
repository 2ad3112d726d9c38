"""Whippet: train an image classifier, rehearse its deployment on local AWS, deploy it with Terraform."""

__version__ = "0.1.0"
