"""What networks cost, against counts by hand."""

import pytest

from napari_vdsr.networks import (
    BTSRN,
    DRRN,
    EDSR,
    ESPCN,
    FSRCNN,
    MDSR,
    SRCNN,
    VDSR,
    Bicubic,
    Lite,
)
from napari_vdsr.networks.cost import factor_at, flop_per_pixel, parameters_at


def convolution(fan_in, fan_out, size=3, bias=True):
    """Operations for each pixel of the grid that it works on."""
    return 2 * fan_in * fan_out * size**2 + bias * fan_out


def test_networks_on_the_enlarged_image():
    vdsr = convolution(1, 64) + 18 * convolution(64, 64) + convolution(64, 1)
    assert flop_per_pixel(VDSR(), 2) == flop_per_pixel(VDSR(), 3.5) == vdsr == 1_330_625
    srcnn = convolution(1, 64, 9) + convolution(64, 32, 5) + convolution(32, 1, 5)
    assert flop_per_pixel(SRCNN(), 3) == srcnn
    # Two of the block's convolutions run in each of 9 units.
    drrn = convolution(1, 128) + 18 * convolution(128, 128) + convolution(128, 1)
    assert flop_per_pixel(DRRN(), 2) == pytest.approx(drrn, rel=2e-3)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_networks_on_the_source(factor):
    area = factor**2
    lite = convolution(1, 32) + 20 * convolution(32, 32) + convolution(32, area)
    assert flop_per_pixel(Lite(), factor) == pytest.approx(lite / area)
    espcn = convolution(1, 64, 5) + convolution(64, 32) + convolution(32, area)
    assert flop_per_pixel(ESPCN(), factor) == pytest.approx(espcn / area)
    low = convolution(1, 56, 5) + convolution(56, 12, 1) + 4 * convolution(12, 12)
    low += convolution(12, 56, 1)
    # Of the deconvolution each source pixel meets all weights; its bias is added to each result.
    fsrcnn = (low + 2 * 56 * 81) / area + 1
    assert flop_per_pixel(FSRCNN(), factor) == pytest.approx(fsrcnn)


def test_edsr():
    body = convolution(1, 64) + 33 * convolution(64, 64)
    up = convolution(64, 64 * 4)
    expected = (body + up + 4 * convolution(64, 1)) / 4
    assert flop_per_pixel(EDSR(factors=[2]), 2) == pytest.approx(expected)


def test_pixels_beyond_the_result_count():
    network = Lite(factors=[2, 4])
    assert flop_per_pixel(network, 3) == pytest.approx(flop_per_pixel(network, 4) * 16 / 9)
    assert factor_at(network, 2.5) == 4
    with pytest.raises(ValueError, match="by 4 at most"):
        flop_per_pixel(network, 5)


def test_nothing_costs_nothing():
    assert flop_per_pixel(Bicubic(), 2) == parameters_at(Bicubic(), 2) == 0


def test_parameters_of_one_enlargement():
    assert parameters_at(VDSR(), 2) == 665_921
    assert parameters_at(Lite(), 2) == sum(p.numel() for p in Lite(factors=[2]).parameters())
    assert parameters_at(Lite(skips=2), 4) == sum(p.numel() for p in Lite(factors=[4]).parameters())
    for kind in (BTSRN, MDSR):
        one = kind(factors=[3])
        assert parameters_at(kind(), 3) == sum(p.numel() for p in one.parameters())
