"""Figures: what they show, where, and that a file appears whole or not at all."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import save_png, texture
from matplotlib.patches import Rectangle
from PIL import Image

from napari_vdsr.errors import ImageDataError, MissingExtraError, ScaleError, UsageError
from napari_vdsr.evaluation import figures
from napari_vdsr.evaluation.figures import WIDTH, choose_crop, compare
from napari_vdsr.evaluation.measure import evaluate
from napari_vdsr.model.card import ModelCard
from napari_vdsr.model.file import Model, load_model
from napari_vdsr.networks import VDSR
from napari_vdsr.options import Options

CPU = Options(device="cpu")


def vdsr(name="tiny", seed=0):
    torch.manual_seed(seed)
    card = ModelCard(name=name, architecture="vdsr", scales=(2.0,), sha256=f"{seed:064}")
    return Model(VDSR(depth=3, width=4, last_init=0.2).eval(), card)


@pytest.fixture
def drawn(monkeypatch):
    """The matplotlib figures that ``compare`` would save, which takes longer than making them."""
    seen = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path, **options: seen.append(figure))
    return seen


def pictures_of(figure):
    return [axes.images[0].get_array() for axes in figure.axes]


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


class TestContent:
    def test_self_ensemble_is_told(self, pictures, tmp_path, drawn):
        options = Options(device="cpu", self_ensemble=True)
        compare(pictures / "grey-0.png", [vdsr()], 2, tmp_path / "f.png", options)
        rows = evaluate([vdsr()], [pictures / "grey-0.png"], [2], options)
        captions = [texts_of(axes) for axes in drawn[0].axes]
        for row, caption in zip(rows, captions[2:], strict=True):
            assert caption == [row.model, f"{row.psnr:.2f} dB / {row.ssim:.4f}"]
        assert [row.model for row in rows] == ["bicubic", "tiny+"]
        with pytest.raises(UsageError, match="tile is fixed"):
            compare(pictures / "grey-0.png", [vdsr()], 2, tmp_path / "f.png", Options(tile=64))

    def test_whole_image_and_parts(self, pictures, tmp_path, drawn):
        model = vdsr()
        compare(pictures / "colour.png", [model], 2, tmp_path / "f.png", crop=(10, 20, 16, 24),
                options=CPU)  # fmt: skip
        whole, truth, bicubic, tiny = pictures_of(drawn[0])
        pixels = np.asarray(Image.open(pictures / "colour.png"))[:74, :66]
        np.testing.assert_array_equal(whole, pixels)
        np.testing.assert_array_equal(truth, pixels[10:26, 20:44])
        assert bicubic.shape == tiny.shape == (16, 24, 3)
        assert not np.array_equal(bicubic, tiny)

    def test_figures_are_those_of_the_evaluation(self, pictures, tmp_path, drawn):
        model = vdsr()
        compare(pictures / "grey-0.png", [model], 2, tmp_path / "f.png", options=CPU)
        rows = evaluate([model], [pictures / "grey-0.png"], [2], CPU)
        captions = [texts_of(axes) for axes in drawn[0].axes]
        assert captions[0] == ["grey-0.png, ×2", "whole image"]
        assert captions[1] == ["truth", "PSNR / SSIM"]
        for row, caption in zip(rows, captions[2:], strict=True):
            assert caption == [row.model, f"{row.psnr:.2f} dB / {row.ssim:.4f}"]
        assert "Protocol B" in drawn[0].texts[0].get_text()

    def test_parts_are_shown_pixel_by_pixel(self, pictures, tmp_path, drawn):
        compare(pictures / "grey-0.png", [], 2, tmp_path / "f.png")
        assert {axes.images[0].get_interpolation() for axes in drawn[0].axes[1:]} == {"nearest"}
        assert all(axes.images[0].get_clim() == (0, 255) for axes in drawn[0].axes)

    def test_frame_is_where_the_part_is(self, pictures, tmp_path, drawn):
        compare(pictures / "grey-0.png", [], 2, tmp_path / "f.png", crop=(10, 20, 30, 40))
        (frame,) = [p for p in drawn[0].axes[0].patches if isinstance(p, Rectangle)]
        assert frame.get_bbox().bounds == (19.5, 9.5, 40, 30)

    def test_best_is_bold(self, pictures, tmp_path, drawn):
        compare(pictures / "grey-0.png", [vdsr()], 2, tmp_path / "f.png", options=CPU)
        bold = [axes.texts[1].get_weight() for axes in drawn[0].axes]
        values = [float(texts_of(axes)[1].split()[0]) for axes in drawn[0].axes[2:]]
        assert bold[:2] == ["normal", "normal"]
        assert bold[2 + int(np.argmax(values))] == "bold"
        assert bold.count("bold") == 1

    def test_bicubic_is_shown_once(self, pictures, tmp_path, drawn):
        compare(pictures / "grey-0.png", [load_model("bicubic")], 2, tmp_path / "f.png")
        assert [texts_of(axes)[0] for axes in drawn[0].axes[1:]] == ["truth", "bicubic"]

    def test_models_are_named_as_in_the_table(self, pictures, tmp_path, drawn):
        twins = [vdsr(seed=1), vdsr(seed=2)]
        compare(pictures / "grey-0.png", [*twins, twins[0]], 2, tmp_path / "f.png", options=CPU)
        names = [texts_of(axes)[0] for axes in drawn[0].axes[2:]]
        assert names == ["bicubic", *(f"tiny-{twin.identity[:6]}" for twin in twins)]


class TestLayout:
    @pytest.mark.slow
    @pytest.mark.parametrize("models", [0, 1, 2, 3, 5])
    @pytest.mark.parametrize("shape", [(60, 60), (150, 40), (40, 150), (40, 400)])
    def test_nothing_overlaps_or_leaves_the_figure(self, tmp_path, drawn, models, shape):
        path = save_png(tmp_path / "a.png", texture(*shape))
        networks = [vdsr(f"model-{seed}", seed) for seed in range(models)]
        compare(path, networks, 2, tmp_path / "f.png", options=CPU)
        figure = drawn[0]
        figure.canvas.draw()
        assert figure.get_figwidth() <= WIDTH + 1e-9
        boxes = [axes.get_tightbbox() for axes in figure.axes]
        boxes = [box.transformed(figure.transFigure.inverted()) for box in boxes]
        for index, box in enumerate(boxes):
            assert min(box.x0, box.y0, 1 - box.x1, 1 - box.y1) > -0.01
            assert not any(box.overlaps(other) for other in boxes[:index])
        for axes, pixels in zip(figure.axes, pictures_of(figure), strict=True):
            shown = axes.get_window_extent()
            assert shown.width / shown.height == pytest.approx(pixels.shape[1] / pixels.shape[0])

    def test_long_names_are_shortened(self, pictures, tmp_path, drawn):
        compare(pictures / "grey-0.png", [vdsr("x" * 200)], 2, tmp_path / "f.png", options=CPU)
        assert texts_of(drawn[0].axes[-1])[0].endswith("x…")

    def test_names_are_no_formulas_and_stay_different(self, pictures, tmp_path, drawn):
        networks = [vdsr("$\\foo$", 0), *(vdsr(f"{'x' * 60}-{n}", n) for n in (1, 2))]
        compare(pictures / "grey-0.png", networks, 2, tmp_path / "f.png", options=CPU)
        names = [texts_of(axes)[0] for axes in drawn[0].axes[-3:]]
        assert names[0] == r"\$\foo\$"
        assert [name[-2:] for name in names[1:]] == ["-1", "-2"]


class TestCrop:
    def panels(self, change):
        pixels = np.zeros(change.shape, np.uint8)
        return [figures.Panel("a", pixels, None, change)]

    def test_where_the_models_change_most(self):
        change = np.zeros((100, 200))
        change[70:80, 30:40] = -1
        y, x, height, width = choose_crop(np.zeros(change.shape, np.uint8), self.panels(change), 2)
        assert height == width == 24
        assert y <= 70 < 80 <= y + height
        assert x <= 30 < 40 <= x + width

    def test_where_the_edges_are_if_there_is_no_model(self):
        luma = np.zeros((100, 200), np.uint8)
        luma[20:30, 150:160] = 200
        y, x, *_ = choose_crop(luma, self.panels(np.zeros(luma.shape)), 2)
        assert y <= 20 < 30 <= y + 24
        assert x <= 150 < 160 <= x + 24

    @pytest.mark.parametrize("shape", [(16, 16), (17, 90), (300, 400)])
    @pytest.mark.parametrize("shave", [2, 4])
    def test_always_inside_the_measured_part(self, shape, shave):
        change = np.random.default_rng(0).normal(size=shape)
        change[-1, -1] = 1e6  # the shaved corner must not draw it
        luma = np.zeros(shape, np.uint8)
        y, x, height, width = choose_crop(luma, self.panels(change), shave)
        assert shave <= y < y + height <= shape[0] - shave
        assert shave <= x < x + width <= shape[1] - shave
        assert choose_crop(luma, self.panels(change), shave) == (y, x, height, width)

    def test_flat_image(self, tmp_path):
        path = save_png(tmp_path / "flat.png", np.full((40, 40), 9, np.uint8))
        assert compare(path, [], 2, tmp_path / "f.png") == (2, 2, 24, 24)

    @pytest.mark.parametrize(
        "crop", [(-1, 0, 5, 5), (0, 0, 0, 5), (66, 0, 5, 5), (0, 79, 5, 5), (0, 0, 71, 5)]
    )
    def test_outside_the_image(self, pictures, tmp_path, crop):
        with pytest.raises(UsageError, match=r"does not lie in grey-0.png, of which 70 x 80"):
            compare(pictures / "grey-0.png", [], 2, tmp_path / "f.png", crop=crop)
        assert list(tmp_path.iterdir()) == []


class TestFile:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("suffix", "magic"), [(".png", b"\x89PNG"), (".PDF", b"%PDF"), (".svg", b"<?xml")]
    )
    def test_formats(self, pictures, tmp_path, suffix, magic):
        path = tmp_path / f"f{suffix}"
        compare(pictures / "grey-0.png", [], 2, path)
        assert path.read_bytes().startswith(magic)
        assert [p.name for p in tmp_path.iterdir()] == [path.name]

    def test_what_made_it_is_in_the_file(self, pictures, tmp_path):
        model = vdsr(seed=7)
        compare(pictures / "grey-0.png", [model], 2, tmp_path / "f.png", options=CPU)
        with Image.open(tmp_path / "f.png") as image:
            title = image.text["Title"]
        for part in ("grey-0.png x2", f"tiny {model.identity[:12]}", "protocol B", "napari-vdsr"):
            assert part in title

    def test_same_pixels_every_time(self, pictures, tmp_path):
        for name in ("a.png", "b.png"):
            compare(pictures / "colour.png", [vdsr()], 3, tmp_path / name, options=CPU)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

    def test_suffix(self, pictures, tmp_path):
        with pytest.raises(UsageError, match=r"must end in one of \.png, \.pdf, \.svg"):
            compare(pictures / "grey-0.png", [], 2, tmp_path / "f.gif")

    def test_image_is_never_replaced(self, pictures):
        path = pictures / "grey-0.png"
        before = path.read_bytes()
        with pytest.raises(UsageError, match="is the image itself"):
            compare(path, [], 2, path.parent / "." / path.name)
        assert path.read_bytes() == before

    def test_input_that_cannot_be_measured(self, pictures, tmp_path):
        with pytest.raises(ScaleError):
            compare(pictures / "grey-0.png", [], 1, tmp_path / "f.png")
        small = save_png(tmp_path / "small.png", texture(14, 60))
        with pytest.raises(ImageDataError, match="at least 16 x 16"):
            compare(small, [], 2, tmp_path / "f.png")

    def test_models_that_keep_the_size(self, pictures, tmp_path):
        card = replace(vdsr().card, scales=(1.0,))
        model = replace(vdsr(), card=card)
        with pytest.raises(UsageError, match="'tiny' keeps the size of images"):
            compare(pictures / "grey-0.png", [model], 2, tmp_path / "a.png", CPU)

    @pytest.mark.parametrize("missing", ["matplotlib.figure", "textalloc"])
    def test_without_what_draws(self, pictures, tmp_path, monkeypatch, missing):
        monkeypatch.setitem(sys.modules, missing, None)
        with pytest.raises(MissingExtraError, match=r'pip install "napari-vdsr\[train\]"'):
            compare(pictures / "grey-0.png", [], 2, tmp_path / "f.png")
