"""Trained networks on disk: safetensors with a model card in the header.

The format holds numbers and text only, so that opening a stranger's file runs no code.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from napari_vdsr.atomic import write_whole
from napari_vdsr.model.card import BICUBIC_CARD, CARD_KEY, ModelCard, card_from, read_card
from napari_vdsr.model.catalog import check_noted, find_model, picked_name
from napari_vdsr.options import DEFAULT_MODEL

if TYPE_CHECKING:
    from napari_vdsr.networks import Network


@dataclass(frozen=True)
class Model:
    """A network ready to run, in evaluation mode, and its card."""

    network: Network
    card: ModelCard

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def identity(self) -> str:
        """SHA-256 of the weights as they are now; empty for a network that has none.

        That of the card's for a model from a file, and of a model that was never saved,
        or trained on since, its own.
        """
        from napari_vdsr.model.weights import network_identity

        return network_identity(self.network)


class Bicubic(Model):
    """The model without weights, whose network is made only if it is asked for."""

    def __init__(self) -> None:
        object.__setattr__(self, "card", BICUBIC_CARD)

    @cached_property
    def network(self) -> Network:
        from napari_vdsr.networks import NETWORKS

        return NETWORKS["bicubic"]().eval()

    @property
    def identity(self) -> str:
        return ""


def save_model(
    path: Path | str, network: Network, card: ModelCard, *, half: bool = False
) -> ModelCard:
    """Write a network with its card; the file appears whole or not at all.

    Parameters
    ----------
    path : pathlib.Path or str
        The file; one that is there is replaced.
    network : Network
        It stays as it is.
    card : ModelCard
        What is known of it.
    half : bool
        Round the weights to float16, for a file of half the size; what is read from it is
        float32 again. Kernels that sum to zero (`equivariant`) do so within 1e-3 then.

    Returns
    -------
    ModelCard
        `card` with what is written of the network: its hyper-parameters, what it reads and
        how far it sees, and the hash of its weights.

    Raises
    ------
    WriteError
        If the file cannot be written.
    ModelFileError
        If the network has no weights, or they contain NaN or infinity or, with `half`, a
        number beyond 65504, the largest of float16.
    """
    from napari_vdsr.model.weights import encoded, stored, traits, weights_sha256

    path = Path(path)
    tensors = stored(network, path, half=half)
    written = asdict(card) | {
        **traits(network),
        "hyperparameters": network.hyperparameters,
        "sha256": weights_sha256(tensors),
    }
    write_whole(path, encoded(tensors, {CARD_KEY: json.dumps(written)}))
    return card_from(written, path)


def load_model(name_or_path: str | Path = DEFAULT_MODEL) -> Model:
    """Load a model by name, bundled or of the user's folder, or any model file by path.

    By default that which upscales best and fast (``options.DEFAULT_MODEL``).

    Raises
    ------
    ModelFileError
        If there is no such model, or the file is damaged, of another kind (a pickle),
        made by a newer version, not the one whose checksum is noted beside it, or its card
        claims another network than it holds.

    Notes
    -----
    What is computed follows the network alone; the card of one from before they were there
    is completed.
    """
    if name_or_path == BICUBIC_CARD.name:
        return Bicubic()
    path = find_model(name_or_path)
    check_noted(path)
    card = read_card(path)
    card = replace(card, name=picked_name(path) or card.name)
    from napari_vdsr.model.weights import read_network  # torch takes a second to import

    return Model(*read_network(card, path))
