"""Reading training images of any kind, normalised as they would be for upscaling."""

import re

import numpy as np
import pytest
import tifffile
from made_up import save_png, texture
from scipy import ndimage

from napari_vdsr.color import luma, luma_uint8
from napari_vdsr.errors import ImageFileError, TrainingError
from napari_vdsr.resize import resize
from napari_vdsr.training.data.scan import scan, scan_pairs


def read_planes(path):
    return [field.read() for field in scan([path]).fields]


class TestPlanes:
    def test_grey(self, tmp_path):
        pixels = texture(20, 30)
        (plane,) = read_planes(save_png(tmp_path / "a.png", pixels))
        assert plane.dtype == np.float32
        np.testing.assert_array_equal(plane, (pixels / 255).astype(np.float32))

    @pytest.mark.parametrize("samples", [3, 4])
    def test_colour_is_luma_rounded_to_8_bits(self, tmp_path, samples):
        pixels = np.dstack([texture(20, 30, seed) for seed in range(samples)])
        (plane,) = read_planes(save_png(tmp_path / "a.png", pixels))
        np.testing.assert_array_equal(plane, (luma_uint8(pixels) / 255).astype(np.float32))

    @pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
    def test_other_dtypes_fill_the_unit_range_by_percentiles(self, tmp_path, dtype):
        pixels = texture(40, 50).astype(dtype) * 100 - (0 if dtype == np.uint16 else 9000)
        tifffile.imwrite(tmp_path / "a.tif", pixels)
        (plane,) = read_planes(tmp_path / "a.tif")
        np.testing.assert_allclose(np.percentile(plane, (0.1, 99.9)), (0, 1), atol=0.02)
        slope, offset = np.polyfit(pixels.ravel().astype(float), plane.ravel(), 1)
        np.testing.assert_allclose(plane, slope * pixels + offset, atol=1e-5)

    def test_channels_have_their_own_range(self, tmp_path):
        pixels = np.stack([texture(40, 50).astype(np.uint16), texture(40, 50, 1) * np.uint16(200)])
        tifffile.imwrite(
            tmp_path / "a.ome.tif", pixels, metadata={"axes": "CYX"}, photometric="minisblack"
        )
        planes = read_planes(tmp_path / "a.ome.tif")
        assert [plane.shape for plane in planes] == [(40, 50)] * 2
        for plane in planes:
            np.testing.assert_allclose(np.percentile(plane, (0.1, 99.9)), (0, 1), atol=0.02)

    def test_16_bit_colour(self, tmp_path):
        pixels = np.dstack([texture(20, 30, seed) for seed in range(3)]) * np.uint16(257)
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb")
        (plane,) = read_planes(tmp_path / "a.tif")
        expected = luma(pixels / 65535).astype(float)
        assert np.corrcoef(plane.ravel(), expected.ravel())[0, 1] > 0.9999

    def test_every_plane_of_a_stack(self, tmp_path):
        stack = np.stack([texture(20, 30, seed) for seed in range(6)]).reshape(2, 3, 20, 30)
        tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "TZYX"})
        planes = read_planes(tmp_path / "a.ome.tif")
        np.testing.assert_array_equal(planes, (stack.reshape(6, 20, 30) / 255).astype(np.float32))

    def test_nan_names_the_file(self, tmp_path):
        pixels = np.ones((20, 20), np.float32)
        pixels[3, 4] = np.nan
        tifffile.imwrite(tmp_path / "a.tif", pixels)
        with pytest.raises(TrainingError, match=r"a\.tif: contains NaN .*leave it out"):
            read_planes(tmp_path / "a.tif")

    @pytest.mark.parametrize(
        ("factor", "says"),
        [
            (1e60, "networks are trained in float32.*by a constant"),
            (1e-50, "networks are trained in float32.*by a constant"),
            (1.7e308, "too far apart.*by a constant"),
        ],
    )
    def test_intensities_beyond_float32_name_the_file(self, tmp_path, factor, says):
        pixels = texture(40, 50) / 127.5 - 1
        tifffile.imwrite(tmp_path / "a.tif", pixels * factor)
        with pytest.raises(TrainingError, match=rf"a\.tif: .*{says}"):
            read_planes(tmp_path / "a.tif")

    def test_one_pixel_beyond_float32_names_the_file(self, tmp_path):
        pixels = texture(40, 50) / 255
        pixels[3, 4] = 1e60
        tifffile.imwrite(tmp_path / "a.tif", pixels)
        with pytest.raises(TrainingError, match=r"a\.tif: has intensities so far.*leave it out"):
            read_planes(tmp_path / "a.tif")


