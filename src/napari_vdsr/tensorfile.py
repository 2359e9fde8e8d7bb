"""Tensor files: safetensors, which hold numbers and text, so that opening one runs no code."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from napari_vdsr.errors import VdsrError
from napari_vdsr.schema import Damaged, parse_json
from napari_vdsr.showing import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Shapes = dict[str, tuple[int, ...]]


class TensorFile:
    """An open file; tensors are read one by one, after what it claims was looked at.

    Attributes
    ----------
    shapes : dict
        Of every tensor, by name.
    dtypes : dict
        As safetensors spells them: ``"F32"``.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._texts: Mapping[str, str] = handle.metadata() or {}
        slices = {name: handle.get_slice(name) for name in handle.keys()}
        self.shapes: Shapes = {name: tuple(s.get_shape()) for name, s in slices.items()}
        self.dtypes = {name: str(s.get_dtype()) for name, s in slices.items()}

    def header(self, key: str) -> Any:
        """Plain values under a key of the header.

        Raises
        ------
        KeyError
            If it is not there.
        Damaged
            If they are no JSON.
        """
        return parse_json(self._texts[key])

    def tensor(self, name: str) -> Any:
        """Read a tensor; it does not keep the file mapped into memory."""
        return self._handle.get_tensor(name).clone()


@contextmanager
def open_tensors(path: Path, framework: str) -> Iterator[TensorFile]:
    """Open a file to read; closed with the block.

    Parameters
    ----------
    path : pathlib.Path
        Of a safetensors file.
    framework : {"np", "pt"}
        Whose tensors it gives.

    Raises
    ------
    Damaged
        For whatever goes wrong in the block, errors raised on purpose apart: a library
        that reads damaged files ends in any exception there is.
    """
    try:
        with safe_open(path, framework=framework) as handle:
            yield TensorFile(handle)
    except (Damaged, VdsrError):
        raise
    except MemoryError as error:
        raise Damaged("it does not fit into memory") from error
    except Exception as error:
        raise Damaged(shortened(str(error) or type(error).__name__)) from error
