"""Tasks of a config, and the patches that are made for them."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from made_up import save_png, texture

from napari_vdsr.cli.words import say
from napari_vdsr.errors import TrainingError, UsageError
from napari_vdsr.resize import resize
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.data import patches as patches_module
from napari_vdsr.training.data.dataset import Sources, load_dataset
from napari_vdsr.training.data.patches import Patches
from napari_vdsr.training.data.planes import field_of
from napari_vdsr.training.data.scan import scan, scan_pairs
from napari_vdsr.training.degrade.jpeg import Jpeg
from napari_vdsr.training.degrade.physics import Downsample, GaussianBlur, MeasuredBlur, Noise
from napari_vdsr.training.degrade.tasks import tasks_of

CPU = torch.device("cpu")
NOISE, JPEG = {"noise_read": (5.0, 20.0)}, {"jpeg_quality": (10, 60)}


def config(**settings):
    defaults = {"patch_size": 17, "batch_size": 16, "flat_threshold": 0.0, "redraws": 0}
    return TrainConfig(**{**defaults, **settings})


def described(**settings):
    return [
        (task.name, task.scale, task.chain.degradations) for task in tasks_of(config(**settings))
    ]


class TestModes:
    def test_super_resolution(self):
        assert described(scales=(2, 4)) == [
            ("x2", 2, (Downsample("bicubic", 2),)),
            ("x4", 4, (Downsample("bicubic", 4),)),
        ]

    def test_in_the_order_of_nature(self):
        settings = {"scales": (3,), "downsampling": "area", "blur": (0.5, 1.0), **NOISE, **JPEG}
        ((_, _, chain),) = described(**settings)
        assert chain == (
            GaussianBlur((0.5, 1.0)),
            Downsample("area", 3),
            Noise(read=(5.0, 20.0)),
            Jpeg((10, 60)),
        )

    def test_denoise_and_jpeg_keep_the_size(self):
        assert described(mode="denoise", **NOISE) == [("denoise", 1, (Noise(read=(5.0, 20.0)),))]
        assert described(mode="jpeg", **JPEG) == [("jpeg", 1, (Jpeg((10, 60)),))]

    def test_mixed_has_one_thing_wrong_at_a_time(self):
        assert described(mode="mixed", scales=(2, 3), **NOISE, **JPEG) == [
            ("x2", 2, (Downsample("bicubic", 2),)),
            ("x3", 3, (Downsample("bicubic", 3),)),
            ("denoise", 1, (Noise(read=(5.0, 20.0)),)),
            ("jpeg", 1, (Jpeg((10, 60)),)),
        ]

    def test_measured_blur(self, tmp_path):
        y, x = np.indices((21, 21)) - 10
        tifffile.imwrite(tmp_path / "bead.tif", np.exp(-(y**2 + x**2) / 4).astype(np.float32))
        ((_, _, (blur, _)),) = described(scales=(2,), psf=str(tmp_path / "bead.tif"))
        assert isinstance(blur, MeasuredBlur)
        assert blur.source == "bead.tif"

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"mode": "denoise"}, "needs noise"),
            ({"mode": "jpeg"}, "Set jpeg_quality"),
            ({"mode": "mixed", **NOISE}, "Set jpeg_quality"),
            ({"mode": "sharpen"}, "allowed are sr, paired, denoise, jpeg, mixed"),
            ({"downsampling": "lanczos"}, "allowed are bicubic, area, strided"),
            ({"blur": (2.0, 1.0)}, "pass .smallest, largest."),
            ({"blur": (0.0, 99.0)}, "0 to 32"),
            ({"noise_read": (-1.0, 1.0)}, "at least 0"),
            ({"jpeg_quality": (0, 50)}, "begins at 1"),
            ({"psf": "a.tif", "blur": (1.0, 1.0)}, "keep one"),
            ({"noise_from": "a.tif", **NOISE}, "keep one"),
            ({"hold_out": 1.0}, "0 to 0.9"),
        ],
    )
    def test_settings_that_do_not_fit(self, settings, message):
        with pytest.raises(UsageError, match=message):
            config(**settings)


class TestPatches:
    """Patches of every kind are crops of the degraded whole field."""

    @pytest.mark.parametrize(
        "settings",
        [
            {"scales": (2,), "downsampling": "area"},
            {"scales": (3,), "downsampling": "strided", "blur": (1.0, 1.0)},
            {"mode": "jpeg", "jpeg_quality": (30, 30)},
            {"scales": (2,), "jpeg_quality": (40, 40)},
        ],
    )
    def test_deterministic_chains(self, settings):
        image = (texture(96, 96) / 255).astype(np.float32)
        settings = config(**settings)
        (task,) = tasks_of(settings)
        _, worse, hr, _ = Patches([field_of(image)], settings, [task], CPU).batch(0)
        whole = task.chain(torch.from_numpy(image)[None], None if not _random(task) else _draw())
        for inputs, target in zip(worse[:, 0].numpy(), hr[:, 0].numpy(), strict=True):
            y, x, turn = _locate(target, image)
            crop = whole[0].numpy()[y : y + 17, x : x + 17]
            # JPEG pads the border of a whole image in its own way.
            if 8 <= y <= 70 and 8 <= x <= 70:
                np.testing.assert_allclose(_turned(inputs)[turn], crop, atol=1e-5)

    def test_noise_is_drawn_anew_at_every_step(self):
        settings = config(mode="denoise", noise_read=(10.0, 10.0))
        field = field_of(np.full((40, 40), 0.5), "flat")
        patches = Patches([field], settings, tasks_of(settings), CPU)
        a, b = patches.batch(0), patches.batch(1)
        assert (a.read - a.target).std() == pytest.approx(10, rel=0.05)  # in the field's own units
        assert not torch.equal(a[0], b[0])
        assert torch.equal(a[0], patches.batch(0)[0])

    def test_noise_is_in_the_units_of_the_file(self, tmp_path):
        pixels = (texture(64, 64).astype(np.uint16) * 200).astype(np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", pixels)
        settings = config(mode="denoise", noise_read=(900.0, 900.0), batch_size=64)
        fields = scan([tmp_path / "a.tif"]).fields
        _, worse, hr, _ = Patches(fields, settings, tasks_of(settings), CPU).batch(0)
        assert (worse - hr).std() * fields[0].width == pytest.approx(900, rel=0.05)

    @pytest.mark.parametrize("scale", [1, 2])
    def test_measured_pairs(self, tmp_path, scale):
        high = texture(96, 96).astype(np.float32)
        low = resize(high, 1 / scale) + np.random.default_rng(0).normal(0, 5, [96 // scale] * 2)
        tifffile.imwrite(tmp_path / "l.tif", low.astype(np.float32))
        tifffile.imwrite(tmp_path / "h.tif", high)
        data = scan_pairs([(tmp_path / "l.tif", tmp_path / "h.tif")])
        settings = config(mode="paired")
        tasks = tasks_of(settings, data)
        assert (tasks[0].name, tasks[0].scale) == ("x2" if scale == 2 else "paired", scale)
        _, worse, hr, _ = Patches(data.fields, settings, tasks, CPU).batch(0)
        truth, ilr = data.fields[0].read(), data.fields[0].read_input()
        for inputs, target in zip(worse[:, 0].numpy(), hr[:, 0].numpy(), strict=True):
            y, x, turn = _locate(target, truth)
            np.testing.assert_array_equal(_turned(inputs)[turn], ilr[y : y + 17, x : x + 17])


class TestLargerThanMemory:
    @pytest.mark.slow
    def test_rounds_cover_all_files_and_repeat_exactly(self, tmp_path, monkeypatch):
        monkeypatch.setattr(patches_module, "ROUND", 3)
        paths = [save_png(tmp_path / f"{n}.png", texture(40, 50, n)) for n in range(8)]
        memory = 6 * 40 * 50 * 4 / 2**30  # half of it holds three of the eight
        fields = scan(paths, memory=memory).fields
        settings = config(scales=(2,), memory=memory)
        patches = Patches(fields, settings, tasks_of(settings), CPU)
        images = [field.read() for field in fields]
        seen, batches = set(), {}
        for step in range(30):
            batches[step] = patches.batch(step)
            found = {_file_of(patch, images) for patch in batches[step].target[:, 0].numpy()}
            assert len(found) <= 3
            seen |= found
        assert seen == set(range(8))
        resumed = Patches(fields, settings, tasks_of(settings), CPU)
        for step in (17, 4, 29):
            assert torch.equal(resumed.batch(step)[0], batches[step][0])

    def test_a_run_of_files_that_fit_never_reads_again(self, tmp_path):
        path = save_png(tmp_path / "a.png", texture(40, 50))
        settings = config(scales=(2,))
        patches = Patches(scan([path]).fields, settings, tasks_of(settings), CPU)
        path.unlink()
        assert patches.batch(5000)[0].shape == (16, 1, 17, 17)


class TestDataset:
    def folder(self, path, count=5, size=(60, 70)):
        for number in range(count):
            save_png(path / f"{number}.png", texture(*size, number))
        return path

    def test_files_are_held_out_by_default(self, tmp_path):
        data = load_dataset(config(), Sources((self.folder(tmp_path),)))
        assert (data.train.files, data.held_out.files) == (4, 1)
        trained = {field.path for field in data.train.fields}
        assert not trained & {field.path for field in data.held_out.fields}

    def test_a_single_file_is_trained_on_with_a_warning(self, tmp_path, caplog):
        data = load_dataset(config(batch_size=8), Sources((self.folder(tmp_path, 1),)))
        assert (data.train.files, data.held_out.files) == (1, 0)
        assert "nothing is held out" in caplog.text

    def test_copies_of_held_out_images_are_not_trained_on(self, tmp_path, caplog):
        folder = self.folder(tmp_path / "train")
        save_png(tmp_path / "held-out" / "copy.png", texture(60, 70, 2))
        sources = Sources((folder,), validation=tmp_path / "held-out")
        data = load_dataset(config(), sources)
        assert [field.path.name for field in data.train.fields] == [
            "0.png", "1.png", "3.png", "4.png",
        ]  # fmt: skip
        assert data.train.files == 4
        assert "1 images to train on are the same as held-out ones" in caplog.text
        with pytest.raises(TrainingError, match="every image to train on has the same pixels"):
            load_dataset(config(), Sources((folder,), validation=folder))

    @pytest.mark.parametrize("value", [7.0, np.nan])
    def test_what_cannot_be_measured_on_is_not_to_be_excluded(self, tmp_path, value):
        """What is left out of training is not left out there."""
        (tmp_path / "held-out").mkdir()
        tifffile.imwrite(tmp_path / "held-out" / "bad.tif", np.full((60, 70), value, np.float32))
        sources = Sources((self.folder(tmp_path / "train"),), validation=tmp_path / "held-out")
        with pytest.raises(TrainingError, match=r"bad\.tif") as caught:
            load_dataset(config(), sources)
        assert say(caught.value).endswith("take it out of what --validation names.")

    def test_pairs_are_split_together(self, tmp_path):
        high = self.folder(tmp_path / "high", 4, (96, 96))
        (tmp_path / "low").mkdir()
        for path in high.iterdir():
            pixels = resize(np.asarray(scan([path]).fields[0].read()), 0.5)
            tifffile.imwrite(tmp_path / "low" / f"{path.stem}.tif", pixels.astype(np.float32))
        sources = Sources((high,), inputs=(tmp_path / "low",))
        data = load_dataset(config(mode="paired", hold_out=0.25), sources)
        assert (data.train.files, data.held_out.files) == (3, 1)
        assert data.held_out.fields[0].pair is not None
        assert data.describe(sources)["tasks"] == [
            {"name": "x2", "scale": 2, "degradations": "measured pairs"}
        ]

    def paired(self, tmp_path):
        """Sources of four stacks of two planes, measured at half the resolution."""
        for number in range(4):
            high = np.stack([texture(64, 64, 2 * number + plane) for plane in (0, 1)])
            low = np.stack([resize(plane, 0.5) for plane in high.astype(np.float32)])
            for name, pixels in (("high", high), ("low", low.astype(np.float32))):
                (tmp_path / name).mkdir(exist_ok=True)
                path = tmp_path / name / f"{number}.tif"
                tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"})
        return Sources((tmp_path / "high",), inputs=(tmp_path / "low",))

    def test_pairs_are_left_out_together(self, tmp_path):
        sources = replace(self.paired(tmp_path), exclude=("2.tif",))
        data = load_dataset(config(mode="paired"), sources)
        fields = [*data.train.fields, *data.held_out.fields]
        assert {field.path.name for field in fields} == {"0.tif", "1.tif", "3.tif"}
        with pytest.raises(
            TrainingError, match=r"9\.tif, to be left out, matches none of the 8 images"
        ):
            load_dataset(config(mode="paired"), replace(sources, exclude=("9.tif",)))

    @pytest.mark.parametrize("which", ["high", "low"])
    def test_empty_planes_of_pairs(self, tmp_path, which, caplog):
        sources = self.paired(tmp_path)
        path = tmp_path / which / "1.tif"
        pixels = tifffile.imread(path)
        pixels[1] = 7
        tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"})
        data = load_dataset(config(mode="paired", hold_out=0.0), sources)
        found = [(field.path.name, field.index) for field in data.train.fields]
        assert len(found) == 7
        assert ("1.tif", (1,)) not in found
        assert "1 constant planes" in caplog.text
        pixels[0] = 7
        tifffile.imwrite(path, pixels, metadata={"axes": "ZYX"})
        with pytest.raises(TrainingError, match=r"high.1\.tif: is constant, or its partner .*low"):
            load_dataset(config(mode="paired", hold_out=0.0), sources)

    def test_too_few_patches(self, tmp_path):
        with pytest.raises(TrainingError, match="hold 12 separate patches of 17 x 17 pixels"):
            load_dataset(config(hold_out=0.0), Sources((self.folder(tmp_path, 1),)))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("settings", "sources", "message"),
        [
            ({"mode": "paired"}, {}, "needs the measured low-resolution"),
            ({"mode": "paired"}, {"inputs": 1, "validation": 1}, "Leave these out"),
            ({}, {"inputs": 1}, 'for mode = "paired" alone'),
        ],
    )
    def test_sources_that_do_not_fit(self, tmp_path, settings, sources, message):
        folder = self.folder(tmp_path)
        given = {"inputs": (folder,), "validation": folder}
        with pytest.raises(UsageError, match=message):
            load_dataset(
                config(**settings), Sources((folder,), **{key: given[key] for key in sources})
            )


def _random(task):
    return any(isinstance(d, (GaussianBlur, Jpeg)) for d in task.chain.degradations)


def _draw():
    from napari_vdsr.training.degrade.physics import Draw

    return Draw(torch.zeros(1), torch.ones(1), torch.Generator())


def _turned(patch):
    return [np.rot90(side, k) for side in (patch, patch.T) for k in range(4)]


def _find(patch, image):
    for turn, candidate in enumerate(_turned(patch)):
        first = np.isclose(image[:-16, :-16], candidate[0, 0], atol=1e-6)
        last = np.isclose(image[16:, 16:], candidate[16, 16], atol=1e-6)
        for y, x in np.argwhere(first & last):
            if np.allclose(image[y : y + 17, x : x + 17], candidate, atol=1e-6):
                return int(y), int(x), turn
    return None


def _locate(patch, image):
    found = _find(patch, image)
    assert found is not None, "a patch that is not in the image"
    return found


def _file_of(patch, images):
    for number, image in enumerate(images):
        if _find(patch, image) is not None:
            return number
    raise AssertionError("a patch of no image")
