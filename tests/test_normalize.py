import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_vdsr.errors import ImageDataError, NonFiniteError, UsageError
from napari_vdsr.image import Image
from napari_vdsr.normalize import Range, measure, to_dtype

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
    whole = measure(image(data))
    assert measure(image(da.from_array(data, chunks))) == whole
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
