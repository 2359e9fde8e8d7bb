"""Smaller copies in TIFF files."""

import warnings

import dask.array as da
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.errors import UsageError
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import list_series, read_image, write_image
from napari_vdsr.io.pyramid import halve, level_shapes, shrinking
from napari_vdsr.io.read import read_levels

RNG = np.random.default_rng(0)


def levels_of(path):
    with tifffile.TiffFile(path) as tif, warnings.catch_warnings():
        (series,) = tif.series
        return [level.asarray() for level in series.levels]


def expected(image):
    """Each level is half of the one before, plane by plane."""
    axes = image.axes
    levels, shrink = [np.asarray(image.data)], shrinking(image)
    for _ in level_shapes(image.shape, axes)[1:]:
        levels.append(shrink(levels[-1], axes))
    return levels


@pytest.mark.slow
@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
@pytest.mark.parametrize("suffix", [".ome.tif", ".tif"])
@pytest.mark.parametrize(
    ("axes", "shape", "dtype"),
    [
        ("YX", (1025, 777), np.uint16),
        ("YXS", (601, 1400, 3), np.uint8),
        ("TCYX", (2, 3, 520, 530), np.float32),
    ],
)
def test_each_copy_is_half_of_the_one_before(tmp_path, axes, shape, dtype, suffix, compression):
    pixels = RNG.integers(0, 200, shape).astype(dtype)
    chunks = [(250 if a in "YX" else -1 if a == "S" else 1) for a in axes]
    image = Image(data=da.from_array(pixels, chunks=chunks), axes=axes)
    path = tmp_path / f"a{suffix}"
    write_image(image, path, format="ome-tiff" if "ome" in suffix else "tiff",
                compression=compression, pyramid=True)  # fmt: skip
    found = levels_of(path)
    wanted = expected(image)
    assert len(found) == len(wanted) > 1
    for level, right in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(level.reshape(right.shape), right)
        assert level.dtype == dtype
    assert [path.name for path in tmp_path.iterdir()] == [path.name]
    back = read_levels(path)
    assert [level.shape[-2:] for level in back] == [level.shape[-2:] for level in found]
    np.testing.assert_array_equal(np.asarray(back[0].data).reshape(shape), pixels)


def test_chunks_of_several_planes_go_through_a_file(tmp_path):
    pixels = RNG.integers(0, 9999, (5, 600, 40), dtype=np.uint16)
    image = Image(data=da.from_array(pixels, chunks=(2, 100, 40)), axes="ZYX")
    write_image(image, tmp_path / "a.ome.tif", pyramid=True)
    for level, right in zip(levels_of(tmp_path / "a.ome.tif"), expected(image), strict=True):
        np.testing.assert_array_equal(level, right)


def test_labels_are_not_mixed(tmp_path):
    labels = RNG.choice(np.array([0, 100, 65535], np.uint16), (700, 600))
    write_image(Image(data=labels, axes="YX", labels=True), tmp_path / "a.ome.tif", pyramid=True)
    for level in levels_of(tmp_path / "a.ome.tif"):
        assert set(np.unique(level)) <= {0, 100, 65535}


def test_what_was_not_measured_is_in_no_mean(tmp_path):
    pixels = np.full((600, 600), 40, np.int16)
    pixels[::3] = -1
    write_image(Image(data=pixels, axes="YX", nodata=-1), tmp_path / "a.tif", pyramid=True)
    _, half = levels_of(tmp_path / "a.tif")
    assert set(np.unique(half)) <= {-1, 40}
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.series[0].levels[1].keyframe.tags[42113].value == "-1"


