"""How one tile runs: row streaming on the CPU, shrinking blocks on a GPU."""

from napari_vdsr.execute.executor import Executor

__all__ = ["Executor"]
