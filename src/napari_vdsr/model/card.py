"""Model cards: what a model file says of itself, read without torch.

The format is safetensors with a card in its header. It holds numbers and text only, so
that opening a stranger's file runs no code.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from napari_vdsr.errors import ModelFileError, ScaleError
from napari_vdsr.schema import Damaged, checked
from napari_vdsr.showing import got
from napari_vdsr.tensorfile import TensorFile, open_tensors

SUFFIX = ".safetensors"
BUNDLED = Path(__file__).parents[1] / "models"
CARD_KEY = "napari_vdsr.card"
CARD_VERSION = 1
FORMAT = "Only .safetensors files written by napari-vdsr can be loaded, never pickles (.pt)."
# Of models that were trained for none: more would be a slip, and a plan of endless tiles.
LARGEST_SCALE = 64
# Layers, widths and the like: no published network comes near, and a card can claim anything.
LARGEST_NUMBER = 2**12

# Of models, and so of files: what all systems allow.
NAMES = re.compile(r"\w[\w +.()-]*(?<![ .])")

Line = Annotated[str, Meta(min_length=1, max_length=255)]
Factor = Annotated[int, Meta(ge=1, le=LARGEST_SCALE)]
Scale = Annotated[float, Meta(ge=1, le=LARGEST_SCALE)]
Number = (
    bool
    | Annotated[int, Meta(ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
    | Annotated[float, Meta(ge=-1e9, le=1e9)]
)
Hyperparameter = Number | str | None | Annotated[list[Number], Meta(max_length=64)]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What a model is, how it was made, and how well it does.

    Attributes
    ----------
    name : str
        Short name by which users pick the model.
    architecture : str
        A key of ``napari_vdsr.networks.NETWORKS``.
    hyperparameters : dict
        Keyword arguments of the network's constructor.
    scales : tuple of float
        Scales it was trained for; empty if any scale will do.
    reads : {"enlarged", "source"} or None
        What the network reads: the bicubic-enlarged image, or the source itself. This and
        the next three are those of the network, filled in when the file is written and
        checked on loading; None in files from before they were.
    channels : int or None
        Planes that it reads at once: 1 for luma, 3 for red, green and blue.
    factors : tuple of int or None
        Enlargements that one has which reads the source; empty for one that does not.
    radius : int or None
        Of its receptive field, in pixels of what it reads.
    invents : bool
        Whether it was trained adversarially, so that details of its results are invented.
    description, licence : str
        For people.
    training : dict
        Data, recipe, steps, seed, command: whatever makes the run repeatable.
    measured : dict
        Figures by protocol and test set.
    sha256 : str
        Of the weights, filled in when the file is written and checked on loading.
    version : int
        Of the card's own format.
    """

    name: Line
    architecture: Line
    hyperparameters: dict[Line, Hyperparameter] = field(default_factory=dict)
    scales: tuple[Scale, ...] = ()
    reads: Literal["enlarged", "source"] | None = None
    channels: Annotated[int, Meta(ge=1, le=LARGEST_NUMBER)] | None = None
    factors: Annotated[tuple[Factor, ...], Meta(max_length=LARGEST_SCALE)] | None = None
    radius: Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)] | None = None
    invents: bool = False
    description: str = ""
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    version: int = CARD_VERSION


INVENTED = "the model was trained adversarially: it invents details, which are not for measurement"


def about(card: ModelCard) -> str:
    """Say what a model is, and whether it invents."""
    told = (card.description, INVENTED[:1].upper() + INVENTED[1:] + "." if card.invents else "")
    return " ".join(filter(None, told))


BICUBIC_CARD = ModelCard(
    name="bicubic",
    architecture="bicubic",
    reads="enlarged",
    channels=1,
    factors=(),
    radius=0,
    description="Bicubic interpolation (a = -0.5), the baseline of every comparison.",
)


def default_scale(card: ModelCard) -> float:
    """Scale that a model is most likely meant for: 2, or the smallest that it was trained for."""
    if not card.scales:
        return min(2.0, largest_scale(card))
    return 2.0 if 2 in card.scales else min(card.scales)


def largest_scale(card: ModelCard) -> float:
    """Largest scale that a model was trained for, and whose network has it."""
    trained = max(card.scales, default=LARGEST_SCALE)
    return min(trained, max(card.factors)) if card.factors else trained


def check_card_scale(scale: tuple[float, float], card: ModelCard) -> None:
    """Raise ``ScaleError`` unless a model can do a scale, (Y, X).

    It can do any from 1 to the largest that it was trained for, and its network enlarges
    by; 1 for both axes only if it was trained to keep the size.
    """
    largest = largest_scale(card)
    keeps_size = 1 in card.scales
    if 1 <= min(scale) and max(scale) <= largest and (keeps_size or scale != (1, 1)):
        return
    allowed = f"allowed for each of Y and X is 1 to {largest:g}"
    if largest == 1:
        allowed = "allowed is 1, since it changes no size"
    elif not keeps_size:
        allowed += ", and more than 1 for one of them"
    raise ScaleError(
        f"scale {scale[0]:g} x {scale[1]:g} cannot be done by model {got(card.name)}: {allowed}."
    )


def read_card(path: Path | str) -> ModelCard:
    """Card of a model file, without loading its weights.

    Raises
    ------
    ModelFileError
        If the file is not a model of this package.
    """
    path = Path(path)
    try:
        with open_tensors(path, "np") as file:
            return _card_in(file, path)
    except Damaged as error:
        raise ModelFileError(f"{path}: not a readable model file ({error}). {FORMAT}") from error


def _card_in(file: TensorFile, path: Path) -> ModelCard:
    try:
        return card_from(file.header(CARD_KEY), path)
    except KeyError as error:
        raise ModelFileError(f"{path}: has no napari-vdsr model card. {FORMAT}") from error
    except Damaged as error:
        raise ModelFileError(f"{path}: its model card is damaged ({error}). {FORMAT}") from error


def card_from(values: Any, path: Path) -> ModelCard:
    """Card of the values in a file's header.

    Raises
    ------
    ModelFileError
        If a newer version wrote them.
    Damaged
        If they are no card's.
    """
    version = values.get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > CARD_VERSION:
        raise ModelFileError(f"{path}: was written by a newer napari-vdsr. Update this one.")
    return checked(values, ModelCard)
