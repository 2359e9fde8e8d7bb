"""Trained networks on disk: safetensors with a model card in the header.

The format holds numbers and text only, so that opening a stranger's file runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from napari_vdsr.errors import ModelFileError
from napari_vdsr.modelcard import (
    BICUBIC_CARD,
    CARD_KEY,
    ModelCard,
    card_from,
    find_model,
    read_card,
)
from napari_vdsr.networks import NETWORKS, Network


@dataclass(frozen=True)
class Model:
    """A network ready to run, in evaluation mode, and its card."""

    network: Network
    card: ModelCard

    @property
    def name(self) -> str:
        return self.card.name


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
    return card_from(written, path)


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


def weights_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """Hash of names, shapes and values, independent of the file around them."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
