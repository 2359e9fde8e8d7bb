"""The widget "VDSR train" in a real window."""

import io
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import tifffile
from napari.utils.theme import get_theme
from skimage import data as pictures

from napari_vdsr import load_model
from napari_vdsr.plugin import train_job
from napari_vdsr.training import config as recipes
from napari_vdsr.training.folder import claimed


@pytest.fixture
def trainer(widget):
    return widget("VDSR train")


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A recipe that takes seconds."""
    folder = tmp_path / "presets"
    folder.mkdir()
    text = 'depth = 3\nwidth = 4\nbatch_size = 4\nprecision = "float32"\nvalidate_every = 50\n'
    for name in ("fine-tune", "fast"):
        (folder / f"{name}.toml").write_text(text)
    monkeypatch.setattr(recipes, "PRESETS", folder)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "sharp"
    folder.mkdir()
    for number, pixels in enumerate((pictures.camera(), pictures.brick())):
        tifffile.imwrite(folder / f"{number}.tif", pixels[:200, :220])
    return folder


def test_train_and_use_the_model(viewer, trainer, tiny, images, tmp_path, until):
    viewer.add_image(pictures.camera()[:40, :40], name="a")
    trainer.form.folder.value = images
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    tifffile.imwrite(held_out / "coins.tif", pictures.coins()[:120, :130])
    trainer.form.validation.value = held_out
    trainer.form.output.value = tmp_path / "run"
    trainer.form.scales.value = "2"
    trainer.form.minutes.value = 0
    trainer.form.steps.value = 100
    trainer.start()
    until(lambda: not trainer.row.busy)
    assert trainer.row.status.value.startswith("Done")
    model = tmp_path / "run" / "run.safetensors"
    assert load_model(model).card.scales == (2,)
    assert "x2" in trainer.info.value or "continued" in trainer.info.value
    assert trainer.curve.native.pixmap().width() > 100
    assert trainer.samples.native.pixmap().width() > 100
    assert corner(trainer.samples) == corner(trainer.curve) == theme_of(viewer)
    assert (tmp_path / "run" / "report.md").is_file()
    trainer.use_button.native.click()
    _, upscaler = viewer.window.add_plugin_dock_widget("napari-vdsr", "VDSR upscale")
    assert upscaler.model.value == str(model)
    upscaler.run()
    until(lambda: not upscaler.row.busy)
    assert "a [run x2]" in viewer.layers


def test_stop_and_resume_on_layers(viewer, trainer, tiny, tmp_path, until):
    viewer.add_image(pictures.camera()[:200, :210], name="a")
    viewer.add_image(pictures.astronaut()[:200, :210], name="b", rgb=True)
    trainer.form.source.value = "image layers"
    assert trainer.form.layers.visible
    assert not trainer.form.folder.visible
    trainer.form.layers.value = list(viewer.layers)
    trainer.form.output.value = tmp_path / "run"
    trainer.form.minutes.value = 0
    trainer.form.steps.value = 100_000
    trainer.start()
    until(lambda: trainer.row.status.value.startswith("Step"))
    trainer.row.cancel_button.native.click()
    until(lambda: not trainer.row.busy)
    (model,) = (tmp_path / "run").glob("run-step*.safetensors")
    step = int(model.stem.removeprefix("run-step"))
    assert load_model(model).card.training["step"] == step
    assert trainer.use_button.enabled
    assert trainer.start_button.text == "Resume"
    kept = tifffile.imread(tmp_path / "run" / "images" / "b-1.ome.tif")
    np.testing.assert_array_equal(kept, viewer.layers["b"].data)

    trainer.start()
    until(lambda: trainer.row.status.value.startswith("Step"))
    assert int(trainer.row.status.value.split()[1]) > step
    trainer.row.cancel()
    until(lambda: not trainer.row.busy)


def test_layers_of_a_refused_run_are_not_trained_on_later(
    viewer, trainer, said, tiny, tmp_path, until
):
    viewer.add_image(pictures.camera()[:200, :210], name="a")
    viewer.add_image(np.full((200, 210), 7, np.uint8), name="constant")
    trainer.form.source.value = "image layers"
    trainer.form.output.value = tmp_path / "run"
    trainer.form.minutes.value = 0
    trainer.form.steps.value = 50
    trainer.form.layers.value = list(viewer.layers)
    trainer.start()
    until(lambda: not trainer.row.busy)
    assert "is constant" in said()[-1]
    assert not (tmp_path / "run" / "images").exists()

    foreign = tmp_path / "run" / "images" / "mine.tif"
    foreign.parent.mkdir()
    foreign.write_bytes(b"mine")
    trainer.form.layers.value = [viewer.layers["a"]]
    trainer.start()
    until(lambda: not trainer.row.busy)
    assert "holds images already" in said()[-1]
    assert foreign.read_bytes() == b"mine"

    foreign.unlink()
    trainer.start()
    until(lambda: not trainer.row.busy)
    assert trainer.row.status.value.startswith("Done")
    assert [path.name for path in foreign.parent.iterdir()] == ["a-0.ome.tif"]


def test_what_is_missing_is_said(viewer, trainer, said, tiny, images, tmp_path, until):
    trainer.start()
    assert "run folder" in said()[-1]
    trainer.form.output.value = tmp_path / "run"
    trainer.start()
    assert "folder of images" in said()[-1]
    trainer.form.folder.value = images
    trainer.form.scales.value = "two"
    trainer.start()
    assert "'two' is no number" in said()[-1]
    for value in ("2.5", "nan", "inf"):
        trainer.form.scales.value = value
        trainer.start()
        assert "write whole numbers" in said()[-1]
    trainer.form.scales.value = "2"
    trainer.form.folder.value = tmp_path / "nowhere"
    trainer.start()
    until(lambda: not trainer.row.busy)
    assert "no such file or folder" in said()[-1]
    assert trainer.start_button.enabled


def test_a_folder_that_another_window_trains_in_is_left_alone(
    trainer, tiny, images, tmp_path, until
):
    run = tmp_path / "run"
    trainer.form.folder.value, trainer.form.output.value = images, run
    with claimed(run):
        theirs = run / "run-step000100.safetensors"
        theirs.touch()
        trainer.start()
        until(lambda: not trainer.row.busy)
        assert "another run trains in it now" in trainer.row.status.value
        assert not trainer.use_button.enabled
        assert {path.name for path in run.iterdir()} == {".lock", theirs.name}


@pytest.mark.parametrize(
    ("mode", "shown", "hidden"),
    [
        ("sr", ["scales", "sampling", "blur", "read_noise"], ["quality", "low_resolution"]),
        ("paired", ["low_resolution"], ["scales", "sampling", "blur", "validation"]),
        ("denoise", ["read_noise", "shot_noise"], ["scales", "quality"]),
        ("jpeg", ["quality"], ["scales", "read_noise"]),
        ("mixed", ["scales", "read_noise", "quality"], ["low_resolution"]),
    ],
)
def test_fields_follow_the_mode(trainer, mode, shown, hidden):
    trainer.form.mode.value = mode
    assert all(getattr(trainer.form, name).visible for name in shown)
    assert not any(getattr(trainer.form, name).visible for name in hidden)


def test_a_mixed_model(trainer, tiny, images, tmp_path, until):
    trainer.form.folder.value = images
    trainer.form.output.value = tmp_path / "all"
    trainer.form.mode.value = "mixed"
    trainer.form.scales.value = "2"
    trainer.form.read_noise.value = "0,25"
    trainer.form.quality.value = "10,60"
    trainer.form.minutes.value = 0.05
    trainer.start()
    until(lambda: not trainer.row.busy)
    card = load_model(tmp_path / "all" / "all.safetensors").card
    assert card.scales == (1, 2)
    assert card.training["config"]["noise_read"] == [0, 25]
    assert card.training["data"]["held_out"]


def test_the_pictures_dock_closes_and_opens_again(viewer, trainer, pause):
    from napari_vdsr.plugin.train_pictures import TITLE

    window = viewer.window._qt_window
    assert TITLE not in viewer.window.dock_widgets
    assert not trainer.pictures_button.enabled
    for _ in range(2):
        show(trainer, png(640, 672), png(640, 766))
        assert trainer.curve.native.pixmap().width() > 100
        trainer.pictures_button.native.click()
        pause()
        assert TITLE in viewer.window.dock_widgets
        assert window.tabifiedDockWidgets(trainer.native.parent())
        viewer.window._wrapped_dock_widgets[TITLE].destroyOnClose()
        pause()
        assert TITLE not in viewer.window.dock_widgets
    trainer.pictures_button.native.click()
    viewer.window.remove_dock_widget(trainer.native)
    pause()
    assert TITLE not in viewer.window.dock_widgets
    viewer.window.add_dock_widget(trainer)  # or it would outlive the window


@pytest.mark.own_window
def test_the_window_closes_with_its_pictures_dock(viewer, trainer, pause):
    show(trainer, png(640, 672))
    pause()
    viewer.close()
    pause()
    assert trainer.row.closed


@pytest.mark.parametrize("seen", [True, False])
def test_the_pictures_follow_the_theme(viewer, trainer, pause, seen):
    from napari_vdsr.plugin.train_pictures import TITLE

    rows = [
        {"step": str(10 * step), "loss": f"{1 / step}", "gain_x2": f"{step / 9}"}
        for step in range(1, 50)
    ]
    show(trainer, png(9, 9))
    trainer.pictures.show_run(train_job.draw(rows, made_outcomes(), trainer.pictures.colours))
    pause()
    if not seen:
        viewer.window._wrapped_dock_widgets[TITLE].destroyOnClose()
        pause()
    grounds = set()
    for theme in ("light", "dark"):
        viewer.theme = theme
        pause()
        for label in (trainer.curve, trainer.samples):
            assert corner(label) == theme_of(viewer)
            picture = label.native.pixmap().toImage()
            inks = {
                picture.pixelColor(x, y).lightness()
                for x in range(0, picture.width(), 2) for y in range(0, picture.height(), 2)
            }  # fmt: skip
            # Titles are read on it.
            assert max(abs(ink - max(corner(label))) for ink in inks) > 120
        grounds.add(corner(trainer.curve))
    assert len(grounds) == 2


def made_outcomes():
    """Of a held-out picture."""
    from napari_vdsr.evaluation.protocol import score
    from napari_vdsr.normalize import Range
    from napari_vdsr.training.report import outcome
    from napari_vdsr.training.validation import Case

    truth = pictures.camera()[:60, :60]
    worse = (truth / 255).astype(np.float32)[::-1]
    task = SimpleNamespace(name="x2", scale=2)
    case = Case(task, "a.tif", truth, worse, worse, Range(0, 1), score(truth, truth[::-1], 2))
    return [outcome(case, worse)]


def show(trainer, curve, samples=b""):
    """Show drawn pictures, as a run does."""
    trainer._show_run(train_job.Pictures([], [], trainer.pictures.colours, curve, samples))


def corner(label):
    """Colour behind all, of what a label shows."""
    return label.native.pixmap().toImage().pixelColor(1, 1).getRgb()[:3]


def theme_of(viewer):
    return get_theme(viewer.theme).background.as_rgb_tuple()[:3]


def png(width, height):
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), "white").save(file, "png")
    return file.getvalue()
