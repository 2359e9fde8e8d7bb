"""OME-TIFF whose channels lie side by side, as the samples of a page."""

import numpy as np
import pytest
import tifffile

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import list_series, read_image

HEAD = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
PLANES = {
    "all": "<TiffData/>",
    "page": '<TiffData IFD="0"/>',
    "counted": '<TiffData IFD="0" PlaneCount="3"/>',
    "same": "".join(f'<TiffData IFD="0" FirstC="{i}" PlaneCount="1"/>' for i in range(3)),
    "own": "".join(f'<TiffData IFD="{i}" FirstC="{i}" PlaneCount="1"/>' for i in range(3)),
}
CHANNELS = {
    "one sample": [f'<Channel Name="c{i}" SamplesPerPixel="1"/>' for i in range(3)],
    "three channels": [f'<Channel Name="c{i}"/>' for i in range(3)],
    "one channel": ["<Channel/>"],
    "none": [],
}


def save(path, pages, channels, planes, *, planar="contig", order="XYCZT", c=3, z=1):
    """Write pages of RGB, (pages, Y, X, S), under an OME-XML that says what is given."""
    xml = (
        f'{HEAD}<Image><Pixels DimensionOrder="{order}" Type="uint8" SizeX="30" SizeY="20" '
        f'SizeZ="{z}" SizeC="{c}" SizeT="1">{"".join(channels)}{planes}</Pixels></Image></OME>'
    )
    stored = pages if planar == "contig" else np.moveaxis(pages, -1, 1)
    tifffile.imwrite(
        path, stored, photometric="rgb", planarconfig=planar, metadata=None, description=xml
    )


def random(*shape):
    return np.random.default_rng(0).integers(0, 255, shape).astype("u1")


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("planes", PLANES)
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_document_says_what_samples_are(tmp_path, channels, planes, planar):
    path, pages = tmp_path / "a.ome.tif", random(1, 20, 30, 3)
    save(path, pages, CHANNELS[channels], PLANES[planes], planar=planar)
    image = read_image(path)
    if channels in ("one sample", "three channels"):
        assert image.axes == "CYX" == list_series(path)[0].axes
        assert [c.name for c in image.channels] == ["c0", "c1", "c2"]
        assert any("are channels" in note for note in image.notes)
        pages = np.moveaxis(pages, -1, 1)
    else:
        assert image.axes == "YXS"
    np.testing.assert_array_equal(np.asarray(image.data), pages[0])


@pytest.mark.parametrize("order", ["XYCZT", "XYZCT"])
def test_channels_of_several_pages_go_on(tmp_path, order):
    """Six channels at two depths lie in four pages of three samples."""
    pages = random(4, 20, 30, 3)
    places = [(0, 0), (3, 0), (0, 1), (3, 1)]  # first channel and depth of each page
    listed = "".join(
        f'<TiffData IFD="{i}" FirstC="{c}" FirstZ="{z}" PlaneCount="1"/>'
        for i, (c, z) in enumerate(places)
    )
    names = [f'<Channel Name="c{i}" SamplesPerPixel="1"/>' for i in range(6)]
    save(tmp_path / "a.ome.tif", pages, names, listed, order=order, c=6, z=2)
    image = read_image(tmp_path / "a.ome.tif")
    assert image.size("C") == 6 == len(image.channels)
    found = np.moveaxis(np.asarray(image.data), image.axes.index("C"), 0)
    for page, (c, z) in zip(pages, places):
        np.testing.assert_array_equal(found[c : c + 3, z], np.moveaxis(page, -1, 0))


@pytest.mark.parametrize(
    ("count", "channels", "c"),
    [
        (3, CHANNELS["one sample"], 3),  # a page for each channel, and all in colours
        (1, CHANNELS["one sample"] + ['<Channel SamplesPerPixel="1"/>'], 4),
        (1, ['<Channel SamplesPerPixel="2"/>'], 2),
    ],
)
def test_samples_that_nothing_explains_are_refused_as_such(tmp_path, count, channels, c):
    save(tmp_path / "a.ome.tif", random(count, 20, 30, 3), channels, PLANES["all"], c=c)
    with pytest.raises(ImageFileError, match="and its pages have 3 samples") as caught:
        read_image(tmp_path / "a.ome.tif")
    assert "missing" not in str(caught.value)


def test_planes_that_are_missing_take_their_channels_along(tmp_path):
    names = [f'<Channel Name="c{i}" SamplesPerPixel="1"/>' for i in range(6)]
    pages = random(1, 20, 30, 3)
    save(tmp_path / "a.ome.tif", pages, names, '<TiffData IFD="0" PlaneCount="1"/>', c=6)
    with pytest.raises(ImageFileError, match="1 of 2 planes are missing"):
        read_image(tmp_path / "a.ome.tif")
    image = read_image(tmp_path / "a.ome.tif", partial=True)
    assert [c.name for c in image.channels] == ["c0", "c1", "c2"]
    np.testing.assert_array_equal(np.asarray(image.data), np.moveaxis(pages[0], -1, 0))
