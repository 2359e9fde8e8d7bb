"""The ``vdsr`` command."""

from napari_vdsr.cli.main import main

__all__ = ["main"]
