import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_vdsr.errors import ImageDataError, NonFiniteError, UsageError
from napari_vdsr.image import Image
from napari_vdsr.normalize import (
    Normalization,
    Range,
    block_count,
    measure,
    to_dtype,
)
from napari_vdsr.sampling import measure_sample

rng = np.random.default_rng(0)


def image(data, axes="YX", name="cells"):
    return Image(data=data, axes=axes, name=name)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_small_integers_have_exact_percentiles(dtype):
    info = np.iinfo(dtype)
    data = rng.integers(info.min // 2, info.max // 2, (60, 50)).astype(dtype)
    (found,) = measure(image(data), "percentile").ranges
    low, high = np.percentile(data, [0.1, 99.9], method="lower")
    assert found == Range(low, high)


@pytest.mark.parametrize("dtype", ["uint16", "float32", "uint32", "float64"])
@pytest.mark.parametrize("chunks", [(31, 47), (250, 160), (250, 3)])
def test_range_does_not_depend_on_chunks(dtype, chunks):
    data = (np.random.default_rng(1).random((250, 160)) * 1000).astype(dtype)
    whole = measure(image(data), "percentile")
    assert measure(image(da.from_array(data, chunks)), "percentile") == whole
    (found,) = whole.ranges
    assert found.low == pytest.approx(np.percentile(data, 0.1), abs=1.5)
    assert found.high == pytest.approx(np.percentile(data, 99.9), abs=1.5)


def test_large_images_are_sampled_on_one_grid_whatever_the_chunks(monkeypatch):
    monkeypatch.setattr("napari_vdsr.normalize.SAMPLE", 400)
    data = rng.normal(size=(3, 97, 83)).astype(np.float32)
    whole = measure(image(data, "ZYX"))
    assert measure(image(da.from_array(data, (2, 13, 29)), "ZYX")) == whole


def test_each_channel_has_its_own_range_over_time():
    data = np.zeros((2, 2, 8, 8), np.uint16)
    data[:, 0] = rng.integers(0, 100, (2, 8, 8))
    data[:, 1] = rng.integers(5000, 6000, (2, 8, 8))
    found = measure(image(data, "TCYX"), "minmax").ranges
    assert found == (
        Range(data[:, 0].min(), data[:, 0].max()),
        Range(data[:, 1].min(), data[:, 1].max()),
    )


def test_eight_bits_use_the_whole_type():
    assert measure(image(np.full((4, 4), 7, np.uint8))).ranges == (Range(0, 255),)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_structures_are_within_the_range_and_hot_pixels_are_not(dtype):
    data = rng.integers(100, 201, (100, 100)).astype(dtype)
    low, high = np.percentile(data, [0.1, 99.9], method="lower")
    data[:2, :3] = 600  # six pixels of 10,000 are beyond the percentile
    assert measure(image(data)) == Normalization("robust", (Range(100, 600),))
    data[50, 50] = 60_000
    (found,) = measure(image(data)).ranges
    assert (found.low, found.high) == pytest.approx((100, low + 8 * (high - low)), rel=0.02)
    data[60, 60] = 0
    assert measure(image(data)).ranges[0].low == 0


def test_sparse_image_falls_back_to_minimum_and_maximum():
    data = np.zeros((100, 100), np.uint16)
    data[3, 3] = 900
    assert measure(image(data)).ranges == (Range(0, 900),)
    assert measure(image(data.astype(np.float32))).ranges == (Range(0, 900),)


def test_constant_image_has_an_empty_range():
    assert measure(image(np.full((4, 4), 7, np.uint16))).ranges == (Range(7, 7),)


def test_opacity_is_no_intensity():
    data = np.full((50, 50, 4), 65_535, np.uint16)
    data[..., :3] = np.arange(2500).reshape(50, 50, 1)
    (found,) = measure(Image(data=data, axes="YXS")).ranges
    assert found.high < 2500


def test_range_beyond_float64_is_refused():
    data = np.array([[-1.7e308, 1.7e308]])
    with pytest.raises(ImageDataError, match=r"'cells' has intensities from -1.7e\+308 to"):
        measure(image(data))


def test_nan_is_named():
    data = np.ones((4, 4), np.float32)
    data[0, :2] = np.nan, np.inf
    with pytest.raises(NonFiniteError, match=r"'cells' contains NaN.*2 of 16.*Give a value"):
        measure(image(data))


@pytest.mark.parametrize("mode", ["histogram", (3.0, 3.0), (0.0, float("nan"))])
def test_wrong_modes_are_refused(mode):
    with pytest.raises(UsageError):
        measure(image(np.ones((4, 4), np.uint16)), mode)


@settings(deadline=None)
@given(
    npst.arrays(np.float64, 20, elements=st.floats(-1e25, 1e25)),
    st.sampled_from("int8 uint8 int16 uint16 int32 uint32 int64 uint64".split()),
)
def test_integers_are_rounded_and_clipped_exactly(values, dtype):
    info = np.iinfo(dtype)
    found = to_dtype(values, np.dtype(dtype))
    for value, integer in zip(values.tolist(), found.tolist(), strict=True):
        limits = max(info.min, min(info.max, value))
        # Half a grey level, or where float64 is coarser than that, its own spacing.
        assert abs(integer - limits) <= max(0.5, np.spacing(abs(value)))


def test_halves_are_rounded_up_and_floats_stay_finite():
    assert to_dtype(np.array([0.5, 1.5, 254.5, -0.5]), np.dtype("uint8")).tolist() == [1, 2, 255, 0]
    assert np.isfinite(to_dtype(np.array([1e6, -1e6]), np.dtype("float16"))).all()


class TestSample:
    """A sample reads few blocks; the plane that is looked at is in it."""

    def lazy(self, axes, shape, chunks, dtype):
        reads = []

        def block(block_info=None):
            place = block_info[None]["array-location"]
            reads.append(tuple(map(tuple, place)))
            # Bright where the first index is 1.
            level = 1000 if len(shape) > 2 and place[0][0] == 1 else 10
            return np.full(block_info[None]["chunk-shape"], level, dtype) + np.eye(
                *block_info[None]["chunk-shape"][-2:], dtype=dtype
            )

        data = da.map_blocks(
            block, chunks=da.core.normalize_chunks(chunks, shape), dtype=dtype,
            meta=np.zeros((0,) * len(shape), dtype),
        )  # fmt: skip
        return Image(data=data, axes=axes), reads

    @pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
    @pytest.mark.parametrize(
        ("axes", "shape", "chunks"),
        [
            ("YX", (20_000, 20_000), (500, 500)),
            ("ZYX", (400, 600, 700), (1, 600, 700)),
            ("CZYX", (3, 50, 600, 700), (1, 1, 100, 700)),
        ],
    )
    def test_of_many_blocks_few_are_read(self, axes, shape, chunks, dtype):
        image, reads = self.lazy(axes, shape, chunks, dtype)
        plane = (1, 7)[: len(axes) - 2]
        found = measure_sample(image, plane=plane)
        assert found.sample
        assert len(found.ranges) == image.size("C")
        assert len(reads) <= 16
        if axes == "YX":
            assert found.ranges[0] == Range(10, 11)
        else:
            at = [(i, i + 1) for i in plane]
            assert any(list(place[: len(at)]) == at for place in reads)
            assert found.ranges[0].high >= 1000

    def test_of_a_pyramid_a_small_level(self):
        image, reads = self.lazy("YX", (20_000, 20_000), (500, 500), np.uint16)
        small = np.arange(10**6, dtype=np.uint16).reshape(1000, 1000)
        found = measure_sample(image, "minmax", levels=(small, small[::100, ::100]))
        assert found == Normalization("minmax", (Range(0, 65535),), sample=True)
        assert not reads

    def test_of_little_all_is_measured(self):
        pixels = np.random.default_rng(0).integers(0, 5000, (2, 300, 200)).astype(np.uint16)
        image = Image(data=pixels, axes="CYX")
        assert measure_sample(image, plane=(1,)) == measure(image)
        assert measure_sample(image, (0, 9)) == measure(image, (0, 9))
        assert not measure_sample(image.with_(data=pixels.astype(np.uint8))).sample

    def test_blocks_are_counted(self):
        image, _ = self.lazy("CZYX", (3, 5, 600, 700), (1, 1, 100, 700), np.uint16)
        read = []
        measure(image.with_(data=image.data[:, :2]), on_block=lambda: read.append(1))
        assert block_count(image.with_(data=image.data[:, :2])) == len(read)


@pytest.mark.parametrize("mode", ["minmax", "percentile", "robust"])
@pytest.mark.parametrize("alpha", ["straight", "none"])
@pytest.mark.parametrize("samples", [(4,), (2, 2), (1, 1, 1, 1)])
def test_however_samples_are_chunked(mode, alpha, samples):
    """Alpha, or a fourth band, counts for nothing in whichever chunk it lies."""
    pixels = np.random.default_rng(0).integers(9, 200, (30, 40, 4)).astype("u2")
    pixels[..., 3] = 65535
    data = da.from_array(pixels, chunks=(16, 16, samples))
    found = measure(Image(data=data, axes="YXS", alpha=alpha), mode)
    assert found == measure(Image(data=pixels, axes="YXS", alpha=alpha), mode)
    assert found.ranges[0].high < 200
