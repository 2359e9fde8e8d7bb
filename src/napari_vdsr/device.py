"""Which device and which precision to compute with."""

from __future__ import annotations

import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from napari_vdsr.advice import Remedy
from napari_vdsr.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    import torch

DEVICES = ("auto", "cuda", "mps", "cpu")
# By the names that torch has for them, which takes a second to import.
PRECISIONS = {"float32": "float32", "bf16": "bfloat16", "fp16": "float16"}

_changing = threading.Lock()
_inside, _before = 0, True


def available_devices() -> list[str]:
    """Devices that torch can use here, best first; always ends in ``"cpu"``."""
    import torch

    found = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_device(name: str = "auto") -> torch.device:
    """Device for a name such as ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.

    Raises
    ------
    DeviceError
        If torch cannot use it here.
    """
    import torch

    found = available_devices()
    if name == "auto":
        return torch.device(found[0])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in found:
        raise DeviceError(
            f"device {name!r} cannot be used; torch {torch.__version__} found {', '.join(found)}.",
            Remedy.AUTO_DEVICE,
        )
    return torch.device(wanted)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Arithmetic of the network's inner layers on a device.

    Parameters
    ----------
    name : str
        ``"float32"``, ``"bf16"``, ``"fp16"``, or ``"auto"``: fp16 on CUDA, whose ten
        mantissa bits keep results within one part in a thousand of the residual, and
        float32 elsewhere, for reproducible results.

    Raises
    ------
    DeviceError
        If the name is unknown, or the device computes it only by slow emulation.
    """
    import torch

    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if name not in PRECISIONS:
        raise DeviceError(
            f"precision {name!r} is unknown; allowed are auto, {', '.join(PRECISIONS)}."
        )
    if device.type == "cpu" and name == "fp16":
        raise DeviceError("precision fp16 is for GPUs; on the CPU use float32, or bf16 for speed.")
    if device.type == "cpu" and name == "bf16" and not cpu_has_bf16():
        raise DeviceError(
            "precision bf16 is not in this processor's instructions (AVX-512 BF16, AMX or Arm "
            "BF16), so it would be slower than float32.",
            Remedy.FLOAT32,
        )
    precision: torch.dtype = getattr(torch, PRECISIONS[name])
    return precision


def exact_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Context in which float32 convolutions on a device are float32.

    cuDNN's default, TF32, has the mantissa of fp16.
    """
    return nullcontext() if device.type != "cuda" else _exactly()


@contextmanager
def _exactly() -> Iterator[None]:
    """Set what is set for all threads at once, until the last of them is out again."""
    import torch

    global _inside, _before
    with _changing:
        if not _inside:
            _before = torch.backends.cudnn.allow_tf32
            torch.backends.cudnn.allow_tf32 = False
        _inside += 1
    try:
        yield
    finally:
        with _changing:
            _inside -= 1
            if not _inside:
                torch.backends.cudnn.allow_tf32 = _before


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    import torch

    # torch has no public call for this; a missing one means 'do not know', hence no.
    for query in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        if getattr(torch.cpu, query, bool)():
            return True
    return False
