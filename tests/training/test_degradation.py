"""Degradations against scipy, Pillow and the published protocol."""

import io
import math

import numpy as np
import pytest
import torch
from made_up import texture
from PIL import Image
from scipy import ndimage

from napari_vdsr.evaluation.protocol import interpolated
from napari_vdsr.resize import resize
from napari_vdsr.training.degrade.chain import Chain
from napari_vdsr.training.degrade.jpeg import Jpeg
from napari_vdsr.training.degrade.physics import (
    Downsample,
    Draw,
    GaussianBlur,
    MeasuredBlur,
    Noise,
)


def draw(n=1, *, low=0.0, width=255.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Draw(torch.full((n,), low), torch.full((n,), width), generator)


def batch(image, n=1):
    return torch.from_numpy(np.stack([image] * n).astype(np.float32))


def applied(degradation, image, **options):
    """One image, degraded."""
    return degradation(batch(image), draw(**options))[0].numpy()


class TestDownsample:
    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_bicubic_is_the_published_protocol(self, factor):
        image = texture(24 * factor, 20 * factor)
        got = Chain((Downsample("bicubic", factor),))(batch(image / 255), draw())[0]
        np.testing.assert_allclose(got, interpolated(image, factor), atol=2e-6)

    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_area_is_the_mean(self, factor):
        image = texture(24 * factor, 20 * factor) / 255
        expected = image.reshape(24, factor, 20, factor).mean((1, 3))
        np.testing.assert_allclose(applied(Downsample("area", factor), image), expected, atol=1e-6)

    def test_strided_takes_the_pixel_in_the_middle(self):
        image = texture(60, 72) / 255
        got = applied(Downsample("strided", 3), image)
        np.testing.assert_allclose(got, image[1::3, 1::3], atol=1e-6)

    @pytest.mark.parametrize("method", ["bicubic", "area", "strided"])
    @pytest.mark.parametrize("factor", [2, 3, 4])
    def test_nothing_moves(self, method, factor):
        """A straight ramp stays where it was, away from the mirrored borders."""
        ramp = np.add.outer(np.arange(24 * factor), 2 * np.arange(20 * factor)) / 100
        enlarged = Chain((Downsample(method, factor),))(batch(ramp), draw())[0].numpy()
        inner = (slice(5 * factor, -5 * factor),) * 2
        np.testing.assert_allclose(enlarged[inner], ramp[inner], atol=1e-5)


class TestBlur:
    @pytest.mark.parametrize("sigma", [0.5, 1.0, 2.3])
    def test_gaussian_is_scipys(self, sigma):
        image = texture(40, 50) / 255
        expected = ndimage.gaussian_filter(image, sigma, mode="reflect")
        got = applied(GaussianBlur((sigma, sigma)), image)
        np.testing.assert_allclose(got, expected, atol=2e-5)

    def test_sigma_differs_from_patch_to_patch(self):
        blurred = GaussianBlur((0.0, 3.0))(batch(texture(32, 32) / 255, 16), draw(16))
        roughness = blurred.diff(dim=-1).square().mean((1, 2))
        assert roughness.max() > 5 * roughness.min()

    def test_no_blur(self):
        image = texture(20, 30) / 255
        np.testing.assert_allclose(applied(GaussianBlur((0.0, 0.0)), image), image, atol=1e-6)

    def test_measured_is_a_convolution(self):
        rng = np.random.default_rng(0)
        psf = rng.random((5, 7))
        psf /= psf.sum()
        image = texture(30, 40) / 255
        got = applied(MeasuredBlur(tuple(map(tuple, psf.tolist()))), image)
        np.testing.assert_allclose(got, ndimage.convolve(image, psf, mode="reflect"), atol=1e-5)


class TestNoise:
    @pytest.mark.parametrize("offset", [0.0, 100.0])
    def test_variance_follows_the_photon_transfer_curve(self, offset):
        gain, read = 2.5, 8.0
        for electrons in (5.0, 40.0, 900.0):
            level = offset + gain * electrons
            clean = (np.full((300, 300), level) - 50) / 4000
            noise = Noise((gain, gain), offset, (read, read))
            values = applied(noise, clean, low=50.0, width=4000.0) * 4000 + 50
            assert values.mean() == pytest.approx(level, abs=float(values.std()) / 60)
            assert values.var() == pytest.approx(gain * (level - offset) + read**2, rel=0.03)

    def test_below_the_offset_is_no_light(self):
        values = applied(Noise((2.0, 2.0), 100.0), np.full((20, 20), 50 / 255))
        np.testing.assert_allclose(values, 50 / 255, atol=1e-6)

    def test_strength_differs_from_patch_to_patch(self):
        noisy = Noise(read=(0.0, 50.0))(batch(np.full((64, 64), 0.5), 32), draw(32))
        spread = 255 * noisy.std((1, 2))
        assert spread.max() > 35
        assert spread.min() < 15

    def test_generator_alone_decides(self):
        image = batch(texture(20, 20) / 255)
        noise = Noise((3.0, 3.0), 0.0, (5.0, 5.0))
        torch.manual_seed(1)
        a = noise(image, draw(seed=4))
        torch.manual_seed(2)
        assert torch.equal(a, noise(image, draw(seed=4)))
        assert not torch.equal(a, noise(image, draw(seed=5)))


class TestJpeg:
    @pytest.mark.parametrize("quality", [1, 5, 10, 30, 50, 75, 90, 100])
    @pytest.mark.parametrize("shape", [(48, 64), (43, 61)])
    def test_is_libjpegs(self, quality, shape):
        pixels = texture(*shape)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        expected = np.asarray(Image.open(file)).astype(int)
        got = np.round(255 * applied(Jpeg((quality, quality)), pixels / 255)).astype(int)
        # libjpeg's integer transforms round a few coefficients to the other side.
        different = np.abs(got - expected)
        assert different.mean() < 0.3
        assert (different > 1).mean() < 0.05
        if quality < 90:
            assert np.abs(expected - pixels).mean() > 1  # there was something to reproduce

    def test_quality_is_drawn_from_the_whole_range(self):
        image = batch(texture(16, 16) / 255, 300)
        decoded = Jpeg((10, 12))(image, draw(300))
        kinds, counts = torch.unique(decoded, dim=0, return_counts=True)
        assert len(kinds) == 3
        assert counts.min() > 70


class TestChain:
    CHAINS = (
        Chain((Downsample("bicubic", 3),)),
        Chain((GaussianBlur((1.2, 1.2)), Downsample("area", 2))),
        Chain((GaussianBlur((0.7, 0.7)), Downsample("strided", 4), Jpeg((40, 40)))),
        Chain((Downsample("area", 3), Jpeg((20, 20)))),
        Chain((Jpeg((30, 30)),)),
        Chain((GaussianBlur((1.5, 1.5)),)),
    )

    @pytest.mark.parametrize("chain", CHAINS)
    def test_a_window_with_its_margin_equals_the_whole(self, chain):
        step = chain.alignment
        margin = math.ceil(chain.margin / step) * step
        size = 4 * step
        image = texture(2 * margin + 6 * step, 2 * margin + 5 * step) / 255
        whole = chain(batch(image), draw())[0].numpy()
        top, left = step, 0
        window = image[top : top + size + 2 * margin, left : left + size + 2 * margin]
        alone = chain(batch(window), draw())[0].numpy()
        inner = (slice(margin, margin + size),) * 2
        expected = whole[top + margin : top + margin + size, left + margin : left + margin + size]
        np.testing.assert_allclose(alone[inner], expected, atol=1e-5)

    def test_scale_alignment_and_margin(self):
        chain = self.CHAINS[2]
        assert (chain.scale, chain.alignment) == (4, 32)
        assert chain.margin == 4 * (3 + 8 + 2) + 3
        assert (Chain(()).scale, Chain(()).alignment, Chain(()).margin) == (1, 1, 0)

    def test_description_is_plain_and_whole(self):
        psf = MeasuredBlur(((1.0,),), "bead.tif")
        chain = Chain((psf, Downsample("area", 2), Noise((1.0, 2.0), 3.0, (4.0, 5.0))))
        assert chain.describe() == [
            {"kind": "measured-blur", "source": "bead.tif", "sha256": "6c3c396ed6b5"},
            {"kind": "downsample", "method": "area", "factor": 2},
            {"kind": "noise", "gain": (1.0, 2.0), "offset": 3.0, "read": (4.0, 5.0)},
        ]

    def test_images_are_not_changed(self):
        image = batch(texture(48, 48) / 255)
        kept = image.clone()
        for chain in self.CHAINS:
            chain(image[:, : 48 // chain.scale * chain.scale], draw())
        assert torch.equal(image, kept)


def test_enlargement_is_that_of_the_engine():
    image = texture(24, 20) / 255
    chain = Chain((Downsample("area", 2),))
    expected = resize(image.reshape(12, 2, 10, 2).mean((1, 3)), 2)
    np.testing.assert_allclose(chain(batch(image), draw())[0], expected, atol=1e-6)
