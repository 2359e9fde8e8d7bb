"""A trained model whose results are learnt beside the images themselves."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from napari_vdsr.errors import TrainingError
from napari_vdsr.model.file import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from torch import Tensor

    from napari_vdsr.training.degrade.tasks import Task


class Teacher:
    """What a trained model makes of the inputs of a run ("knowledge distillation" [1]_).

    Many images fit an input, and a network learns their mean. A single one differs from it by
    what nobody could have known, which is noise to whoever learns, and more than all that is
    left to learn; a good model's result differs by little. Patches are turned and flipped only
    after the teacher has seen them: what is learnt is the mean of its results over all eight
    orientations, which is better than each ("self-ensemble" [2]_), and so a network can learn
    from its own weights.

    Parameters
    ----------
    name_or_path : str
        Of a model, as ``load_model`` takes it.
    tasks : iterable of Task
        What it shall do.
    device : torch.device
        Where it runs.
    context : callable
        Makes the context in which its layers run, such as that of autocast.

    Attributes
    ----------
    card : ModelCard
        Of the model.

    Raises
    ------
    ModelFileError
        If there is no such model.
    TrainingError
        If the model works on colour, or cannot do a task.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015.
       https://doi.org/10.48550/arXiv.1503.02531
    .. [2] R. Timofte, R. Rothe, L. Van Gool, "Seven Ways to Improve Example-Based Single Image
       Super Resolution", CVPR 2016. https://doi.org/10.1109/CVPR.2016.206
    """

    def __init__(
        self,
        name_or_path: str,
        tasks: Iterable[Task],
        device: torch.device,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        model = load_model(name_or_path)
        network = model.network
        self.card, self._context = model.card, context
        self._source = network.reads == "source"
        if not model.card.sha256:
            raise TrainingError(
                f"teacher {name_or_path} has no weights, and all that it makes is in the input. "
                "Name a model that was trained."
            )
        if network.channels != 1:
            raise TrainingError(
                f"teacher {name_or_path} works on {network.channels} channels at once, and patches "
                "are of one. Name a model of luma."
            )
        able = model.card.scales
        for task in tasks:
            if task.scale not in able:
                scales = ", ".join(f"{scale:g}" for scale in able)
                raise TrainingError(
                    f"teacher {name_or_path} was trained for scales {scales}, and is to teach "
                    f"{task.name}, of scale {task.scale}. Name another model, or train at its "
                    "scales alone."
                )
        network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, small: Tensor, enlarged: Tensor, scale: int) -> Tensor:
        """Return what it makes of the inputs of one task.

        Parameters
        ----------
        small : torch.Tensor
            (N, h, w) float32, in [0, 1].
        enlarged : torch.Tensor
            (N, H, W): the same, bicubic-enlarged.
        scale : int
            H / h.

        Returns
        -------
        torch.Tensor
            (N, H, W) float32.
        """
        read, factor = (small, scale) if self._source else (enlarged, 1)
        with self._context():
            made: Tensor = self._network(read[:, None], factor)
        made = made[:, 0].float()
        return enlarged + made if self._network.residual else made
