"""What decides how pixels are shown and placed goes along, or its loss is told."""

import warnings
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import PIL.ImageCms
import PIL.PngImagePlugin
import pytest
import tifffile
from roifile import ROI_TYPE, ImagejRoi

from napari_vdsr import load_model, select, upscale
from napari_vdsr.image import Channel, Image
from napari_vdsr.io import read_image, write_image
from napari_vdsr.io.tiff.ome_extras import of_channel, of_channels

PROFILE = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
COLOURS = np.random.default_rng(0).integers(0, 255, (9, 8, 3), "u1")


def enlarged(path, target, **options):
    result = upscale(read_image(path), load_model("bicubic"), 2)
    return write_image(result, target, **options)


def picture(path, **more):
    exif = PIL.Image.Exif()
    exif.update({271: "maker", 272: "cam", 274: 6, 306: "2024:01:02 03:04:05"})
    exif.get_ifd(0x8769)[0x829A] = 0.25  # exposure time
    PIL.Image.fromarray(COLOURS).save(path, icc_profile=PROFILE, dpi=(300, 300), exif=exif, **more)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("target", ["b.png", "b.tif", "b.ome.tif"])
def test_colour_profile_and_resolution_go_along(tmp_path, name, target):
    picture(tmp_path / name)
    enlarged(tmp_path / name, tmp_path / target)
    with PIL.Image.open(tmp_path / target) as found:
        assert found.info["icc_profile"] == PROFILE
        assert found.info["dpi"] == pytest.approx((600, 600), rel=1e-4)
    again = read_image(tmp_path / target)
    assert again.pixel_size == {}
    assert again.metadata["dpi"] == pytest.approx((600, 600), rel=1e-4)


def test_a_printer_s_resolution_never_becomes_a_pixel_size(tmp_path):
    picture(tmp_path / "a.tif")
    for scale in (3, 3):  # 900 and 2700 dots per inch are no usual resolutions
        image = read_image(tmp_path / "a.tif")
        assert image.pixel_size == {}
        write_image(
            upscale(image, load_model("bicubic"), scale), tmp_path / "a.tif", overwrite=True
        )
    assert read_image(tmp_path / "a.tif").metadata["dpi"] == pytest.approx((2700, 2700))


def test_exif_goes_into_png_upright_and_its_loss_in_tiff_is_told(tmp_path):
    picture(tmp_path / "a.jpg")
    assert enlarged(tmp_path / "a.jpg", tmp_path / "b.png") == ()
    with PIL.Image.open(tmp_path / "b.png") as found:
        exif = found.getexif()
        assert exif[272] == "cam"
        assert 274 not in exif
        assert float(exif.get_ifd(0x8769)[0x829A]) == 0.25
    losses = enlarged(tmp_path / "a.jpg", tmp_path / "b.tif")
    assert losses == ("plain TIFF has no place for Exif data: left out",)
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        tags = tif.pages[0].tags
        assert (tags[271].value, tags[272].value) == ("maker", "cam")
        assert tags[306].value == "2024:01:02 03:04:05"


def test_gamma_primaries_and_texts_of_png(tmp_path):
    info = PIL.PngImagePlugin.PngInfo()
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    info.add(b"cHRM", bytes(range(32)))
    info.add_text("Author", "A. Nonymous")
    PIL.Image.fromarray(COLOURS).save(tmp_path / "a.png", pnginfo=info)
    assert enlarged(tmp_path / "a.png", tmp_path / "b.png") == ()
    content = (tmp_path / "b.png").read_bytes()
    assert b"gAMA" + (45455).to_bytes(4, "big") in content
    assert b"cHRM" + bytes(range(32)) in content
    with PIL.Image.open(tmp_path / "b.png") as found:
        assert found.text["Author"] == "A. Nonymous"
        assert found.size == (16, 18)
    assert enlarged(tmp_path / "a.png", tmp_path / "b.tif") == (
        "plain TIFF has no place for gamma and primaries of the colours, the texts 'Author': "
        "left out",
    )


def test_a_profile_of_grey_does_not_go_with_colours(tmp_path):
    grey = PROFILE[:16] + b"GRAY" + PROFILE[20:]
    image = Image(data=COLOURS, axes="YXS", metadata={"icc_profile": grey})
    for name in ("a.png", "a.tif"):
        (told,) = write_image(image, tmp_path / name)
        assert "a colour profile of another kind of pixels" in told
        assert "icc_profile" not in read_image(tmp_path / name).metadata


