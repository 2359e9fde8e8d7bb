"""The weights of a model file, and the network that they belong to.

Apart from the model itself: what needs no network, such as bicubic, loads without torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors.torch import save
from torch.overrides import TorchFunctionMode

from napari_vdsr.errors import ModelFileError
from napari_vdsr.model.card import FORMAT, ModelCard
from napari_vdsr.networks import NETWORKS, Network
from napari_vdsr.schema import Damaged
from napari_vdsr.showing import got, shortened
from napari_vdsr.tensorfile import TensorFile, open_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Built = TypeVar("Built", bound=torch.nn.Module)
# Whole numbers of a card up to here are believed; larger ones are sizes, or counts of layers.
SMALL = 64
# Weights of half the size, rounded, are read as the float32 that they stand for.
STORED = {"F32", "F16"}


def network_identity(network: Network) -> str:
    """SHA-256 of a network's weights as they are now; empty for one that has none."""
    tensors = _on_cpu(network)
    return weights_sha256(tensors) if tensors else ""


def stored(network: Network, path: Path, *, half: bool) -> dict[str, torch.Tensor]:
    """Weights as a model file holds them: float32, or rounded to float16.

    Raises
    ------
    ModelFileError
        If there are none, or no file can hold them.
    """
    tensors = _on_cpu(network)
    if not tensors:
        raise ModelFileError(f"{path}: the network has no weights. There is nothing to save.")
    if not _are_finite(tensors):
        raise ModelFileError(
            f"{path}: the weights contain NaN or infinity, and are not written. Train it again."
        )
    if half:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
        if not _are_finite(tensors):
            raise ModelFileError(
                f"{path}: a weight is beyond 65504, the largest number of float16. Keep float32."
            )
    return tensors


def encoded(tensors: Mapping[str, torch.Tensor], card: Mapping[str, str]) -> bytes:
    """Bytes of a model file."""
    content: bytes = save(dict(tensors), metadata=dict(card))
    return content


def _are_finite(tensors: Mapping[str, torch.Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def read_network(card: ModelCard, path: Path) -> tuple[Network, ModelCard]:
    """Read the network of a model file, in evaluation mode, and complete its card.

    Raises
    ------
    ModelFileError
        If the file is damaged, or its card claims another network than it holds.
    """
    check_known(card, path)
    try:
        with open_tensors(path, "pt") as file:
            network = _claimed(card, file, path)
            _check_fit(network, file, path)
            tensors = {name: file.tensor(name).float() for name in file.shapes}
    except Damaged as error:
        raise ModelFileError(f"{path}: not a readable model file ({error}). {FORMAT}") from error
    if weights_sha256(tensors) != card.sha256:
        raise ModelFileError(f"{path}: the weights do not match their checksum. Download it anew.")
    if not _are_finite(tensors):
        raise ModelFileError(f"{path}: the weights contain NaN or infinity. Train it again.")
    network.load_state_dict(tensors, assign=True)
    return network.eval(), _checked_traits(card, network, path)


def check_known(card: ModelCard, path: Path) -> None:
    """Raise ``ModelFileError`` if the network of a model file is none of this version."""
    if card.architecture not in NETWORKS:
        raise ModelFileError(
            f"{path}: architecture {got(card.architecture)} is unknown to this version; "
            f"known are {', '.join(NETWORKS)}. Update napari-vdsr."
        )


def traits(network: Network) -> dict[str, Any]:
    """What a card says of how a network reads an image."""
    return {
        "reads": network.reads,
        "channels": network.channels,
        "factors": tuple(network.factors),
        "radius": network.radius,
    }


def _checked_traits(card: ModelCard, network: Network, path: Path) -> ModelCard:
    """Card with the traits of its network.

    Raises
    ------
    ModelFileError
        If it claims others, which would be believed where the network is not at hand.
    """
    own = traits(network)
    for name, value in own.items():
        claimed = getattr(card, name)
        if claimed is not None and claimed != value:
            raise _disagreement(path, f"{name} is {got(claimed)}, and the network's {got(value)}")
    return replace(card, **own)


def _claimed(card: ModelCard, file: TensorFile, path: Path) -> Network:
    """Network that a card claims, without numbers.

    Raises
    ------
    ModelFileError
        If the file has not the tensors for it, or there is no such network.
    """
    held = max(SMALL, len(file.shapes), *(size for shape in file.shapes.values() for size in shape))
    for name, value in card.hyperparameters.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and abs(number) > held:
                raise _disagreement(path, f"{got(name)} is {number}; Missing key for as many")
    try:
        return without_numbers(NETWORKS[card.architecture], card.hyperparameters)
    except Exception as error:  # a card can claim any arguments, and they fail in any way
        raise _disagreement(path, shortened(str(error))) from error


class _Unfilled(TorchFunctionMode):
    """Leaves out what would fill new weights, which takes most of the time on any device."""

    FILLING = frozenset({"copy_", "fill_", "mul_", "normal_", "trunc_normal_", "uniform_", "zero_"})

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self.FILLING:
            return next(iter((*args, *kwargs.values())))
        return func(*args, **kwargs)


def without_numbers(kind: Callable[..., Built], hyperparameters: Mapping[str, Any]) -> Built:
    """Build a network that takes no memory: its weights have a shape and lie nowhere."""
    with torch.device("meta"), _Unfilled():
        return kind(**hyperparameters)


def _check_fit(network: Network, file: TensorFile, path: Path) -> None:
    """Raise ``ModelFileError`` unless a file holds a network's weights, before they are read."""
    if not set(file.dtypes.values()) <= STORED:
        raise ModelFileError(
            f"{path}: the weights are not float32 or float16. Save it with napari-vdsr."
        )
    reason = misfit(network, file.shapes)
    if reason is not None:
        raise _disagreement(path, reason)


def misfit(network: torch.nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return why tensors of such shapes are no weights of a network; None if they are."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    if missing := wanted.keys() - shapes.keys():
        return f"Missing key {min(missing)}"
    if unknown := shapes.keys() - wanted.keys():
        return f"unexpected key {got(min(unknown))}"
    wrong = [name for name, shape in wanted.items() if shape != shapes[name]]
    if not wrong:
        return None
    name = wrong[0]
    return f"size mismatch: {name} is {got(shapes[name])}, not {got(wanted[name])}"


def _disagreement(path: Path, reason: str) -> ModelFileError:
    return ModelFileError(f"{path}: weights and card do not agree ({reason}). Download it anew.")


def _on_cpu(network: Network) -> dict[str, torch.Tensor]:
    """Weights as a model file holds them."""
    return {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in network.state_dict().items()
    }


def weights_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """Hash of names, shapes and values in float32, independent of the file around them."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].float().contiguous().numpy().tobytes())
    return digest.hexdigest()
