"""VDSR super-resolution of scientific images."""

__version__ = "0.1.0"
