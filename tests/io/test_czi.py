"""CZI files that Zeiss's own library wrote, against the pixels that went in."""

import pickle
import random

import numpy as np
import pytest
from fuzz import flipped, read_or_refused

from napari_vdsr.errors import ImageFileError
from napari_vdsr.io import list_series, read_image

czi = pytest.importorskip("pylibCZIrw.czi")
METRES = {"scale_x": 1e-7, "scale_y": 2e-7, "scale_z": 5e-7}


def texture(*shape, dtype="u2", seed=0):
    return np.random.default_rng(seed).integers(1, 250, shape).astype(dtype)


def stored(pixels):
    return pixels[..., ::-1] if pixels.shape[-1] == 3 and pixels.ndim == 3 else pixels[..., None]


def save(path, tiles, compression=None, **metadata):
    """Write tiles of (pixels, plane, scene, x, y)."""
    with czi.create_czi(str(path), compression_options=compression) as document:
        for pixels, plane, scene, x, y in tiles:
            pixels = np.ascontiguousarray(stored(pixels))
            document.write(pixels, plane=plane, scene=scene, location=(x, y))
        document.write_metadata(document_name="made up", **metadata)
    return path


def stack(data, axes, scene=0, x=0, y=0):
    for index in np.ndindex(data.shape[: len(axes)]):
        yield data[index], dict(zip(axes, index)), scene, x, y


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
@pytest.mark.parametrize("axes", ["", "T", "CZ", "TCZ", "ZT"])
def test_stacks(tmp_path, axes, dtype):
    data = texture(*(2, 3, 2)[: len(axes)], 20, 30, dtype=dtype)
    path = save(tmp_path / "a.czi", stack(data, axes), **METRES)
    image = read_image(path)
    order = "".join(sorted(axes, key="VBRIHTCZ".index))
    assert image.axes == order + "YX"
    assert image.dtype == np.dtype(dtype)
    expected = data.transpose([*map(axes.index, order), -2, -1])
    np.testing.assert_array_equal(np.asarray(image.data), expected)
    np.testing.assert_array_equal(
        np.asarray(image.data[..., 3:11:2, 7:30]), expected[..., 3:11:2, 7:30]
    )
    sizes = {"X": 0.1, "Y": 0.2} | ({"Z": 0.5} if "Z" in axes else {})
    assert dict(image.pixel_size) == pytest.approx(sizes)
    assert image.metadata["format"] == "ome-tiff"