@pytest.mark.parametrize("name", ["b.tif", "b.ome.tif", "imagej.tif"])
def test_the_georeference_is_scaled(tmp_path, name):
    geo = [
        (33550, "d", 3, (30.0, 30.0, 0.0), True),
        (33922, "d", 6, (0, 0, 0, 440000.0, 5000000.0, 0.0), True),
        (34735, "H", 8, (1, 1, 0, 1, 1025, 0, 1, 1), True),
        (34737, "s", 0, "WGS 84 / UTM|", True),
        (42112, "s", 0, '<GDALMetadata><Item name="STATISTICS_MEAN" sample="0">4</Item>'
         '<Item name="a">b</Item></GDALMetadata>', True),
    ]  # fmt: skip
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((9, 8), "f4"), metadata=None, photometric="minisblack",
        extratags=geo,
    )  # fmt: skip
    kind = {"imagej.tif": "imagej"}.get(name)
    assert enlarged(tmp_path / "a.tif", tmp_path / name, format=kind) == ()
    with tifffile.TiffFile(tmp_path / name) as tif:
        tags = tif.pages[0].tags
        assert tags[33550].value == (15.0, 15.0, 0.0)
        assert tags[33922].value == (0, 0, 0, 440000.0, 5000000.0, 0.0)
        assert tags[34735].value == geo[2][3]
        assert tags[34737].value == geo[3][3]
        assert tags[42112].value == '<GDALMetadata><Item name="a">b</Item></GDALMetadata>'
    assert "the georeference" in enlarged(tmp_path / "a.tif", tmp_path / "b.zarr")[0]


def test_imagej_keeps_regions_look_up_tables_labels_and_info(tmp_path):
    table = np.zeros((3, 256), "u1")
    table[1] = np.arange(256)
    region = ImagejRoi(roitype=ROI_TYPE.RECT, left=1, top=2, right=5, bottom=8)
    properties = {
        "ROI": region.tobytes(), "Overlays": [region.tobytes()] * 2, "Info": "Exposure = 30 ms\n",
        "Labels": [f"s{i}" for i in range(6)], "LUTs": [table, table[[1, 0, 2]]],
        "Ranges": (10.0, 2000.0, 20.0, 3000.0), "Properties": {"a": "b"}, "mode": "composite",
    }  # fmt: skip
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((3, 2, 9, 8), "u2"), imagej=True, resolution=(2, 2),
        metadata={"axes": "ZCYX", "unit": "um", "spacing": 2.0, "xorigin": 4.0, **properties},
    )  # fmt: skip
    image = read_image(tmp_path / "a.tif")
    assert image.origin == {"X": -2.0}
    assert enlarged(tmp_path / "a.tif", tmp_path / "b.tif") == ()
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        found = tif.imagej_metadata
    for key in ("Labels", "Ranges", "Properties", "mode"):
        assert found[key] == properties[key]
    np.testing.assert_array_equal(found["LUTs"], properties["LUTs"])
    assert found["Info"].startswith("Exposure = 30 ms")
    roi = ImagejRoi.frombytes(found["ROI"])
    assert (roi.left, roi.top, roi.right, roi.bottom) == (2, 4, 10, 16)
    assert len(found["Overlays"]) == 2
    # The first centre moved by a quarter of a source pixel, half a new one.
    assert found["xorigin"] == pytest.approx(8.5)
    losses = enlarged(tmp_path / "a.tif", tmp_path / "b.ome.tif")
    assert losses == (
        "OME-TIFF has no place for ImageJ's selection and overlay, ImageJ's labels of the planes, "
        "ImageJ's properties: left out",
    )


def test_what_png_cannot_hold_is_told_in_one_clause(tmp_path):
    image = Image(
        data=COLOURS[..., 0], axes="YX", pixel_size={"Y": 0.5, "X": 0.5}, origin={"Y": 3.0},
        channels=(Channel(name="DAPI", color=0x0000FF, contrast=(0, 9)),),
    )  # fmt: skip
    assert write_image(image, tmp_path / "a.png") == (
        "PNG has no place for the pixel size, the position, channel names, channel colours, "
        "display ranges: left out",
    )
    for name in ("a.tif", "a.ome.tif", "a.zarr"):
        assert write_image(image, tmp_path / name) == ()


def test_axes_of_unknown_meaning_are_told(tmp_path):
    image = Image(data=np.zeros((2, 3, 4), "u1"), axes="QYX")
    assert write_image(image, tmp_path / "a.ome.tif") == ("axis Q is written as T",)
    assert write_image(image, tmp_path / "a.tif") == ()


