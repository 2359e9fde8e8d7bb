"""JPEG and WebP, written: for folders of photographs."""

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from PIL.ExifTags import IFD
from typer.testing import CliRunner

from napari_vdsr.cli.main import app
from napari_vdsr.errors import ImageFileError, UsageError
from napari_vdsr.image import Image
from napari_vdsr.io import held_by, read_image, read_provenance, write_image

SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
RNG = np.random.default_rng(0)


def smooth(*shape):
    """Pixels that JPEG keeps well."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(y / 9 + k) + np.cos(x / 7 - k) for k in range(int(np.prod(shape[2:])))]
    pixels = np.stack(waves, -1).reshape(shape)
    return np.round((pixels + 2) / 4 * 255).astype(np.uint8)


def rgb(pixels, **facts):
    return Image(data=pixels, axes="YXS", **facts)


def test_webp_is_exact(tmp_path):
    noise = RNG.integers(0, 256, (50, 61, 3), dtype=np.uint8)
    assert write_image(rgb(noise), tmp_path / "a.webp") == ()
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.webp").data), noise)


def test_webp_keeps_colours_that_are_hidden(tmp_path):
    noise = RNG.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    noise[:10, ..., 3] = 0
    write_image(rgb(noise, alpha="straight"), tmp_path / "a.webp")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "a.webp").data), noise)


def test_webp_tells_that_grey_becomes_colours(tmp_path):
    grey = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
    told = write_image(Image(data=grey, axes="YX"), tmp_path / "a.webp")
    assert told == ("WebP holds grey as three equal colours",)
    found = np.asarray(read_image(tmp_path / "a.webp").data)
    np.testing.assert_array_equal(found, np.stack([grey] * 3, -1))


@pytest.mark.parametrize("shape", [(1, 1), (50, 61), (50, 61, 3)])
def test_jpeg_is_near(tmp_path, shape):
    pixels = smooth(*shape)
    told = write_image(Image(data=pixels, axes="YXS"[: pixels.ndim]), tmp_path / "a.jpg")
    assert told == ("JPEG of quality 95 changes pixels: not for measuring",)
    found = np.asarray(read_image(tmp_path / "a.jpg").data)
    assert found.shape == shape
    assert np.abs(found.astype(int) - pixels).max() <= 6


def test_colours_are_stored_for_every_pixel(tmp_path):
    write_image(rgb(smooth(32, 32, 3)), tmp_path / "a.jpg")
    with PIL.Image.open(tmp_path / "a.jpg") as picture:
        assert {layer[1:3] for layer in picture.layer} == {(1, 1)}


@pytest.mark.parametrize("quality", [75, 95, 100])
@pytest.mark.parametrize("shape", [(300, 400), (300, 400, 3)])
def test_noise_has_room(tmp_path, capfd, shape, quality):
    """More than two bytes of each pixel, and more than any buffer that grows with the image."""
    noise = RNG.integers(0, 256, shape, dtype=np.uint8)
    image = Image(data=noise, axes="YXS"[: noise.ndim])
    write_image(image, tmp_path / "a.jpg", quality=quality)
    found = np.asarray(read_image(tmp_path / "a.jpg").data).astype(int)
    assert np.abs(found - noise).mean() < {75: 16, 95: 4, 100: 1}[quality]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_quality_is_what_is_asked_for(tmp_path, kind):
    noise = rgb(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    sizes = []
    for quality in (20, 60, 98):
        path = tmp_path / f"{quality}.{kind}"
        told = write_image(noise, path, format=kind, quality=quality)
        assert f"of quality {quality} changes pixels" in told[0]
        sizes.append(path.stat().st_size)
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_quality_goes_with_lossy_formats_only(tmp_path):
    for name, quality in (("a.png", 90), ("a.tif", 90), ("a.jpg", 0), ("a.webp", 101)):
        with pytest.raises(UsageError, match="quality"):
            write_image(rgb(smooth(8, 8, 3)), tmp_path / name, quality=quality)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_what_goes_along(tmp_path, suffix):
    facts = {
        "dpi": (93.6, 150.25),
        "description": "Stained tissue",
        "icc_profile": SRGB,
        "acquired": "2024-05-06T07:08:09",
    }
    path = tmp_path / f"a.{suffix}"
    told = write_image(rgb(smooth(20, 30, 3), metadata=facts), path)
    assert len(told) == (suffix == "jpg")  # that it changes pixels
    found = read_image(path).metadata
    assert found["dpi"] == pytest.approx(facts["dpi"], rel=1e-5)
    assert found["description"] == "Stained tissue"
    assert found["icc_profile"] == SRGB
    assert found["acquired"] == "2024-05-06T07:08:09"


@pytest.mark.parametrize("letters", ["a" * 30_000, "a" * 65_533, "ä" * 30_000, "a" * 65_534])
@pytest.mark.parametrize("more", [0, 50_000, 63_900])
def test_a_description_fits_or_is_told(tmp_path, capfd, letters, more):
    """A segment of a JPEG has 65,533 bytes, and Exif one for all that is in it."""
    exif = PIL.Image.Exif()
    exif[315] = "b" * more  # the artist
    metadata = {"description": letters, "exif": exif.tobytes(), "icc_profile": SRGB}
    image = Image(data=smooth(20, 30, 3), axes="YXS", metadata=metadata)
    told = write_image(image, tmp_path / "a.jpg")
    found = read_image(tmp_path / "a.jpg").metadata
    fits = len(letters.encode()) <= 65_533
    assert (found.get("description") == letters) == fits
    assert ("JPEG has no place for so long a description: left out" in told) != fits
    assert found["icc_profile"] == SRGB
    with PIL.Image.open(tmp_path / "a.jpg") as picture:
        assert picture.getexif()[315] == "b" * more
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_exif_goes_along_without_what_became_wrong(tmp_path, suffix):
    exif = PIL.Image.Exif()
    exif[271], exif[282], exif[283], exif[296], exif[274] = "Maker", 300.0, 300.0, 2, 6
    exif.get_ifd(IFD.Exif)[33434] = 0.01  # seconds of exposure
    exif.get_ifd(IFD.GPSInfo)[1] = "N"
    PIL.Image.fromarray(smooth(20, 30, 3)).save(tmp_path / "in.jpg", exif=exif)
    source = read_image(tmp_path / "in.jpg")
    assert source.shape == (30, 20, 3)  # turned upright
    assert source.metadata["dpi"] == (300, 300)
    doubled = source.with_(metadata={**source.metadata, "dpi": (600, 600)})
    write_image(doubled, tmp_path / f"a.{suffix}")
    with PIL.Image.open(tmp_path / f"a.{suffix}") as picture:
        found = picture.getexif()
        assert found[271] == "Maker"
        assert found.get(274, 1) == 1
        assert found.get(282, 600) == 600
        assert found.get_ifd(IFD.Exif)[33434] == pytest.approx(0.01)
        assert found.get_ifd(IFD.GPSInfo)[1] == "N"
    assert read_image(tmp_path / f"a.{suffix}").metadata["dpi"] == pytest.approx(
        (600, 600), rel=1e-3
    )


def test_no_resolution_is_made_up(tmp_path):
    exif = PIL.Image.Exif()
    exif[271] = "Maker"
    PIL.Image.fromarray(smooth(20, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert "dpi" not in read_image(tmp_path / "a.jpg").metadata


def test_descriptions_in_any_letters(tmp_path):
    image = rgb(smooth(20, 30, 3), metadata={"description": "Größe 5 µm"})
    write_image(image, tmp_path / "a.jpg")
    assert read_image(tmp_path / "a.jpg").metadata["description"] == "Größe 5 µm"
    told = write_image(image, tmp_path / "a.webp")
    assert "letters beyond ASCII in the description" in told[0]


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_provenance_comes_back_and_is_no_foreign_xmp(tmp_path, suffix):
    record = {"software": "napari-vdsr 1", "text": 'µ "q" & <t>\n', "scale": [2, 2.5], "none": None}
    path = tmp_path / f"a.{suffix}"
    write_image(rgb(smooth(20, 30, 3)), path, provenance=record)
    assert read_provenance(path) == record
    assert "left_out" not in read_image(path).metadata


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_foreign_xmp_is_told_and_is_no_provenance(tmp_path, suffix):
    for number, xmp in enumerate((b"<x:xmpmeta/>", b'vdsr:record="{&quot;a&quot;: 1}"', b"\xff")):
        path = tmp_path / f"{number}.{suffix}"
        PIL.Image.fromarray(smooth(20, 30, 3)).save(path, xmp=xmp)
        assert read_provenance(path) is None
        assert read_image(path).metadata["left_out"] == ("XMP",)


@pytest.mark.parametrize(
    ("image", "kind", "reason"),
    [
        (
            Image(data=np.zeros((5, 6), np.uint16), axes="YX"),
            "jpeg",
            "JPEG holds uint8, not uint16",
        ),
        (
            Image(data=np.zeros((5, 6), np.float32), axes="YX"),
            "webp",
            "WebP holds uint8, not float32",
        ),
        (Image(data=np.zeros((2, 5, 6), np.uint8), axes="TYX"), "jpeg", "one plane, not the 2"),
        (rgb(np.zeros((5, 6, 4), np.uint8), alpha="straight"), "jpeg", "JPEG holds no opacity"),
        (
            Image(data=np.zeros((5, 6), np.uint8), axes="YX", labels=True),
            "jpeg",
            "numbers of objects",
        ),
        (Image(data=np.zeros((1, 16384), np.uint8), axes="YX"), "webp", "16383 rows and columns"),
        (Image(data=np.zeros((65501, 1), np.uint8), axes="YX"), "jpeg", "65500 rows and columns"),
    ],
)
def test_what_they_cannot_hold(tmp_path, image, kind, reason):
    with pytest.raises(ImageFileError, match=reason):
        write_image(image, tmp_path / "a", format=kind)
    assert list(tmp_path.iterdir()) == []
    fits, clauses = held_by(image)[kind]
    assert not fits
    assert reason in clauses[0]


def test_a_folder_of_photographs(tmp_path):
    for name in ("a.jpg", "b.jpeg"):
        PIL.Image.fromarray(smooth(24, 31, 3)).save(tmp_path / name, quality=90)

    def run(*more):
        command = ["upscale", tmp_path, "-o", tmp_path / "out", "-m", "bicubic", *more]
        return CliRunner().invoke(app, [str(word) for word in command])

    result = run("--format", "jpeg", "--also", "residual")
    assert result.exit_code == 0, result.output
    assert "changes pixels: not for measuring" in result.output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a.jpg", "b.jpg", "a_residual.tif", "b_residual.tif"}
    assert read_image(tmp_path / "out/a.jpg").shape == (48, 62, 3)
    assert run("--format", "jpeg", "--also", "residual").output.count("already done") == 2
    assert run("--format", "jpeg", "--quality", "80").output.count("was not made from") == 2
    assert run("--quality", "80").exit_code == 2
