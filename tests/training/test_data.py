"""Reading training images of any kind, normalised as they would be for upscaling."""

import numpy as np
import pytest
import tifffile
from made_up import save_png, texture

from napari_vdsr.color import luma, luma_uint8
from napari_vdsr.errors import ImageFileError, TrainingError
from napari_vdsr.training.data import list_files, load_images, read_planes


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
        with pytest.raises(TrainingError, match=r"a\.tif: contains NaN .* --exclude a\.tif"):
            read_planes(tmp_path / "a.tif")


class TestSets:
    def test_order_and_duplicates(self, tmp_path):
        save_png(tmp_path / "b" / "1.png", texture(20, 30, 1))
        save_png(tmp_path / "b" / "2.png", texture(20, 30, 2))
        save_png(tmp_path / "a" / "copy.png", texture(20, 30, 1))
        save_png(tmp_path / "single.png", texture(20, 30, 3))
        found = load_images([tmp_path / "b", tmp_path / "a", tmp_path / "single.png"])
        assert found.files == ["1.png", "2.png", "single.png"]
        assert len(found.images) == 3

    def test_hash_is_of_the_pixels(self, tmp_path):
        save_png(tmp_path / "a" / "x.png", texture(20, 30, 1))
        save_png(tmp_path / "b" / "y.png", texture(20, 30, 1))
        save_png(tmp_path / "c" / "x.png", texture(20, 30, 2))
        a, b, c = (load_images([tmp_path / name]).sha256 for name in "abc")
        assert a == b != c

    def test_same_bytes_in_another_shape_are_another_image(self, tmp_path):
        save_png(tmp_path / "a.png", np.zeros((20, 30), np.uint8))
        save_png(tmp_path / "b.png", np.zeros((30, 20), np.uint8))
        assert len(load_images([tmp_path]).images) == 2

    def test_exclude(self, tmp_path):
        for name in ("302003", "302004", "7"):
            save_png(tmp_path / f"{name}.png", texture(20, 30, int(name)))
        assert load_images([tmp_path], ["302003.png"]).files == ["302004.png", "7.png"]
        assert load_images([tmp_path], ["3*"]).files == ["7.png"]
        with pytest.raises(TrainingError, match=r"--exclude 8\.png matches none of the 3 images"):
            load_images([tmp_path], ["8.png"])
        with pytest.raises(TrainingError, match="no images in"):
            load_images([tmp_path], ["*"])

    def test_files_that_are_no_images_are_skipped(self, tmp_path):
        (tmp_path / "MANIFEST.tsv").write_text("a\tb\n", encoding="utf-8")
        save_png(tmp_path / "A.PNG", texture(20, 30))
        save_png(tmp_path / "folder" / "inner.png", texture(20, 30))
        assert [path.name for path in list_files([tmp_path])] == ["A.PNG"]

    def test_missing_folder(self, tmp_path):
        with pytest.raises(TrainingError, match="gone: no such file or folder"):
            load_images([tmp_path / "gone"])

    def test_damaged_file_is_named(self, tmp_path):
        save_png(tmp_path / "a.png", texture(20, 30)).write_bytes(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(ImageFileError, match=r"a\.png"):
            load_images([tmp_path])
