"""A model from a run that has not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_vdsr.model.card import SUFFIX, ModelCard
from napari_vdsr.model.file import save_model
from napari_vdsr.training.branches import plain
from napari_vdsr.training.checkpoint import NAME, Checkpoint, check_weights
from napari_vdsr.training.config import config_from
from napari_vdsr.training.network import scales_of, training_network
from napari_vdsr.training.run import invents, without_folders

if TYPE_CHECKING:
    from pathlib import Path


def export_checkpoint(output: Path, path: Path | None = None) -> Path:
    """Write the weights of a run's last checkpoint as a model file.

    Parameters
    ----------
    output : pathlib.Path
        Folder of the run.
    path : pathlib.Path, optional
        Of the model file, whose name is the model's; by default
        ``output/NAME-stepN.safetensors``, by the run's name. One that is there is replaced.

    Returns
    -------
    pathlib.Path
        The model file.

    Raises
    ------
    TrainingError
        If there is no checkpoint.
    """
    saved = Checkpoint.load(output / NAME)
    config = config_from(saved.config)
    check_weights(saved, config, output / NAME)
    network = training_network(config, scales_of(saved.data))
    mean = {key.removeprefix("module."): value for key, value in saved.ema.items()}
    weights = {key: mean[key] for key in network.state_dict()} if mean else saved.network
    network.load_state_dict(weights)
    path = path or output / f"{saved.name or config.architecture}-step{saved.step}{SUFFIX}"
    card = ModelCard(
        name=path.stem,
        architecture=config.architecture,
        scales=tuple(sorted({float(task["scale"]) for task in saved.data["tasks"]})),
        training={
            "config": without_folders(config),
            "data": saved.data,
            "step": saved.step,
            "seconds": round(saved.seconds),
            "cpu_seconds": round(saved.cpu_seconds),
        },
        invents=invents(config, saved.data, saved.step),
    )
    save_model(path, plain(network.eval()), card)
    return path
