"""P3: the new layer's pixels lie where the source's lie, whatever the transform."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.layers import Image as ImageLayer

from napari_vdsr.plugin.placement import resampled, transform_of
from napari_vdsr.scale import output_length

numbers = st.floats(0.05, 20).map(lambda x: float(np.float32(x)))
signed = st.tuples(numbers, st.sampled_from([1, -1])).map(lambda p: p[0] * p[1])


def layer(shape, **transform):
    return ImageLayer(np.zeros(shape, np.uint8), **transform)


@st.composite
def transforms(draw):
    affine = np.eye(3)
    if draw(st.booleans()):
        affine[:2] += np.reshape(
            draw(st.lists(st.floats(-0.4, 0.4), min_size=6, max_size=6)), (2, 3)
        )
    return {
        "scale": [draw(numbers), draw(numbers)],
        "translate": [draw(signed), draw(signed)],
        "rotate": draw(st.floats(-180, 180)),
        "shear": [draw(st.floats(-1, 1))],
        "affine": affine,
    }


@pytest.mark.slow
@given(transforms(), st.sampled_from([(2.0, 2.0), (3.0, 1.0), (1.5, 2.7), (4.0, 4.0)]))
def test_corners_and_centres_fall_together(transform, factors):
    source = layer((6, 8), **transform)
    meta = source.as_layer_data_tuple()[1]
    shape = [output_length(n, f) for n, f in zip((6, 8), factors)]
    result = layer(shape, **resampled(meta, factors))
    for corner in ((-0.5, -0.5), (5.5, -0.5), (-0.5, 7.5), (2.5, 3.5)):
        there = [(c + 0.5) * f - 0.5 for c, f in zip(corner, factors)]
        a, b = source.data_to_world(corner), result.data_to_world(there)
        size = np.abs(source.extent.world).max()
        np.testing.assert_allclose(a, b, atol=1e-9 * size, rtol=0)
    np.testing.assert_array_equal(result.affine.affine_matrix, source.affine.affine_matrix)


@pytest.mark.slow
@given(transforms(), st.integers(0, 9), st.integers(0, 9))
def test_a_window_lies_within_the_whole(transform, row, column):
    meta = layer((6, 8), **transform).as_layer_data_tuple()[1]
    whole = layer((12, 16), **resampled(meta, (2, 2)))
    part = layer((3, 3), **resampled(meta, (2, 2), (row, column)))
    size = np.abs(whole.extent.world).max()
    np.testing.assert_allclose(
        part.data_to_world((1, 2)), whole.data_to_world((row + 1, column + 2)), atol=1e-9 * size
    )


def test_other_axes_units_and_labels_are_kept():
    source = layer(
        (3, 4, 5, 6),
        scale=(2, 0.5, 0.1, 0.2),
        translate=(1, 2, 3, 4),
        units=("second", "micrometer", "micrometer", "micrometer"),
        axis_labels=("t", "z", "y", "x"),
    )
    placed = resampled(source.as_layer_data_tuple()[1], (1, 1, 2, 4))
    result = layer((3, 4, 10, 24), **placed)
    np.testing.assert_allclose(result.scale, (2, 0.5, 0.05, 0.05))
    np.testing.assert_allclose(result.translate, (1, 2, 3 - 0.025, 4 - 0.075))
    assert [str(u) for u in result.units] == ["second", *["micrometer"] * 3]
    assert result.axis_labels == ("t", "z", "y", "x")


def test_a_shift_forgotten_would_be_seen():
    meta = layer((6, 8), scale=(1, 1)).as_layer_data_tuple()[1]
    placed = resampled(meta, (2, 2)) | {"translate": (0, 0)}
    wrong = layer((12, 16), **placed)
    assert not np.allclose(wrong.data_to_world((0.5, 0.5)), (0, 0))
    assert transform_of(meta)["scale"] == pytest.approx((1, 1))
