"""The work of "VDSR train", in a thread of its own."""

import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_vdsr.drawing import Colours
from napari_vdsr.errors import UsageError
from napari_vdsr.image import Image
from napari_vdsr.plugin.responsive import importing_torch
from napari_vdsr.plugin.steps import Counted
from napari_vdsr.plugin.task import Cancelled, Report
from napari_vdsr.plugin.train_form import CHECKPOINT, IMAGES, Setup

if TYPE_CHECKING:
    from napari_vdsr.training.report import Outcome

# Seconds between two drawings of the curve.
REDRAW = 5.0
VALIDATE_EVERY = 200  # steps: whoever looks on wants to see it move


@dataclass(frozen=True)
class Pictures:
    """Curve and samples, drawn anew.

    Attributes
    ----------
    rows : list of dict
        Of the run's log.
    outcomes : list of Outcome
        Held-out images, none where nothing is held out.
    colours : Colours
        What they are drawn in.
    curve, samples : bytes
        PNG files; `samples` is empty without outcomes.
    """

    rows: Sequence[dict[str, str]]
    outcomes: "Sequence[Outcome]"
    colours: Colours
    curve: bytes
    samples: bytes


def train_setup(
    setup: Setup, should_stop: Callable[[], bool], colours: Callable[[], Colours], report: Report
) -> Path:
    """Train; stopped in the middle, write the model so far and raise `Cancelled`.

    `colours` are asked for whenever pictures are drawn.

    Returns
    -------
    pathlib.Path
        The model.

    Raises
    ------
    UsageError
        If the folder holds other images where the layers would go.
    TrainingError, ModelFileError, ImageFileError
        As ``training.loop.train`` does.
    """
    if "torch" not in sys.modules:
        report("loading PyTorch")
    with importing_torch():
        from napari_vdsr.training.checkpoint import Checkpoint
        from napari_vdsr.training.config import config_from, load_config
        from napari_vdsr.training.data.dataset import Sources
        from napari_vdsr.training.export import export_checkpoint
        from napari_vdsr.training.folder import LOG_NAME
        from napari_vdsr.training.loop import STEP, train
        from napari_vdsr.training.monitor import read_log

    if setup.resume:  # with the settings that the run began with
        began = config_from(Checkpoint.load(setup.output / CHECKPOINT).config)
        # Where the fields say minutes, it goes on to where it was to end.
        steps = setup.changes.get("steps")
        config = began if steps is None else replace(began, steps=steps, minutes=0.0)
    else:
        config = load_config(setup.preset, **setup.changes)
        config = replace(config, validate_every=min(config.validate_every, VALIDATE_EVERY))
    layers = () if setup.resume else setup.layers
    name = None if setup.resume else setup.output.resolve().name or "vdsr"
    drawn = 0.0
    samples: Sequence[Outcome] = ()
    watch = Watch()

    def on_progress(progress: Any) -> None:
        nonlocal drawn
        watch.progress = progress
        # Stopped: the loop sees it after this step, and keeps what was learnt.
        with contextlib.suppress(Cancelled):
            report(progress)
            if progress.psnr or time.monotonic() - drawn > REDRAW:
                report(draw(read_log(setup.output / LOG_NAME), samples, colours()))
                drawn = time.monotonic()

    def on_samples(outcomes: "Sequence[Outcome]") -> None:
        nonlocal samples
        samples = outcomes

    def on_stage(stage: str, step: int, steps: int) -> None:
        # Stopped: the loop sees it after this step.
        with contextlib.suppress(Cancelled):
            report(watch.step(step, steps) if stage == STEP else stage)

    report("writing the layers" if layers else "reading the images")
    sources = Sources(tuple(setup.sources), tuple(setup.inputs), setup.validation)
    with _kept(layers, setup.output):
        try:
            return train(
                config,
                sources,
                setup.output,
                resume=setup.resume,
                name=name,
                accelerator=setup.accelerator,
                on_file=lambda done, of: report(
                    Counted(step="Reading the images:", done=done, total=of)
                ),
                on_progress=on_progress,
                on_samples=on_samples,
                on_stage=on_stage,
                should_stop=should_stop,
            )
        except KeyboardInterrupt as error:
            export_checkpoint(setup.output)
            raise Cancelled from error


class Watch:
    """How long the steps of a run take.

    Attributes
    ----------
    progress : training.monitor.Progress or None
        The latest.
    """

    def __init__(self) -> None:
        self.progress: Any = None
        self._first: tuple[int, float] | None = None

    def step(self, step: int, steps: int) -> Counted:
        """So many steps were taken, and the next one begins; of 0 if that is not known."""
        now = time.monotonic()
        self._first = first, began = self._first or (step, now)
        left, note = None, ""
        if steps and step > first:
            left = (now - began) / (step - first) * (steps - step)
        if self.progress is not None:
            patches = self.progress.patches_per_second
            note = f"loss {self.progress.loss:.3f}, {patches:.0f} patches/s"
        return Counted(step="Step", done=step, total=steps, left=left, note=note)


def draw(
    rows: Sequence[dict[str, str]], outcomes: "Sequence[Outcome]", colours: Colours
) -> Pictures:
    """Draw the training curve, for a narrow window, and samples."""
    from napari_vdsr.training.monitor import draw_curve
    from napari_vdsr.training.report import SAMPLES_TITLE, draw_outcomes

    with tempfile.TemporaryDirectory() as folder:
        curve, samples = Path(folder) / "curve.png", Path(folder) / "samples.png"
        draw_curve(rows, curve, narrow=True, colours=colours)
        if outcomes:
            draw_outcomes(outcomes, samples, SAMPLES_TITLE, colours=colours)
        return Pictures(
            rows, outcomes, colours, curve.read_bytes(), samples.read_bytes() if outcomes else b""
        )


@contextlib.contextmanager
def _kept(layers: Sequence[Image], output: Path) -> Iterator[None]:
    """Keep layers as files, so that the run can be continued, and repeated, without napari.

    A run that ends before its first checkpoint leaves none behind: they would be trained on
    when other layers are chosen.
    """
    from napari_vdsr.io import write_image

    folder = output / IMAGES
    if layers and folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            f"{folder}: holds images already, and the layers would be mixed with them. Choose "
            "another run folder."
        )
    written: list[Path] = []
    try:
        for number, image in enumerate(layers):
            name = re.sub(r"[^\w-]+", "-", image.name).strip("-") or "layer"
            path = folder / f"{name}-{number}.ome.tif"
            folder.mkdir(parents=True, exist_ok=True)
            write_image(image, path)
            written.append(path)
        yield
    finally:
        if layers and not (output / CHECKPOINT).exists():
            for path in written:
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # somebody put something there
                folder.rmdir()
