"""What counts in pixels is brought to the finer grid."""

import numpy as np
import pytest
from roifile import ROI_SUBTYPE, ROI_TYPE, ImagejRoi

from napari_vdsr.regrid import Grid, regridded

POINT_KEYS = (1, 1, 0, 1, 1025, 0, 1, 2)
AREA_KEYS = (1, 1, 0, 1, 1025, 0, 1, 1)


def on_earth(tags, column, row, *, point):
    """Coordinates of the centre of a pixel, as the GeoTIFF standard says."""
    i, j = (column, row) if point else (column + 0.5, row + 0.5)
    if 34264 in tags:
        return (np.reshape(tags[34264], (4, 4)) @ (i, j, 0, 1))[:2]
    (x_size, y_size, _), (i0, j0, _, x0, y0, _) = tags[33550], tags[33922]
    return np.array([x0 + (i - i0) * x_size, y0 - (j - j0) * y_size])


@pytest.mark.parametrize("keys", [POINT_KEYS, AREA_KEYS])
@pytest.mark.parametrize("scale", [(2, 2), (3, 1.5), (4, 4)])
@pytest.mark.parametrize("matrix", [False, True])
@pytest.mark.parametrize("start", [(0, 0), (5, 7)])
def test_a_place_on_earth_stays_there(keys, scale, matrix, start):
    tags = {34735: keys}
    if matrix:
        tags[34264] = (20.0, 3.0, 0, 1000.0, 2.0, -30.0, 0, 5000.0, 0, 0, 0, 0, 0, 0, 0, 1)
    else:
        tags |= {33550: (30.0, 20.0, 0.0), 33922: (4.0, 2.0, 0.0, 440000.0, 5000000.0, 0.0)}
    found, _ = regridded({"geotiff": tags}, Grid(scale, start))
    point = keys is POINT_KEYS
    for row, column in [(0, 0), (10, 3)]:
        # The centre of pixel i of the result lies at (i + 0.5) / scale - 0.5 of the source's.
        source_row = (row + start[0] + 0.5) / scale[0] - 0.5
        source_column = (column + start[1] + 0.5) / scale[1] - 0.5
        np.testing.assert_allclose(
            on_earth(found["geotiff"], column, row, point=point),
            on_earth(tags, source_column, source_row, point=point),
        )


def enlarged(region, scale=(2, 2)):
    found, notes = regridded({"imagej": {"ROI": region.tobytes()}}, Grid(scale))
    assert notes == []
    return ImagejRoi.frombytes(found["imagej"]["ROI"])


class TestRegions:
    def test_rectangles_cover_the_same_pixels(self):
        region = ImagejRoi(roitype=ROI_TYPE.RECT, left=5, top=4, right=25, bottom=20, name="cell")
        found = enlarged(region)
        assert (found.left, found.top, found.right, found.bottom) == (10, 8, 50, 40)
        assert found.name == "cell"
        found = enlarged(region, (1.5, 1.25))
        assert found.subpixelrect
        assert (found.xd, found.yd, found.widthd, found.heightd) == (6.25, 6, 25, 24)

    @pytest.mark.parametrize("kind", [ROI_TYPE.POLYGON, ROI_TYPE.FREEHAND, ROI_TYPE.TRACED])
    def test_areas_count_from_edges(self, kind):
        region = ImagejRoi.frompoints([[3, 4], [10, 4], [10, 12]])
        region.roitype = kind
        np.testing.assert_allclose(enlarged(region).coordinates(), [[6, 8], [20, 8], [20, 24]])

    @pytest.mark.parametrize("kind", [ROI_TYPE.POLYLINE, ROI_TYPE.POINT, ROI_TYPE.ANGLE])
    def test_lines_and_points_count_from_centres(self, kind):
        region = ImagejRoi.frompoints([[3, 4], [10, 4], [10, 12]])
        region.roitype = kind
        expected = [[6.5, 8.5], [20.5, 8.5], [20.5, 24.5]]
        np.testing.assert_allclose(enlarged(region).coordinates(), expected)

    def test_a_straight_line_keeps_its_ends_and_width(self):
        region = ImagejRoi(roitype=ROI_TYPE.LINE, x1=1.5, y1=2, x2=9, y2=0, stroke_width=3)
        found = enlarged(region)
        assert (found.x1, found.y1, found.x2, found.y2) == (3.5, 4.5, 18.5, 0.5)
        assert found.stroke_width == 6

    def test_shapes_of_several_paths(self):
        path = np.array([0, 1, 2, 1, 5, 2, 1, 5, 6, 4, 0, 8, 8, 1, 9, 8, 4], np.float32)
        region = ImagejRoi(
            roitype=ROI_TYPE.RECT, left=1, top=2, right=9, bottom=8,
            shape_roi_size=len(path), multi_coordinates=path,
        )  # fmt: skip
        found = enlarged(region)
        expected = [0, 2, 4, 1, 10, 4, 1, 10, 12, 4, 0, 16, 16, 1, 18, 16, 4]
        np.testing.assert_array_equal(found.multi_coordinates, expected)

    def test_what_cannot_be_enlarged_is_told_and_the_others_kept(self):
        rectangle = ImagejRoi(roitype=ROI_TYPE.RECT, left=1, top=1, right=2, bottom=2).tobytes()
        picture = ImagejRoi(
            roitype=ROI_TYPE.RECT, subtype=ROI_SUBTYPE.IMAGE, image_size=4, image_data=b"abcd"
        ).tobytes()
        far = ImagejRoi(roitype=ROI_TYPE.RECT, left=1, top=1, right=40_000, bottom=2).tobytes()
        source = {"Overlays": [rectangle, picture, b"Iout and nothing", far], "ROI": b"?"}
        found, notes = regridded({"imagej": source}, Grid((2, 2)))
        assert len(found["imagej"]["Overlays"]) == 1
        assert "ROI" not in found["imagej"]
        assert notes == ["4 of ImageJ's regions cannot be enlarged with the image, and left out"]


def test_dots_per_inch_grow_and_all_else_stays():
    found, notes = regridded({"dpi": (300.0, 150.0), "description": "x"}, Grid((2, 3)))
    assert found == {"dpi": (900.0, 300.0), "description": "x"}
    assert notes == []
