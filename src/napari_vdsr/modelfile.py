"""Trained networks on disk: safetensors with a model card in the header.

The format holds numbers and text only, so that opening a stranger's file runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from napari_vdsr.errors import ModelFileError
from napari_vdsr.networks import NETWORKS, Network

SUFFIX = ".safetensors"
BUNDLED = Path(__file__).parent / "models"
CARD_KEY = "napari_vdsr.card"
CARD_VERSION = 1


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

    name: str
    architecture: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    scales: tuple[float, ...] = ()
    description: str = ""
    licence: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    version: int = CARD_VERSION


@dataclass(frozen=True)
class Model:
    """A network ready to run, in evaluation mode, and its card."""

    network: Network
    card: ModelCard

    @property
    def name(self) -> str:
        return self.card.name


BICUBIC_CARD = ModelCard(
    name="bicubic",
    architecture="bicubic",
    description="Bicubic interpolation (a = -0.5), the baseline of every comparison.",
)


def save_model(path: Path | str, network: Network, card: ModelCard) -> ModelCard:
    """Write a network with its card; the file appears whole or not at all.

    Returns
    -------
    ModelCard
        `card` with hyper-parameters and sha256 as they were written.
    """
    path = Path(path)
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in network.state_dict().items()
    }
    written = asdict(card) | {
        "hyperparameters": network.hyperparameters,
        "sha256": weights_sha256(tensors),
    }
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        file.write(save(tensors, metadata={CARD_KEY: json.dumps(written)}))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return _card_from(written, path)


def load_model(name_or_path: str | Path) -> Model:
    """Load a bundled model by name, or any model file by path.

    Raises
    ------
    ModelFileError
        If there is no such model, or the file is damaged, of another kind (a pickle),
        made by a newer version, or its weights do not match its card.
    """
    if name_or_path == BICUBIC_CARD.name:
        return Model(NETWORKS["bicubic"]().eval(), BICUBIC_CARD)
    path = find_model(name_or_path)
    card = read_card(path)
    if card.architecture not in NETWORKS:
        raise ModelFileError(
            f"{path}: architecture {card.architecture!r} is unknown to this version; "
            f"known are {', '.join(NETWORKS)}. Update napari-vdsr."
        )
    with safe_open(path, framework="pt") as file:
        # Cloned, since the originals would keep the file mapped into memory.
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    if any(tensor.dtype != torch.float32 for tensor in tensors.values()):
        raise ModelFileError(f"{path}: the weights are not float32. Save it with napari-vdsr.")
    if weights_sha256(tensors) != card.sha256:
        raise ModelFileError(f"{path}: the weights do not match their checksum. Download it anew.")
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise ModelFileError(f"{path}: the weights contain NaN or infinity. Train it again.")
    return Model(_build(card, tensors, path).eval(), card)


def _build(card: ModelCard, tensors: dict[str, torch.Tensor], path: Path) -> Network:
    try:
        # A hostile card must not make us allocate: the meta device holds no numbers.
        if max((v for v in card.hyperparameters.values() if isinstance(v, int)), default=0) > 2**12:
            raise ValueError("hyper-parameters are out of all bounds")
        with torch.device("meta"):
            network = NETWORKS[card.architecture](**card.hyperparameters)
        network.load_state_dict(tensors, assign=True)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelFileError(
            f"{path}: weights and card do not agree ({reason}). Download it anew."
        ) from error
    return network


def find_model(name_or_path: str | Path) -> Path:
    """Path of a model given by bundled name or by path.

    Raises
    ------
    ModelFileError
        If there is none.
    """
    bundled = BUNDLED / f"{name_or_path}{SUFFIX}"
    path = Path(name_or_path)
    if path.name == str(name_or_path) and not path.suffix and bundled.is_file():
        return bundled
    if path.is_file():
        return path
    names = ", ".join(card.name for card in list_models())
    raise ModelFileError(
        f"model {str(name_or_path)!r} is neither a bundled model ({names}) nor a file. "
        f"Pass one of these names or the path of a {SUFFIX} file."
    )


def list_models() -> list[ModelCard]:
    """Cards of the bundled models, bicubic first."""
    return [BICUBIC_CARD, *(read_card(path) for path in sorted(BUNDLED.glob(f"*{SUFFIX}")))]


def read_card(path: Path | str) -> ModelCard:
    """Card of a model file, without loading its weights.

    Raises
    ------
    ModelFileError
        If the file is not a model of this package.
    """
    path = Path(path)
    advice = "Only .safetensors files written by napari-vdsr can be loaded, never pickles (.pt)."
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, struct.error) as error:
        raise ModelFileError(f"{path}: not a readable model file ({error}). {advice}") from error
    if CARD_KEY not in metadata:
        raise ModelFileError(f"{path}: has no napari-vdsr model card. {advice}")
    try:
        return _card_from(json.loads(metadata[CARD_KEY]), path)
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: its model card is damaged ({error}). {advice}") from error


def _card_from(values: dict[str, Any], path: Path) -> ModelCard:
    if values.get("version", 0) > CARD_VERSION:
        raise ModelFileError(f"{path}: was written by a newer napari-vdsr. Update this one.")
    known = {f.name for f in fields(ModelCard)}
    kept = {key: value for key, value in values.items() if key in known}
    kept["scales"] = tuple(map(float, kept.get("scales", ())))
    if not all(isinstance(kept.get(key, ""), str) for key in ("name", "architecture", "sha256")):
        raise TypeError("a name is no text")
    return ModelCard(**kept)


def weights_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """Hash of names, shapes and values, independent of the file around them."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