@pytest.mark.parametrize("compression", [None, "zstd0:ExplicitLevel=2", "zstd1:"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_colours_are_red_first(tmp_path, dtype, compression):
    data = texture(20, 30, 3, dtype=dtype)
    image = read_image(save(tmp_path / "a.czi", [(data, {}, 0, 0, 0)], compression))
    assert image.axes == "YXS" and image.is_rgb
    np.testing.assert_array_equal(np.asarray(image.data), data)


def test_channels_are_named_as_the_file_does(tmp_path):
    data = texture(2, 20, 30)
    names = {0: "DAPI", 1: "GFP"}
    image = read_image(save(tmp_path / "a.czi", stack(data, "C"), channel_names=names))
    assert [channel.name for channel in image.channels] == ["DAPI", "GFP"]


def test_channels_of_different_types_become_one(tmp_path):
    first, second = texture(20, 30, dtype="u1"), texture(20, 30, dtype="u2") * 200
    path = save(tmp_path / "a.czi", [(first, {"C": 0}, 0, 0, 0), (second, {"C": 1}, 0, 0, 0)])
    image = read_image(path)
    assert image.dtype == np.uint16
    assert "all of them read as uint16" in image.notes[0]
    np.testing.assert_array_equal(np.asarray(image.data), [first, second])


def test_grey_and_colours_are_not_put_together(tmp_path):
    tiles = [(texture(9, 8, dtype="u1"), {"C": 0}, 0, 0, 0),
             (texture(9, 8, 3, dtype="u1"), {"C": 1}, 0, 0, 0)]  # fmt: skip
    path = save(tmp_path / "a.czi", tiles)
    with pytest.raises(ImageFileError, match="Bgr24 and Gray8, of which no picture is made"):
        read_image(path)
    assert len(list_series(path)) == 1


def test_scenes_are_series_each_of_its_own_size_and_indices(tmp_path):
    """A scene with one channel, not the first, has that one's pixels."""
    first = texture(2, 20, 30, dtype="u1")
    second, third = texture(3, 40, 30, seed=1), texture(25, 26, seed=2) * 250
    tiles = [*stack(first, "C", 0, -50, 7), *stack(second, "T", 1, 500, 0),
             (third, {"C": 1, "T": 2}, 2, 900, 0)]  # fmt: skip
    path = save(tmp_path / "a.czi", tiles)
    listed = list_series(path)
    assert [(one.axes, one.shape) for one in listed] == [
        ("CYX", (2, 20, 30)), ("TYX", (3, 40, 30)), ("YX", (25, 26)),
    ]  # fmt: skip
    assert [one.main for one in listed] == [False, True, False]
    for number, expected in enumerate([first, second, third]):
        image = read_image(path, series=number)
        assert image.dtype == expected.dtype
        assert image.metadata["series"] == number
        np.testing.assert_array_equal(np.asarray(image.data), expected)
    assert "holds 3 images" in read_image(path).notes[0]


def test_indices_need_not_begin_at_0(tmp_path):
    data = texture(2, 20, 30)
    tiles = [(data[0], {"T": 3, "Z": 1}, 0, 0, 0), (data[1], {"T": 5, "Z": 1}, 0, 0, 0)]
    image = read_image(save(tmp_path / "a.czi", tiles))
    assert image.axes == "TYX"
    np.testing.assert_array_equal(np.asarray(image.data), data)


@pytest.mark.parametrize(("down", "right"), [(20, 30), (16, 25)])
def test_mosaics_are_put_together_later_tiles_on_top(tmp_path, down, right):
    expected = np.zeros((2, 20 + down, 30 + 2 * right), "u2")
    tiles = []
    for channel in range(2):
        for i, (y, x) in enumerate(np.ndindex(2, 3)):
            pixels = texture(20, 30, seed=10 * channel + i)
            tiles.append((pixels, {"C": channel}, 0, -9 + right * x, 3 + down * y))
            top, left = down * y, right * x
            expected[channel, top : top + 20, left : left + 30] = pixels
    image = read_image(save(tmp_path / "a.czi", tiles))
    np.testing.assert_array_equal(np.asarray(image.data), expected)
    part = np.asarray(image.data[1, 17:29, 21:45])
    np.testing.assert_array_equal(part, expected[1, 17:29, 21:45])
    assert image.notes == ("put together of 6 tiles where the file places them",)


def test_room_between_tiles_is_told(tmp_path):
    tiles = [(texture(20, 30, seed=i), {}, 0, 50 * i, 0) for i in range(2)]
    image = read_image(save(tmp_path / "a.czi", tiles))
    assert image.notes == (
        "put together of 2 tiles where the file places them; where none lies, pixels are 0",
    )
    assert not np.asarray(image.data)[:, 30:50].any()


def test_tiles_that_lie_absurdly_far_apart_are_damage(tmp_path):
    tiles = [(texture(20, 30, seed=i), {}, 0, 2_000_000_000 * i, 0) for i in range(2)]
    with pytest.raises(ImageFileError, match="too far apart"):
        read_image(save(tmp_path / "a.czi", tiles))


def test_planes_that_are_not_there_are_no_black_ones(tmp_path):
    data = texture(2, 3, 20, 30)
    path = save(tmp_path / "a.czi", list(stack(data, "TZ"))[:-1])
    with pytest.raises(ImageFileError, match="1 of its 6 planes are not there"):
        read_image(path)
    image = read_image(path, partial=True)
    assert image.notes == ("1 of its 6 planes are not there; they are read as 0",)
    np.testing.assert_array_equal(np.asarray(image.data)[1, :2], data[1, :2])
    tiles = [(data[0, i], {"T": t}, 0, 30 * i, 0) for t in range(2) for i in range(2)]
    path = save(tmp_path / "b.czi", tiles[:-1])
    with pytest.raises(ImageFileError, match="tiles that others have are not there in 1 of its 2"):
        read_image(path)


def test_large_planes_are_read_in_blocks(tmp_path):
    data = texture(3000, 4000)
    tiles = [(data[y : y + 1500, x : x + 2000], {}, 0, x, y) for y in (0, 1500) for x in (0, 2000)]
    image = read_image(save(tmp_path / "a.czi", tiles))
    assert image.data.chunks == ((1500, 1500), (2000, 2000))
    np.testing.assert_array_equal(np.asarray(image.data), data)


def test_it_can_be_pickled_and_notices_a_change(tmp_path):
    data = texture(2, 20, 30)
    path = save(tmp_path / "a.czi", stack(data, "Z"))
    image = pickle.loads(pickle.dumps(read_image(path)))
    np.testing.assert_array_equal(np.asarray(image.data), data)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(ImageFileError, match="changed while it was being read"):
        image.data.compute()


@pytest.mark.parametrize(("at", "told"), [(32, "longer"), (44, "longer"), (78, "another one")])
def test_lengths_that_would_end_the_library_are_noticed_before(tmp_path, at, told):
    path = save(tmp_path / "a.czi", stack(texture(2, 20, 30), "Z"), compression="zstd0:")
    content = bytearray(path.read_bytes())
    at += content.index(b"ZISRAWSUBBLOCK")
    content[at : at + 2] = b"\x99\x7f"
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match=told):
        read_image(path).data.compute()


def test_damage_is_told_in_one_line(tmp_path):
    tiles = [*stack(texture(2, 2, 20, 30), "TC"), *stack(texture(2, 2, 20, 30), "TC", 1, 300)]
    content = save(tmp_path / "a.czi", tiles, compression="zstd0:", **METRES).read_bytes()
    path = tmp_path / "b.czi"
    for seed in range(120):
        rng = random.Random(seed)
        at = rng.randrange(len(content))
        if seed % 3 == 0:
            damaged = content[:at]
        elif seed % 3 == 1:
            damaged = flipped(content, rng)
        else:
            damaged = content[:at] + rng.randbytes(4) + content[at + 4 :]
        path.write_bytes(damaged)
        read_or_refused(path)
