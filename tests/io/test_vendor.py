"""Files of microscopes: their own words for sizes, times and channels, and what they become."""

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from microscopes import fluoview, lsm, scan_information

from napari_vdsr import load_model, upscale
from napari_vdsr.image import Channel
from napari_vdsr.io import read_image, write_image
from napari_vdsr.io.tiff.vendor import vendor_facts

APERIO = "Aperio Image Library v1|MPP = 0.25|AppMag = 40"
METASERIES = (
    "<MetaData><PlaneInfo>"
    '<prop id="spatial-calibration-state" type="bool" value="on"/>'
    '<prop id="spatial-calibration-x" type="float" value="0.25"/>'
    '<prop id="spatial-calibration-y" type="float" value="0.25"/>'
    '<prop id="spatial-calibration-units" type="string" value="um"/>'
    "</PlaneInfo></MetaData>"
)
FEI = "[Scan]\r\nPixelWidth=2.5e-7\r\nPixelHeight=2.5e-7\r\n"


@pytest.mark.parametrize(
    "tags",
    [
        {"description": APERIO},
        {"description": METASERIES, "software": "MetaSeries"},
        {"extratags": [(34682, 2, 0, FEI, 1)]},
    ],
)
def test_a_microscopes_tiff_becomes_ome_tiff_whatever_its_name(tmp_path, tags):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((9, 8), "u1"), metadata=None, photometric="minisblack", **tags
    )
    image = read_image(tmp_path / "a.tif")
    assert image.pixel_size == pytest.approx({"Y": 0.25, "X": 0.25})
    write_image(upscale(image, load_model("bicubic"), 2), tmp_path / "b.tif")
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.is_ome
    assert read_image(tmp_path / "b.tif").pixel_size == pytest.approx({"Y": 0.125, "X": 0.125})


LSM = {
    "VoxelSizeX": 1e-7, "VoxelSizeY": 1e-7, "VoxelSizeZ": 5e-7, "TimeIntervall": 2.5,
    "ChannelColors": {"ColorNames": ["Ch1", "Ch2"], "Colors": [[0, 255, 0, 0], [255, 0, 0, 0]]},
}  # fmt: skip
FLUOVIEW = {
    "Dimensions": [
        ("X", 8, 0.0, 0.1, "um"), ("Y", 9, 0.0, 100.0, "nm"), ("Z", 3, 0.0, 0.5, "\xb5m"),
        ("T", 2, 0.0, 2500.0, "ms"), ("Ch", 1, 0.0, 1.0, ""),
    ]
}  # fmt: skip
MANAGER = {
    "Summary": {"PixelSize_um": 0.1, "z-step_um": 0.5, "Interval_ms": 2500, "ChNames": ["a", "b"]}
}


@pytest.mark.parametrize(
    ("kind", "metadata", "channels"),
    [
        ("lsm", LSM, (Channel(name="Ch1", color=0x00FF00), Channel(name="Ch2", color=0xFF0000))),
        ("fluoview", FLUOVIEW, ()),
        ("micromanager", MANAGER, (Channel(name="a"), Channel(name="b"))),
    ],
)
def test_sizes_times_and_channels(kind, metadata, channels):
    facts = vendor_facts(SimpleNamespace(**{f"is_{kind}": True, f"{kind}_metadata": metadata}))
    assert facts.pixel_size == pytest.approx({"X": 0.1, "Y": 0.1, "Z": 0.5})
    assert facts.time_step == pytest.approx(2.5)
    assert facts.channels == channels


@pytest.mark.parametrize("metadata", [None, {}, {"Dimensions": 3}, {"Summary": []}])
@pytest.mark.parametrize("kind", ["lsm", "fluoview", "micromanager", "stk", "sem", "metaseries"])
def test_unusual_metadata_leave_the_size_unknown(kind, metadata):
    facts = vendor_facts(SimpleNamespace(**{f"is_{kind}": True, f"{kind}_metadata": metadata}))
    assert facts.pixel_size == {}


@pytest.mark.parametrize("planes", [1, 2])
def test_a_fluoview_image_of_one_plane_is_read_as_one_of_several(tmp_path, planes):
    data = np.arange(1200 * planes, dtype="u2").reshape(planes, 30, 40)
    image = read_image(fluoview(tmp_path / "a.tif", data))
    assert image.axes == "ZYX"[planes == 1 :]
    assert image.pixel_size["X"] == pytest.approx(0.1)
    np.testing.assert_array_equal(np.asarray(image.data), data.squeeze())


@pytest.mark.parametrize(
    ("kind", "scan", "bits"),
    [
        (2, b"", 12),
        (1, b"", None),
        (0, scan_information(12, 8), 12),
        (2, scan_information(16), None),  # a later program writes 16 bits under the old number
        (2, scan_information(0), 12),
    ],
)
def test_an_lsm_says_how_many_bits_its_counts_have(tmp_path, kind, scan, bits):
    data = np.arange(1200, dtype="u2").reshape(2, 20, 30)
    path = lsm(tmp_path / "a.lsm", data, scan, DataType=kind)
    image = read_image(path)
    assert image.bits == bits
    assert image.pixel_size == pytest.approx({"X": 0.1, "Y": 0.1, "Z": 0.5})
    np.testing.assert_array_equal(np.asarray(image.data), data)
    assert read_image(path, series=1).bits is None
    write_image(image, tmp_path / "b.ome.tif")
    assert read_image(tmp_path / "b.ome.tif").bits == bits
