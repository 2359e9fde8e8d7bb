"""Noise and point-spread functions measured from files."""

import numpy as np
import pytest
import tifffile
from made_up import texture
from scipy import ndimage

from napari_vdsr.errors import TrainingError
from napari_vdsr.training.degrade.noise import noise_of_stack, photon_transfer
from napari_vdsr.training.degrade.psf import read_psf


def frames(gain, offset, read, count=8, brightness=4.0):
    rng = np.random.default_rng(3)
    electrons = texture(120, 160) * brightness / gain
    photons = rng.poisson(electrons, (count, *electrons.shape))
    return offset + gain * photons + rng.normal(0, read, photons.shape)


class TestPhotonTransfer:
    @pytest.mark.parametrize(
        ("gain", "offset", "read"), [(1.0, 0.0, 2.0), (0.45, 100.0, 1.5), (6.0, 400.0, 12.0)]
    )
    def test_simulated_camera(self, gain, offset, read):
        found, intercept = photon_transfer(frames(gain, offset, read))
        assert found == pytest.approx(gain, rel=0.04)
        assert intercept == pytest.approx(read**2 - gain * offset, abs=0.06 * gain * (offset + 300))

    @pytest.mark.parametrize("count", [2, 20])
    @pytest.mark.parametrize("read", [0.0, 3.0])
    @pytest.mark.parametrize("brightness", [50, 5000])
    def test_spots_on_the_dark(self, tmp_path, brightness, read, count):
        """Most pixels hold less than a photo-electron, as in fluorescence."""
        rng = np.random.default_rng(7)
        points = (rng.random((200, 220)) < 0.01) * rng.random((200, 220))
        spots = ndimage.gaussian_filter(points, 1.2)
        electrons = brightness * spots / spots.max()
        assert np.median(electrons) < brightness / 100
        photons = rng.poisson(electrons, (count, *spots.shape))
        stack = np.round(100 + 2.0 * photons + rng.normal(0, read, photons.shape))
        found, intercept = photon_transfer(stack)
        assert found == pytest.approx(2.0, rel=0.08 if count == 2 else 0.04)
        # Rounding to whole grey levels adds its own noise.
        assert intercept + 100 * found == pytest.approx(read**2 + 1 / 12 * (read > 0), abs=0.5)
        tifffile.imwrite(tmp_path / "a.tif", stack.astype(np.uint16), photometric="minisblack")
        noise = noise_of_stack(tmp_path / "a.tif", 100.0)
        assert noise.offset == pytest.approx(100, abs=0.01)
        assert noise.read[0] == pytest.approx(read, abs=0.3)

    def test_moving_things_do_no_harm(self):
        stack = frames(2.0, 0.0, 3.0)
        for number in range(len(stack)):  # a bright spot passes through
            stack[number, 20:30, 10 * number : 10 * number + 10] += 2000
        assert photon_transfer(stack)[0] == pytest.approx(2.0, rel=0.06)

    def test_stack_file(self, tmp_path):
        pixels = np.clip(np.round(frames(2.0, 100.0, 5.0)), 0, 65535).astype(np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
        noise = noise_of_stack(tmp_path / "a.tif", 100.0)
        assert noise.gain[0] == pytest.approx(2.0, rel=0.05)
        assert noise.offset == 100
        assert noise.read[0] == pytest.approx(5.0, abs=4)
        # The offset cannot lie where the variance would be negative.
        assert noise_of_stack(tmp_path / "a.tif", 0.0).offset == pytest.approx(88, abs=15)

    def test_offset_above_the_dark(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", frames(2.0, 100.0, 5.0).astype(np.float32))
        with pytest.raises(TrainingError, match="the offset of 900 lies above its darkest pixels"):
            noise_of_stack(tmp_path / "a.tif", 900.0)

    @pytest.mark.parametrize(
        ("pixels", "message"),
        [
            (texture(40, 50), "is a single plane"),
            (np.stack([texture(120, 160)] * 4), "does not grow with intensity"),
            (np.full((4, 40, 50), 7, np.uint8), "too few different intensities"),
            (np.stack([np.full((40, 50), np.nan, np.float32)] * 2), "NaN"),
        ],
    )
    def test_refused(self, tmp_path, pixels, message):
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
        with pytest.raises(TrainingError, match=rf"a\.tif: .*{message}"):
            noise_of_stack(tmp_path / "a.tif")


class TestPsf:
    @staticmethod
    def bead(sigma, centre=(20.0, 24.0), shape=(41, 49)):
        y, x = np.indices(shape)
        squares = (y - centre[0]) ** 2 + (x - centre[1]) ** 2
        return np.exp(-squares / (2 * sigma**2))

    def test_gaussian(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", (100 + 5000 * self.bead(1.5)).astype(np.uint16))
        psf = read_psf(tmp_path / "a.tif")
        assert psf.shape[0] == psf.shape[1]
        assert psf.shape[0] % 2 == 1
        assert psf.sum() == pytest.approx(1)
        radius = len(psf) // 2
        expected = self.bead(1.5, (radius, radius), psf.shape)
        np.testing.assert_allclose(psf, expected / expected.sum(), atol=1e-3)

    @pytest.mark.parametrize("noise", [3.0, 20.0])
    def test_noise_does_not_widen_it(self, tmp_path, noise):
        random = np.random.default_rng(0).normal(100, noise, (41, 49))
        image = random + 1000 * self.bead(2.0) + 200 * self.bead(1.0, (5.0, 6.0))
        tifffile.imwrite(tmp_path / "a.tif", image.astype(np.float32))
        psf = read_psf(tmp_path / "a.tif")
        at = np.arange(len(psf)) - len(psf) // 2
        for axis in (0, 1):
            assert np.sqrt(psf.sum(1 - axis) @ at**2) == pytest.approx(2.0, rel=0.1)

    def test_is_centred_between_pixels(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", self.bead(2.0, (18.4, 25.7)).astype(np.float32))
        psf = read_psf(tmp_path / "a.tif")
        assert ndimage.center_of_mass(psf) == pytest.approx([len(psf) // 2] * 2, abs=0.02)

    @pytest.mark.parametrize("sigma", [0.8, 1.0, 1.5])
    @pytest.mark.parametrize("off", [0.0, 0.25, 0.5])
    def test_centring_does_not_widen_it(self, tmp_path, sigma, off):
        bead = self.bead(sigma, (20 + off, 24 - off))
        tifffile.imwrite(tmp_path / "a.tif", (100 + 50_000 * bead).astype(np.uint16))
        psf = read_psf(tmp_path / "a.tif")
        expected = self.bead(sigma, (len(psf) // 2,) * 2, psf.shape)
        np.testing.assert_allclose(psf, expected / expected.sum(), atol=0.03 if sigma < 1 else 7e-3)
        at = np.arange(len(psf)) - len(psf) // 2
        for axis in (0, 1):
            assert np.sqrt(psf.sum(1 - axis) @ at**2) == pytest.approx(sigma, rel=0.02)

    def test_sharpest_plane_of_a_stack(self, tmp_path):
        stack = np.stack([self.bead(s) / s**2 for s in (4.0, 1.2, 3.0)]).astype(np.float32)
        tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata={"axes": "ZYX"})
        tifffile.imwrite(tmp_path / "b.tif", stack[1])
        np.testing.assert_array_equal(
            read_psf(tmp_path / "a.ome.tif"), read_psf(tmp_path / "b.tif")
        )

    @pytest.mark.parametrize(
        ("pixels", "message"),
        [
            (np.random.default_rng(0).normal(100, 5, (50, 50)), "no pixel stands out"),
            (np.full((30, 30), 4.0), "no pixel stands out"),
            (np.full((30, 30), np.nan), "NaN"),
        ],
    )
    def test_refused(self, tmp_path, pixels, message):
        tifffile.imwrite(tmp_path / "a.tif", pixels.astype(np.float32))
        with pytest.raises(TrainingError, match=message):
            read_psf(tmp_path / "a.tif")

    def test_too_wide(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", self.bead(30, (100, 100), (201, 201)).astype("f4"))
        with pytest.raises(TrainingError, match="does not end within 63 x 63"):
            read_psf(tmp_path / "a.tif")

    def test_colour(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 20, 3), np.uint8), photometric="rgb")
        with pytest.raises(TrainingError, match="one plane or one z-stack"):
            read_psf(tmp_path / "a.tif")
