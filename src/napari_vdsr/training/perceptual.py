"""A loss on feature maps of a VGG network, from weights that the user has."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_vdsr.errors import UsageError
from napari_vdsr.schema import Damaged
from napari_vdsr.showing import got
from napari_vdsr.tensorfile import open_tensors

if TYPE_CHECKING:
    from torch import Tensor

NAME = re.compile(r"(?:features\.)?(0|[1-9][0-9]{0,3})\.(weight|bias)")
# Of the images that VGG networks were trained on: red, green and blue.
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# SRGAN divides feature maps by 12.75, so that the loss is of the size of that on pixels.
STRENGTH = 1 / 12.75**2
LARGEST = 2**14  # maps of a layer


class Features(nn.Module):
    """The convolutions of a VGG network, down to the last one that the file has.

    Parameters
    ----------
    layers : torch.nn.Sequential
        Takes (N, 3, H, W), normalised as VGG's images are.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers.eval().requires_grad_(False)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("spread", torch.tensor(SPREAD)[:, None, None])

    def forward(self, luma: Tensor) -> Tensor:
        """Feature maps of (N, 1, H, W) patches in [0, 1], which are taken for grey."""
        maps: Tensor = self.layers((luma.float() - self.mean) / self.spread)
        return maps

    def distance(self, result: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference of feature maps, 1 / 12.75 of them as in SRGAN."""
        with torch.no_grad():
            wanted = self(target)
        return STRENGTH * nn.functional.mse_loss(self(result), wanted)


def load_features(path: str | Path) -> Features:
    """Load the convolutions of a VGG network without batch normalisation.

    Parameters
    ----------
    path : str or pathlib.Path
        A safetensors file with torchvision's names, ``features.0.weight`` and so on; the
        gaps between their numbers tell where the network pools. What belongs to other
        layers (``classifier``) is left out.

    Raises
    ------
    UsageError
        If the file cannot be read or holds no such network.
    """
    path = Path(path)
    try:
        with open_tensors(path, "pt") as file:
            found: dict[int, dict[str, str]] = {}
            for key in file.shapes:
                if match := NAME.fullmatch(key):
                    found.setdefault(int(match[1]), {})[match[2]] = key
            _check(found, file.shapes, file.dtypes)
            layers: list[nn.Module] = []
            numbers = sorted(found)
            for number, following in itertools.zip_longest(numbers, numbers[1:]):
                weight, bias = (file.tensor(found[number][part]) for part in ("weight", "bias"))
                convolution = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
                if not (weight.isfinite().all() and bias.isfinite().all()):
                    raise Damaged(f"features.{number} has values that are no finite numbers")
                convolution.load_state_dict({"weight": weight, "bias": bias})
                layers += [convolution, nn.ReLU()]
                if following is not None and following - number == 3:
                    layers.append(nn.MaxPool2d(2))
    except Damaged as error:
        raise UsageError(
            f"perceptual is {path}: no weights of a VGG network ({error}). Name a safetensors file "
            "with features.0.weight, features.0.bias and so on, in 32-bit floats."
        ) from error
    return Features(nn.Sequential(*layers))


def _check(
    found: dict[int, dict[str, str]], shapes: dict[str, tuple[int, ...]], dtypes: dict[str, str]
) -> None:
    """Raise ``Damaged`` unless tensors are a chain of 3 x 3 convolutions on three planes."""
    if not found or min(found):
        raise Damaged("features.0 is missing")
    inputs = 3
    for number, following in itertools.zip_longest(sorted(found), sorted(found)[1:]):
        parts = found[number]
        if len(parts) < 2:
            raise Damaged(f"features.{number} lacks its weight or its bias")
        shape = shapes[parts["weight"]]
        outputs = shape[0] if shape else 0
        good = shape == (outputs, inputs, 3, 3) and 0 < outputs <= LARGEST
        if not good or shapes[parts["bias"]] != (outputs,):
            raise Damaged(f"features.{number} is {got(shape)}, and reads {inputs} maps")
        if {dtypes[parts["weight"]], dtypes[parts["bias"]]} != {"F32"}:
            raise Damaged(f"features.{number} is not of 32-bit floats")
        if following is not None and following - number not in (2, 3):
            raise Damaged(
                f"between features.{number} and features.{following} is more than VGG has"
            )
        inputs = outputs
