"""The network that a config trains."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from napari_vdsr.errors import NetworkError, TrainingError, UsageError
from napari_vdsr.model.weights import misfit, without_numbers
from napari_vdsr.networks import NETWORKS, Network
from napari_vdsr.showing import got, shortened
from napari_vdsr.training.branches import with_branches, with_zero_sums
from napari_vdsr.training.config import MOST_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_vdsr.training.config import TrainConfig

logger = logging.getLogger(__name__)


def build_network(config: TrainConfig, scales: Iterable[int]) -> Network:
    """Build the network that a config trains, for some scales.

    Raises
    ------
    TrainingError
        If the network enlarges, and a task keeps the size.
    UsageError
        If there is no network of such settings.
    """
    kind = NETWORKS[config.architecture]
    settings: dict[str, Any] = {}
    if kind.reads == "source":
        factors = sorted(set(scales))
        if 1 in factors:
            raise TrainingError(
                f"{config.architecture} enlarges images, and mode {config.mode!r} keeps their "
                "size. Train vdsr for it."
            )
        settings["factors"] = factors
    if config.network is not None:
        settings |= config.network
    elif config.is_sized:
        settings |= {"depth": config.depth, "width": config.width, "last_init": config.last_init}
    try:
        weights = sum(p.numel() for p in without_numbers(kind, settings).parameters())
        if weights > MOST_WEIGHTS:
            raise ValueError(f"{weights:.0e} weights; allowed are {MOST_WEIGHTS:.0e}")
        network = kind(**settings)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(
            f"no {config.architecture} can be made with {got(settings)}: "
            f"{shortened(str(error)).rstrip('.')}."
        ) from error
    return network


def check_of_use(network: Network) -> None:
    """Raise ``NetworkError`` unless a model file could hold a network, and the engine run it."""
    kind, settings = type(network), network.hyperparameters
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    try:
        reason = misfit(without_numbers(kind, settings), shapes)
    except Exception as error:  # the constructor is anybody's code
        reason = shortened(str(error))
    if reason:
        raise NetworkError(
            f"{kind.__name__} is not made again by the arguments that it handed on to Network, "
            f"{got(settings)}: {reason}. Hand on all of them."
        )
    _ = network.radius  # refuses what the engine could not run


def warn_of_small_patches(network: Network, config: TrainConfig) -> None:
    """Warn where no patch shows the network all that it sees of an image.

    What lies between one border and its middle it has never met then. On photographs that costs
    little; in regions of one grey level a pattern may appear there, for which see `flat_error`.
    """
    size, seen = config.sizes[-1], 2 * network.radius + 1
    if size < seen:
        logger.warning(
            "patches have %d x %d pixels, and the network sees %d x %d: it may add a pattern to "
            "plain regions near the border of an image. Set patch_size, or grow, to %d or more.",
            size, size, seen, seen, seen,
        )  # fmt: skip


def prepare(network: Network, config: TrainConfig) -> Network:
    """Give kernels the form in which they are trained, in place; `plain` takes it back."""
    if config.branches:
        with_branches(network)
    with_zero_sums(network)
    return network


def training_network(config: TrainConfig, scales: Iterable[int]) -> Network:
    """Network of a checkpoint; see `build_network`."""
    return prepare(build_network(config, scales), config)


def scales_of(data: Mapping[str, Any]) -> list[int]:
    """Scales of the tasks in a checkpoint's record of its data."""
    return [int(task["scale"]) for task in data["tasks"]]