class TestSets:
    def test_duplicates_are_taken_once(self, tmp_path):
        a = save_png(tmp_path / "a.png", texture(20, 30, 1))
        b = save_png(tmp_path / "b.png", texture(20, 30, 2))
        copy = save_png(tmp_path / "copy.png", texture(20, 30, 1))
        found = scan([a, b, copy])
        assert [field.path for field in found.fields] == [a, b]
        assert found.files == 2

    def test_hash_is_of_the_pixels(self, tmp_path):
        paths = [
            save_png(tmp_path / "a" / "x.png", texture(20, 30, 1)),
            save_png(tmp_path / "b" / "y.png", texture(20, 30, 1)),
            save_png(tmp_path / "c" / "x.png", texture(20, 30, 2)),
        ]
        a, b, c = (scan([path]).sha256 for path in paths)
        assert a == b != c

    def test_same_bytes_in_another_shape_are_another_image(self, tmp_path):
        a = save_png(tmp_path / "a.png", np.arange(600, dtype=np.uint8).reshape(20, 30))
        b = save_png(tmp_path / "b.png", np.arange(600, dtype=np.uint8).reshape(30, 20))
        assert len(scan([a, b]).fields) == 2

    def test_damaged_file_is_named(self, tmp_path):
        save_png(tmp_path / "a.png", texture(20, 30)).write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(ImageFileError, match=r"a\.png"):
            scan([tmp_path / "a.png"])

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    def test_constant_images_are_refused(self, tmp_path, dtype):
        tifffile.imwrite(tmp_path / "a.tif", np.full((20, 30), 7, dtype))
        with pytest.raises(TrainingError, match=r"a\.tif: is constant.*Leave it out"):
            scan([tmp_path / "a.tif"])

    def test_an_empty_frame_of_a_stack_is_left_out(self, tmp_path, caplog):
        stack = np.stack([texture(20, 30), np.zeros((20, 30), np.uint8)])
        tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
        (field,) = scan([tmp_path / "a.tif"]).fields
        assert field.index == (0,)
        assert "1 constant planes" in caplog.text

    def test_an_empty_frame_of_a_pair_is_left_out(self, tmp_path):
        high = np.stack([texture(40, 60), np.zeros((40, 60), np.uint8)])
        low = np.stack([resize(plane, 0.5) for plane in high]).astype(np.float32)
        for name, stack in (("low", low), ("high", high)):
            tifffile.imwrite(tmp_path / f"{name}.tif", stack, photometric="minisblack")
        assert len(scan_pairs([(tmp_path / "low.tif", tmp_path / "high.tif")]).fields) == 1

    def test_series(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            file.write(texture(20, 30), metadata=None)
            file.write(texture(40, 50), metadata=None)
        assert [f.shape for f in scan([tmp_path / "a.tif"]).fields] == [(40, 50)]
        (field,) = scan([tmp_path / "a.tif"], series=0, memory=0).fields
        assert field.read().shape == (20, 30)

    def test_progress(self, tmp_path):
        paths = [save_png(tmp_path / f"{n}.png", texture(20, 30, n)) for n in range(3)]
        seen = []
        scan(paths, on_file=lambda done, of: seen.append((done, of)))
        assert seen == [(1, 3), (2, 3), (3, 3)]


class TestChannels:
    @pytest.fixture
    def path(self, tmp_path):
        pixels = np.stack([texture(20, 30, 1), texture(20, 30, 2)])
        tifffile.imwrite(
            tmp_path / "a.ome.tif", pixels, photometric="minisblack",
            metadata={"axes": "CYX", "Channel": {"Name": ["DAPI", "GFP"]}},
        )  # fmt: skip
        return tmp_path / "a.ome.tif"

    @pytest.mark.parametrize(("channel", "number"), [("DAPI", 0), ("GFP", 1), ("1", 1)])
    def test_by_name_or_number(self, path, channel, number):
        (field,) = scan([path], channel=channel).fields
        assert field.index == (number,)
        expected = texture(20, 30, number + 1) / 255
        np.testing.assert_allclose(field.read(), expected, atol=1e-6)

    @pytest.mark.parametrize("channel", ["Cy5", "2", "-1", "9" * 5000])
    def test_unknown(self, path, channel):
        with pytest.raises(TrainingError, match=r"no channel .* named DAPI, GFP"):
            scan([path], channel=channel)

    @pytest.mark.parametrize("channel", ["0", "red"])
    def test_colour_has_no_channels(self, tmp_path, channel):
        path = save_png(tmp_path / "a.png", np.dstack([texture(20, 30, n) for n in range(3)]))
        with pytest.raises(TrainingError, match=f"is a colour image.* no channel '{channel}'"):
            scan([path], channel=channel)

    def test_a_single_channel_has_no_other(self, tmp_path):
        path = save_png(tmp_path / "a.png", texture(20, 30))
        assert len(scan([path], channel="0").fields) == 1
        with pytest.raises(TrainingError, match="has a single channel, and it is not 'DAPI'"):
            scan([path], channel="DAPI")


class TestLargerThanMemory:
    def test_pixels_are_read_again_when_needed(self, tmp_path):
        paths = [save_png(tmp_path / f"{n}.png", texture(40, 50, n)) for n in range(3)]
        whole, lazy = scan(paths), scan(paths, memory=1e-9)
        assert whole.in_memory
        assert not any(field.pixels is not None for field in lazy.fields)
        assert whole.sha256 == lazy.sha256
        for a, b in zip(whole.fields, lazy.fields, strict=True):
            np.testing.assert_array_equal(a.read(), b.read())

    def test_very_large_planes_are_read_in_pieces(self, tmp_path, monkeypatch):
        monkeypatch.setattr("napari_vdsr.training.data.scan.LONGEST", 24)
        monkeypatch.setattr("napari_vdsr.training.data.scan.LEAST", 12)
        pixels = texture(50, 60)
        fields = scan([save_png(tmp_path / "a.png", pixels)]).fields
        # The last two rows would be pieces that are too low to be measured.
        columns = [24, 24, 12]
        assert [field.shape for field in fields] == [(n, m) for n in (24, 26) for m in columns]
        again = np.zeros((50, 60), np.float32)
        for field in fields:
            again[field.window] = field.read()
        np.testing.assert_array_equal(again, (pixels / 255).astype(np.float32))


class TestPairs:
    @staticmethod
    def saved(tmp_path, low, high):
        tifffile.imwrite(tmp_path / "low.tif", low)
        tifffile.imwrite(tmp_path / "high.tif", high)
        return [(tmp_path / "low.tif", tmp_path / "high.tif")]

    def test_the_same_folder_twice(self, tmp_path):
        high = texture(40, 60)
        with pytest.raises(TrainingError, match="has the very same pixels as its partner"):
            scan_pairs(self.saved(tmp_path, high, high))

    @pytest.mark.parametrize("scale", [1, 2, 3])
    @pytest.mark.parametrize(("gain", "offset"), [(1.0, 3.0), (0.25, 300.0)])
    @pytest.mark.parametrize("blur", [0.0, 1.5, 4.0])
    def test_the_target_takes_the_units_of_the_input(self, tmp_path, scale, gain, offset, blur):
        """Contrast that was lost to blur is no smaller gain."""
        high = texture(96, 120).astype(np.float32) * 40
        low = resize(ndimage.gaussian_filter(high, blur), 1 / scale) * gain + offset
        (field,) = scan_pairs(self.saved(tmp_path, low.astype(np.float32), high)).fields
        assert field.pair.scale == scale
        target, ilr = field.read(), field.read_input()
        assert target.shape == ilr.shape == (96, 120)
        assert ilr.min() > -0.2
        assert ilr.max() < 1.2
        source = field.pair.field
        expected = (gain * high + offset - source.low) / source.width
        np.testing.assert_allclose(target, expected, rtol=0.03, atol=0.03)

    @pytest.mark.parametrize("scale", [1, 2, 4])
    @pytest.mark.parametrize("shift", [(0, 3), (-2, 1)])
    def test_shifted_pairs_are_refused(self, tmp_path, scale, shift):
        scene = texture(232, 264).astype(np.float32)
        high = scene[8:-24, 8:-16]
        moved = scene[8 + shift[0] : 216 + shift[0] - 8, 8 + shift[1] : 256 + shift[1] - 8]
        moved = moved[: high.shape[0], : high.shape[1]]
        low = resize(moved, 1 / scale) if scale > 1 else moved
        files = self.saved(tmp_path, low.astype(np.float32), high[: moved.shape[0]])
        with pytest.raises(TrainingError, match="off its low-resolution partner") as caught:
            scan_pairs(files)
        down, right = (
            float(x) for x in re.findall(r"([+-][\d.]+) (?:down|right)", str(caught.value))
        )
        assert (down, right) == pytest.approx(shift, abs=0.3)
        assert len(scan_pairs(files, allow_shift=True).fields) == 1

    def test_noise_is_no_shift(self, tmp_path):
        rng = np.random.default_rng(1)
        high = texture(192, 192).astype(np.float32)
        low = resize(high, 1 / 2) + rng.normal(0, 25, (96, 96))
        assert scan_pairs(self.saved(tmp_path, low.astype(np.float32), high)).fields

    def test_a_factor_that_is_not_whole(self, tmp_path):
        files = self.saved(tmp_path, texture(40, 50), texture(100, 100))
        with pytest.raises(TrainingError, match=r"2\.5 and 2 times as many"):
            scan_pairs(files)

    def test_a_negative(self, tmp_path):
        high = texture(96, 120)
        with pytest.raises(TrainingError, match=r"where its partner .* is bright, it is not"):
            scan_pairs(self.saved(tmp_path, 255 - high, high), allow_shift=True)

    def test_planes_must_match(self, tmp_path):
        files = self.saved(tmp_path, np.stack([texture(40, 50)] * 2), texture(80, 100))
        with pytest.raises(TrainingError, match=r"has 1 planes, its partner .* has 2"):
            scan_pairs(files)
