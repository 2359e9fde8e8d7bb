import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_vdsr.image import Image
from napari_vdsr.io import read_image, read_provenance, write_image
from napari_vdsr.io.provenance import decode_value, encode_value, from_lines, to_lines

FORMATS = {"ome-tiff": "a.ome.tif", "imagej": "a.tif", "tiff": "a.tif", "png": "a.png"}
RECORD = {
    "software": "napari-vdsr 0.3.0",
    "model": "vdsr-luma",
    "sha256": "00ff",
    "scale": 2.5,
    "axes": {"Y": 2, "X": 2},
    "version": "1",
    "flag": True,
    "none": None,
    "text": 'two\nlines, µ and "quotes" & <tags>',
    "empty": "",
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(values)
def test_values_come_back_with_their_type(value):
    assert decode_value(encode_value(value)) == value
    assert type(decode_value(encode_value(value))) is type(value)


@pytest.mark.slow
@given(st.dictionaries(st.text("abcdefghij_ 2", min_size=1).map(str.strip).filter(bool), values))
def test_a_section_of_lines_comes_back_from_within_a_text(record):
    assert from_lines("before\n\n" + to_lines(record) + "\n\nafter = 2") == record


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_written_is_read_again(tmp_path, kind):
    path = tmp_path / FORMATS[kind]
    image = Image(data=np.zeros((4, 5), np.uint8), axes="YX", metadata={"description": "Größe"})
    write_image(image, path, format=kind, provenance=RECORD)
    assert read_provenance(path) == RECORD
    assert read_image(path).metadata["description"] == "Größe"


@pytest.mark.parametrize("kind", FORMATS)
def test_numpy_numbers_and_paths_are_recorded_too(tmp_path, kind):
    path = tmp_path / FORMATS[kind]
    image = Image(data=np.zeros((4, 5), np.uint8), axes="YX")
    record = {"range": np.float32(0.5), "tile": np.int64(64), "model": tmp_path, "t": (1, 2)}
    write_image(image, path, format=kind, provenance=record)
    expected = {"range": 0.5, "tile": 64, "model": str(tmp_path), "t": [1, 2]}
    assert read_provenance(path) == expected


@pytest.mark.parametrize("kind", ["ome-tiff", "imagej", "tiff"])
def test_the_software_tag_names_the_version(tmp_path, kind):
    path = tmp_path / FORMATS[kind]
    image = Image(data=np.zeros((4, 5), np.uint8), axes="YX")
    write_image(image, path, format=kind, provenance={"software": "0.3.0"})
    assert read_image(path).metadata["software"] == "napari-vdsr 0.3.0"


@pytest.mark.parametrize("kind", FORMATS)
def test_without_provenance_there_is_none(tmp_path, kind):
    path = tmp_path / FORMATS[kind]
    write_image(Image(data=np.zeros((4, 5), np.uint8), axes="YX"), path, format=kind)
    assert read_provenance(path) is None


def test_upscaling_twice_leaves_the_last_record(tmp_path):
    first, second = tmp_path / "a.tif", tmp_path / "b.tif"
    image = Image(data=np.zeros((4, 5), np.uint8), axes="YX", metadata={"description": "cells"})
    write_image(image, first, format="imagej", provenance={"scale": 2})
    write_image(read_image(first), second, format="imagej", provenance={"scale": 3})
    assert read_provenance(second) == {"scale": 3}
    assert read_image(second).metadata["description"] == "cells"


@pytest.mark.parametrize("text", ["[" * 10**5, "[" * 99 + "]" * 99, "9" * 5000, "-", '{"a": 1'])
def test_text_that_is_no_sane_json_stays_text(text):
    assert decode_value(encode_value(text)) == text