def test_ome_keeps_what_stays_true_and_tells_what_it_leaves_out(tmp_path):
    """Wavelengths and times go along; the instrument and regions are named as left out."""
    xml = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">
<Instrument ID="Instrument:0"><Objective ID="Objective:0" LensNA="1.4"/></Instrument>
<Image ID="Image:0" Name="a"><InstrumentRef ID="Instrument:0"/>
<ObjectiveSettings ID="Objective:0"/><ImagingEnvironment Temperature="37"/>
<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="8" SizeY="9" SizeZ="1" SizeC="2"
SizeT="1"><Channel ID="Channel:0:0" Name="DAPI" EmissionWavelength="461.5" Fluor="DAPI"/>
<Channel ID="Channel:0:1" Name="GFP" ExcitationWavelength="488"/><TiffData IFD="0" PlaneCount="2"/>
<Plane TheZ="0" TheC="1" TheT="0" ExposureTime="30" ExposureTimeUnit="ms"/></Pixels>
<ROIRef ID="ROI:0"/></Image>
<ROI ID="ROI:0"><Union><Point ID="Shape:0" X="1" Y="2"/></Union></ROI></OME>"""
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.zeros((2, 9, 8), "u1"), description=xml, metadata=None,
        photometric="minisblack",
    )  # fmt: skip
    image = read_image(tmp_path / "a.ome.tif")
    assert image.notes == ()
    told = "left out: OME's instrument, regions, objective"
    assert enlarged(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif") == (told,)
    import ome_types  # takes a second

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ome_types.from_tiff(tmp_path / "b.ome.tif", validate=False).images[0]
    assert found.imaging_environment.temperature == 37
    first, second = found.pixels.channels
    assert (first.emission_wavelength, first.fluor, second.excitation_wavelength) == (
        461.5, "DAPI", 488,
    )  # fmt: skip
    (plane,) = (p for p in found.pixels.planes if p.exposure_time is not None)
    assert (plane.the_c, plane.exposure_time, plane.exposure_time_unit.value) == (1, 30, "ms")
    assert enlarged(tmp_path / "a.ome.tif", tmp_path / "b.tif", format="tiff") == (
        "plain TIFF has no place for OME's wavelengths, times, surroundings: left out",
        told,
    )


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a.ome.tif", False), ("imagej.tif", False), ("a.tif", True), ("a.ome.zarr", True)],
)
def test_the_distance_of_frames_without_a_unit_is_kept_or_told(tmp_path, name, kept):
    image = Image(
        data=np.zeros((3, 9, 8), "u1"), axes="TYX", spacing={"T": 5.0},
        metadata={"imagej": {}} if name == "imagej.tif" else {},
    )  # fmt: skip
    told = write_image(image, tmp_path / name)
    assert any("the distance of frames in an unknown unit: left out" in one for one in told) != kept
    found = read_image(tmp_path / name)
    assert (found.spacing.get("T"), found.time_step) == (5.0 if kept else None, None)


def positions(path):
    """Position of each plane along X and Z, by its number in T and Z."""
    planes = [
        e for e in ElementTree.fromstring(tifffile.tiffcomment(path)).iter() if "TheT" in e.attrib
    ]
    return {
        (int(e.get("TheT")), int(e.get("TheZ"))): [float(e.get(f"Position{a}")) for a in "XZ"]
        for e in planes
    }


def test_ome_keeps_where_each_plane_lies(tmp_path):
    """Also of a stage that moves between frames, and downwards; units may differ."""
    places = [(t, z) for t in range(3) for z in range(2)]
    plane = {
        "PositionX": [100 + 50 * t if t < 2 else 0.2 for t, _ in places],
        "PositionXUnit": ["µm" if t < 2 else "mm" for t, _ in places],
        "PositionZ": [20 - z for _, z in places],
        "PositionZUnit": ["µm"] * 6,
    }
    sizes = {f"PhysicalSize{a}": size for a, size in {"X": 0.5, "Y": 0.5, "Z": 1.0}.items()}
    tifffile.imwrite(
        tmp_path / "a.ome.tif", np.zeros((3, 2, 9, 8), "u1"), photometric="minisblack",
        metadata={"axes": "TZYX", "Plane": plane, **sizes},
    )  # fmt: skip
    assert enlarged(tmp_path / "a.ome.tif", tmp_path / "b.ome.tif") == ()
    assert positions(tmp_path / "b.ome.tif") == {
        (t, z): pytest.approx([100 + 50 * t - 0.125, 20 - z]) for t, z in places
    }
    part = select(read_image(tmp_path / "a.ome.tif"), T=slice(1, 3), Z=1)
    write_image(part, tmp_path / "c.ome.tif")
    assert positions(tmp_path / "c.ome.tif") == {(0, 0): [150, 19], (1, 0): [200, 19]}
    assert enlarged(tmp_path / "a.ome.tif", tmp_path / "b.ome.zarr") == (
        "OME-Zarr has no place for OME's positions of single planes: left out",
    )


def test_planes_that_lie_where_the_first_tells_say_no_more(tmp_path):
    image = Image(
        data=np.zeros((4, 9, 8), "u1"), axes="ZYX", origin={"Z": 0.1, "X": 7.0},
        pixel_size={"Z": 0.1, "Y": 0.5, "X": 0.5},
    )  # fmt: skip
    write_image(image, tmp_path / "a.ome.tif")
    assert "ome" not in read_image(tmp_path / "a.ome.tif").metadata


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.ome.zarr"])
@pytest.mark.parametrize("size", [1e-8, 1e8])
def test_pixel_sizes_beyond_the_resolution_tags_are_kept_elsewhere(tmp_path, name, size):
    write_image(
        Image(data=COLOURS[..., 0], axes="YX", pixel_size={"Y": size, "X": size}), tmp_path / name
    )
    enlarged(tmp_path / name, tmp_path / f"b{name[1:]}")
    assert read_image(tmp_path / f"b{name[1:]}").pixel_size["X"] == pytest.approx(size / 2)


def test_imagej_tells_that_it_cannot_state_an_extreme_pixel_size(tmp_path):
    description = b"ImageJ=1.53t\nunit=micron\n"
    tifffile.imwrite(
        tmp_path / "a.tif", COLOURS[..., 0], description=description, metadata=None,
        resolution=(2**32 - 1, 2**32 - 1), resolutionunit="none",
    )  # fmt: skip
    told = enlarged(tmp_path / "a.tif", tmp_path / "b.tif")
    assert "so small or large a pixel size" in told[0]
    assert read_image(tmp_path / "b.tif").pixel_size == {}


@pytest.mark.parametrize(
    "tags",
    [
        [(33550, 12, 1, (10.0,), True)],
        [(33922, 12, 5, (0.0, 0.0, 0.0, 1.0, 2.0), True)],
        [(34264, 12, 7, (1.0,) * 7, True)],
        [(33550, 2, 0, "abc", True), (34735, 2, 0, "xyz", True)],
        [(34735, 3, 3, (1, 1, 0), True)],
    ],
)
def test_a_damaged_georeference_is_left_out_and_told(tmp_path, tags):
    tifffile.imwrite(tmp_path / "a.tif", COLOURS[..., 0], extratags=tags, metadata=None)
    told = enlarged(tmp_path / "a.tif", tmp_path / "b.tif")
    assert "its georeference, which is damaged" in told[0]


def test_an_orientation_that_is_none_is_ignored(tmp_path):
    tags = [(274, 2, 0, "a", True)]
    tifffile.imwrite(tmp_path / "a.tif", COLOURS[..., 0], extratags=tags, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, COLOURS[..., 0])


def test_dates_that_a_format_cannot_state_are_told(tmp_path):
    metadata = {"acquired": "12/31/2020 10:00", "datetime": "yesterday"}
    image = Image(data=COLOURS[..., 0], axes="YX", metadata=metadata)
    (told,) = write_image(image, tmp_path / "a.ome.tif")
    assert "12/31/2020" in told
    assert "yesterday" in told
    iso = {"acquired": "2020-12-31T10:00:00", "datetime": "2020:12:31 10:00:00"}
    assert write_image(image.with_(metadata=iso), tmp_path / "b.ome.tif") == ()


def test_what_is_said_of_each_channel_survives_splitting_and_joining():
    ome = {
        "channels": [{"PinholeSize": "1"}, {"PinholeSize": "2"}],
        "displays": [{"active": False}, {"inverted": True}],
        "planes": {(0, 0, 0): {"DeltaT": "0"}, (0, 1, 0): {"DeltaT": "5"}},
    }
    whole = {"description": "cells", "ome": ome}
    assert of_channels([of_channel(whole, 0), of_channel(whole, 1)]) == whole