def test_small_images_have_no_copies(tmp_path):
    image = Image(data=np.zeros((512, 300), np.uint8), axes="YX")
    write_image(image, tmp_path / "a.tif", pyramid=True)
    write_image(image, tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_copies_state_their_own_resolution_and_are_marked(tmp_path):
    image = Image(
        data=np.zeros((2, 1000, 1400), np.uint8), axes="CYX", pixel_size={"Y": 0.5, "X": 0.25},
        channels=(Channel(name="DAPI"), Channel(name="GFP")),
    )  # fmt: skip
    write_image(image, tmp_path / "a.ome.tif", pyramid=True)
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert len(tif.pages) == 2
        for page in tif.pages:
            assert len(page.subifds) == 2
        first, second, third = (level.keyframe for level in tif.series[0].levels)
        assert [page.subfiletype for page in (first, second, third)] == [0, 1, 1]
        assert first.get_resolution("micrometer") == pytest.approx((4, 2))
        assert second.get_resolution("micrometer") == pytest.approx((2, 1))
        assert third.get_resolution("micrometer") == pytest.approx((1, 0.5))
        assert "ImageDescription" not in second.tags
    back = read_image(tmp_path / "a.ome.tif")
    assert back.pixel_size == {"Y": 0.5, "X": 0.25}
    assert [channel.name for channel in back.channels] == ["DAPI", "GFP"]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_plain_tiff_with_copies_keeps_its_axes(tmp_path, compression):
    """tifffile takes every page for an image of its own if one copy has no description."""
    image = Image(
        data=RNG.integers(0, 99, (2, 3, 2, 600, 530), np.uint8), axes="TZCYX", time_step=1.5,
        pixel_size={"Z": 2.0, "Y": 0.5, "X": 0.5}, origin={"Y": 3.0, "X": 4.0},
        channels=(Channel(name="A"), Channel(name="B")), metadata={"description": "two cells"},
    )  # fmt: skip
    write_image(image, tmp_path / "a.tif", format="tiff", compression=compression, pyramid=True)
    back = read_image(tmp_path / "a.tif")
    assert (back.axes, back.shape, back.time_step) == (image.axes, image.shape, 1.5)
    assert (back.pixel_size, dict(back.origin)) == (image.pixel_size, image.origin)
    assert [channel.name for channel in back.channels] == ["A", "B"]
    assert back.metadata["description"] == "two cells"
    np.testing.assert_array_equal(np.asarray(back.data), image.data)
    levels = read_levels(tmp_path / "a.tif")
    assert [level.shape for level in levels] == [image.shape, (2, 3, 2, 300, 265)]
    np.testing.assert_array_equal(np.asarray(levels[1].data), expected(image)[1])
    assert [found.shape for found in list_series(tmp_path / "a.tif")] == [image.shape]
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert (tif.series[0].axes, tif.series[0].shape) == ("TZCYX", image.shape)


@pytest.mark.parametrize("kind", ["imagej", "png", "jpeg", "webp"])
def test_formats_without_copies_say_so(tmp_path, kind):
    image = Image(data=np.zeros((600, 600), np.uint8), axes="YX")
    with pytest.raises(UsageError, match="holds no smaller copies"):
        write_image(image, tmp_path / "a", format=kind, pyramid=True)
    suffix = {"imagej": "tif", "jpeg": "jpg"}.get(kind, kind)
    own = image.with_(metadata={"format": kind})
    told = write_image(own, tmp_path / f"a.{suffix}", pyramid=True)
    assert any("without smaller copies" in clause for clause in told)


def test_the_command_writes_them(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 9999, (300, 310), dtype=np.uint16))

    def run(*more):
        command = ["upscale", tmp_path / "a.tif", "-o", tmp_path / "out", "-m", "bicubic", *more]
        return CliRunner().invoke(app, [str(word) for word in command])

    result = run("--pyramid", "--also", "residual")
    assert result.exit_code == 0, result.output
    for name in ("a.tif", "a_residual.tif"):
        whole, half = levels_of(tmp_path / "out" / name)
        np.testing.assert_array_equal(half, halve(whole, "YX"))
    assert "already done" in run("--pyramid", "--also", "residual").output
    assert run().exit_code == 1  # another output, without copies
    assert run("--pyramid", "--format", "png").exit_code == 2
