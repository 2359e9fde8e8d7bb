"""Training patches, found again pixel by pixel in the images that they came from."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_up import save_png, texture

from napari_vdsr.errors import TrainingError, UsageError
from napari_vdsr.resize import resize
from napari_vdsr.training.config import TrainConfig
from napari_vdsr.training.data import patches as module
from napari_vdsr.training.data.planes import Pair, field_of
from napari_vdsr.training.data.scan import scan
from napari_vdsr.training.degrade.physics import Draw
from napari_vdsr.training.degrade.tasks import Task, tasks_of

CPU = torch.device("cpu")
SIZE = 9
SHAPES = [(23, 31), (14, 40), (26, 17)]


def Patches(images, settings, device):  # noqa: N802
    """Patches of arrays in memory."""
    fields = [field_of(image) for image in images]
    return Pairs(fields, settings, tasks_of(settings), device)


class Pairs(module.Patches):
    """Enlarged image and target alone."""

    def batch(self, *args):
        return super().batch(*args)[1:3]


def config(**settings):
    defaults = {"patch_size": SIZE, "batch_size": 64, "flat_threshold": 0.0, "redraws": 0}
    return TrainConfig(**{**defaults, **settings})


def numbered_images():
    """Images in which every pixel of all has a value of its own."""
    counts = np.cumsum([0, *(height * width for height, width in SHAPES)])
    values = np.random.default_rng(0).permutation(counts[-1]) / counts[-1]
    return [
        values[start : start + height * width].reshape(height, width).astype(np.float32)
        for start, (height, width) in zip(counts, SHAPES, strict=False)
    ]


def turned(patch):
    """The eight flips and transposes of a square patch."""
    return [np.rot90(side, k) for side in (patch, patch.T) for k in range(4)]


def locate(patch, images):
    """Image, position and turn of a patch of `numbered_images`."""
    for turn, candidate in enumerate(turned(patch)):
        for index, image in enumerate(images):
            for y, x in np.argwhere(image == candidate[0, 0]):
                side = len(candidate)
                if np.array_equal(image[y : y + side, x : x + side], candidate):
                    return index, int(y), int(x), turn
    raise AssertionError("a patch that is in no image")


def as_arrays(batch):
    return [tensor.squeeze(1).numpy() for tensor in batch]


def test_batches_depend_on_seed_and_step_alone():
    images = numbered_images()
    first, second = Patches(images, config(), CPU), Patches(images, config(), CPU)
    first.batch(3)  # what was drawn before plays no part
    for step in (0, 7, 10**9):
        for a, b in zip(first.batch(step), second.batch(step), strict=True):
            assert torch.equal(a, b)
    assert not torch.equal(first.batch(0)[1], first.batch(1)[1])
    other = Patches(images, config(seed=1), CPU)
    assert not torch.equal(first.batch(0)[1], other.batch(0)[1])


def test_global_random_state_plays_no_part():
    patches = Patches(numbered_images(), config(), CPU)
    torch.manual_seed(1)
    np.random.seed(1)
    expected = patches.batch(5)[1]
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(patches.batch(5)[1], expected)


@pytest.mark.parametrize("scales", [(2,), (3,), (4,), (2, 3, 4)])
def test_patches_are_turned_crops_of_whole_images(scales):
    """HR is a crop that crosses no border; ILR is the same crop of the whole image's ILR."""
    images = numbered_images()
    enlarged = {}
    for scale in scales:
        for index, image in enumerate(images):
            height, width = (length // scale * scale for length in image.shape)
            enlarged[scale, index] = resize(resize(image[:height, :width], 1 / scale), scale)
    batch = Patches(images, config(scales=scales), CPU).batch(0)
    seen = set()
    for ilr, hr in zip(*as_arrays(batch), strict=True):
        index, y, x, turn = locate(hr, images)
        seen.add((index, turn))
        errors = {}
        for scale in scales:
            crop = enlarged[scale, index][y : y + SIZE, x : x + SIZE]
            if crop.shape == hr.shape:
                errors[scale] = np.abs(turned(ilr)[turn] - crop).max()
        assert min(errors.values()) < 1e-6
    assert {index for index, _ in seen} == {0, 1, 2}
    assert {turn for _, turn in seen} == set(range(8))


def test_every_position_of_every_image_occurs():
    images = [np.arange(13 * 14, dtype=np.float32).reshape(13, 14) / 182]
    patches = Patches(images, config(scales=(2,), batch_size=512), CPU)
    assert patches.positions == (12 - SIZE + 1) * (14 - SIZE + 1)
    found = {
        locate(hr, images)[1:3] for step in range(2) for hr in as_arrays(patches.batch(step))[1]
    }
    assert found == {(y, x) for y in range(12 - SIZE + 1) for x in range(14 - SIZE + 1)}


def test_every_position_is_equally_likely():
    dark, bright = np.zeros((16, 16)), np.ones((60, 60))
    patches = Patches([dark, bright], config(scales=(2,), batch_size=2000), CPU)
    count = sum(hr.mean() == 0 for hr in as_arrays(patches.batch(0))[1])
    expected = 2000 * 8**2 / (8**2 + 52**2)
    assert abs(count - expected) < 5 * expected**0.5


@pytest.mark.parametrize(
    ("shares", "expected"), [((), (200, 200, 200)), ((3, 1.5, 0.5), (360, 180, 60))]
)
def test_scales_are_mixed_in_a_batch(shares, expected):
    image = texture(60, 60) / 255
    settings = config(scales=(2, 3, 4), scale_shares=shares, batch_size=600)
    patches = Patches([image], settings, CPU)
    ilr, _ = as_arrays(patches.batch(0))
    counts = []
    for scale in (2, 3, 4):
        whole = np.sort(resize(resize(image, 1 / scale), scale).ravel())
        at = np.searchsorted(whole, ilr[:, 4, 4] - 3e-7)
        counts.append((np.abs(whole[np.minimum(at, whole.size - 1)] - ilr[:, 4, 4]) < 3e-7).sum())
    assert 600 <= sum(counts) < 610  # a few values occur at two scales by chance
    assert counts == pytest.approx(expected, abs=50)


def test_one_scale_in_a_batch_is_drawn_by_its_share():
    settings = config(scales=(2, 4), scale_shares=(4, 1), batch_size=2)
    field = field_of(texture(60, 60) / 255)
    patches = module.Patches([field], settings, tasks_of(settings), CPU, source=True)
    factors = [patches.batch(step).factor for step in range(200)]
    assert factors.count(2) == pytest.approx(160, abs=25)
    assert factors == [patches.batch(step, 1, 2).factor for step in range(200)]


def test_flat_patches_are_drawn_again():
    image = np.full((60, 120), 0.5, np.float32)
    image[:, 80:] = texture(60, 40) / 255
    shares = []
    for redraws in (0, 1, 4):
        settings = {"flat_threshold": 1e-4, "redraws": redraws, "batch_size": 1000}
        ilr, hr = as_arrays(Patches([image], config(**settings), CPU).batch(0))
        shares.append((np.square(hr - ilr).mean((1, 2)) < 1e-4).mean())
    # Each new draw is flat with the same chance.
    assert shares[0] > 0.5
    assert shares[1] == pytest.approx(shares[0] ** 2, abs=0.06)
    assert shares[2] == pytest.approx(shares[0] ** 5, abs=0.06)


def test_an_all_flat_image_still_gives_patches():
    settings = {"flat_threshold": 1e-4, "redraws": 4}
    ilr, hr = Patches([np.full((30, 30), 0.25)], config(**settings), CPU).batch(0)
    assert hr.shape == (64, 1, SIZE, SIZE)
    assert torch.allclose(ilr, hr)


def test_processes_share_a_batch_and_see_different_patches():
    patches = Patches(numbered_images(), config(), CPU)
    first, second = (patches.batch(0, rank, 2)[1] for rank in range(2))
    assert first.shape == second.shape == (32, 1, SIZE, SIZE)
    assert not torch.equal(first, second)
    assert torch.equal(first, patches.batch(0, 0, 2)[1])


def test_form_of_a_batch():
    ilr, hr = Patches(numbered_images(), config(batch_size=5), CPU).batch(0)
    assert ilr.shape == hr.shape == (5, 1, SIZE, SIZE)
    assert ilr.dtype == hr.dtype == torch.float32


def test_small_images_are_left_out():
    images = [*numbered_images(), np.ones((11, 50), np.float32)]
    patches = Patches(images, config(), CPU)
    assert len(patches.fields) == 3
    assert not (patches.batch(0)[1] == 1).any()


@pytest.mark.parametrize("shape", [(11, 50), (50, 11), (3, 3)])
def test_only_small_images(shape):
    with pytest.raises(TrainingError, match="no image is at least 12 pixels high and wide"):
        Patches([np.ones(shape)], config(scales=(2, 4)), CPU)


def test_patches_that_grow_too_large():
    with pytest.raises(TrainingError, match="900 pixels high and wide, as grow = 900 needs"):
        Patches([np.ones((50, 50))], config(grow=(900,), grow_every=2), CPU)


def source_patches(images, settings, **options):
    fields = [field_of(image) for image in images]
    return module.Patches(fields, settings, tasks_of(settings), CPU, source=True, **options)


@pytest.mark.parametrize("blur", [(0.0, 0.0), (1.0, 1.0)])
def test_what_reads_the_source_gets_crops_of_the_degraded_whole(blur):
    """Low resolution, bicubic and target lie over one another, in every turn."""
    image = np.random.default_rng(3).random((61, 70)).astype(np.float32)
    settings = config(batch_size=12, patch_size=6, blur=blur, seed=5)
    patches = source_patches([image], settings)
    factors = set()
    for step in range(12):
        read, bicubic, target, factor = patches.batch(step)
        factors.add(factor)
        side = 6 * factor
        assert read.shape == (12, 1, 6, 6)
        assert bicubic.shape == target.shape == (12, 1, side, side)
        whole = torch.from_numpy(image[: 61 // factor * factor, : 70 // factor * factor])[None]
        (task,) = (t for t in patches.tasks if t.scale == factor)
        draw = Draw(torch.zeros(1), torch.ones(1), torch.Generator().manual_seed(0))
        low = task.chain.degrade(whole, draw)
        enlarged = task.chain.enlarge(low)[0].numpy()
        for small, large, sharp in zip(*(a.squeeze(1).numpy() for a in (read, bicubic, target))):
            turn, y, x = find(sharp, whole[0].numpy())
            assert y % factor == x % factor == 0
            np.testing.assert_allclose(
                turned(large)[turn], enlarged[y : y + side, x : x + side], atol=1e-5
            )
            y, x = y // factor, x // factor
            np.testing.assert_allclose(turned(small)[turn], low[0, y : y + 6, x : x + 6], atol=1e-5)
    assert factors == {2, 3, 4}


def find(patch, image):
    """Turn and position of a patch in an image."""
    for turn, candidate in enumerate(turned(patch)):
        for y, x in np.argwhere(image == candidate[0, 0]):
            if np.array_equal(image[y : y + len(patch), x : x + len(patch)], candidate):
                return turn, y, x
    raise AssertionError("a patch that is not in the image")


def test_measured_sources_lie_below_their_targets():
    sharp = np.random.default_rng(0).random((40, 52)).astype(np.float32)
    low = resize(sharp, 1 / 2).astype(np.float32)
    field = replace(field_of(sharp), pair=Pair(field_of(low), 2))
    task = Task("x2", 2, None)
    patches = module.Patches([field], config(batch_size=16, patch_size=5), [task], CPU, source=True)
    read, _, target, factor = patches.batch(0)
    assert factor == 2
    for small, large in zip(read[:, 0].numpy(), target[:, 0].numpy()):
        turn, y, x = find(large, sharp)
        np.testing.assert_array_equal(
            turned(small)[turn], low[y // 2 : y // 2 + 5, x // 2 : x // 2 + 5]
        )


class TestGrowth:
    def test_sizes_and_counts(self):
        settings = config(grow=(12, 14), grow_every=10, batch_size=64)
        patches = Patches(numbered_images(), settings, CPU)
        for step, size, count in ((0, 9, 64), (9, 9, 64), (10, 12, 36), (20, 14, 26), (99, 14, 26)):
            worse, hr = patches.batch(step)
            assert worse.shape == hr.shape == (count, 1, size, size)

    def test_patches_are_those_of_the_images(self):
        images = numbered_images()
        patches = Patches(images, config(grow=(15,), grow_every=1, scales=(2,)), CPU)
        _, hr = patches.batch(5)
        found = {locate(patch[0], images)[0] for patch in hr.numpy()}
        # The second image has 14 rows: it gives patches of the first size alone.
        assert found <= {0, 2} and len(found) == 2
        _, hr = patches.batch(0)
        assert {locate(patch[0], images)[0] for patch in hr.numpy()} == {0, 1, 2}

    def test_a_step_is_the_same_however_it_is_reached(self):
        settings = config(grow=(12,), grow_every=3, flat_threshold=1e-3, redraws=2)
        first = Patches(numbered_images(), settings, CPU)
        for step in range(6):
            expected = first.batch(step)
        again = Patches(numbered_images(), settings, CPU).batch(5)
        assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))

    def test_sides_of_networks_that_read_the_source(self):
        settings = config(patch_size=4, grow=(6,), grow_every=2, scales=(2, 3))
        fields = [field_of(image) for image in numbered_images()]
        patches = module.Patches(fields, settings, tasks_of(settings), CPU, source=True)
        for step in range(6):
            batch = patches.batch(step)
            size = 4 if step < 2 else 6
            assert batch.read.shape[-1] == size
            assert batch.target.shape[-1] == size * batch.factor
        assert patches.smallest == 8

    def test_images_that_are_too_small_for_all_but_the_first(self):
        with pytest.raises(TrainingError, match="at least 40 pixels"):
            Patches(numbered_images(), config(grow=(40,), grow_every=5, scales=(2,)), CPU)

    def test_what_is_read_for_a_round_holds_its_largest_patches(self, tmp_path, monkeypatch):
        """Of a data set larger than memory a part is read, and it could be of small images."""
        monkeypatch.setattr(module, "ROUND", 4)
        paths = [
            save_png(tmp_path / f"{n}.png", texture(*((40, 41) if n == 2 else (12, 13)), n))
            for n in range(5)
        ]
        settings = config(grow=(20,), grow_every=6, memory=1e-6, scales=(2,))
        fields = scan(paths, memory=1e-6).fields
        patches = Pairs(fields, settings, tasks_of(settings), CPU)
        sides = [patches.batch(step)[1].shape[-1] for step in range(16)]
        assert sides == [SIZE] * 6 + [20] * 10

    def test_another_number_from_a_step_on(self):
        settings = config(late_batch=90, late_from=3, grow=(12,), grow_every=5)
        patches = Patches(numbered_images(), settings, CPU)
        for step, count in ((2, 64), (3, 90), (5, 50)):
            assert len(patches.batch(step)[0]) == count == settings.batch_at(step)

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"late_batch": 9}, "belong together"),
            ({"grow": (9,), "grow_every": 5}, "larger than the one before"),
            ({"grow": (20, 12), "grow_every": 5}, "larger than the one before"),
            ({"grow": (20,)}, "belong together"),
            ({"grow_every": 5}, "belong together"),
        ],
    )
    def test_settings(self, settings, says):
        with pytest.raises(UsageError, match=says):
            config(**settings)


class TestContrast:
    def test_a_patch_and_its_input_are_changed_alike(self):
        images = numbered_images()
        before = module_batch(images, config(), 4)
        after = module_batch(images, config(contrast=1.0), 4)
        gains = []
        for old, new in zip(before.target, after.target, strict=True):
            gain = (new.max() - new.min()) / (old.max() - old.min())
            gains.append(float(gain))
            assert new.min() > -1e-6 and new.max() < 1 + 1e-6
        gain = torch.tensor(gains)[:, None, None, None]
        shift = after.target.amin((1, 2, 3), keepdim=True) - gain * before.target.amin(
            (1, 2, 3), keepdim=True
        )
        for old, new in zip(before[:3], after[:3], strict=True):
            torch.testing.assert_close(new, gain * old + shift, atol=1e-5, rtol=0)

    def test_some_begin_at_black_and_some_end_at_white(self):
        rng = np.random.default_rng(0)
        dim = [0.3 + 0.2 * rng.random((40, 40)).astype(np.float32)]
        target = module_batch(dim, config(contrast=1.0, batch_size=600), 0).target
        low, high = target.amin((1, 2, 3)), target.amax((1, 2, 3))
        span = high - low
        assert 0.25 < float((low.abs() < 1e-6).float().mean()) < 0.45
        assert 0.08 < float(((high - 1).abs() < 1e-6).float().mean()) < 0.3
        assert span.min() > 0.09 and span.min() < 0.15 and 0.7 < span.max() < 0.81

    def test_share(self):
        images = numbered_images()
        old = module_batch(images, config(batch_size=400), 1).target
        new = module_batch(images, config(batch_size=400, contrast=0.25), 1).target
        kept = (old == new).all(-1).all(-1).flatten().float().mean()
        assert 0.68 < kept < 0.82

    def test_a_flat_patch_stays_finite(self):
        flat = [np.full((40, 40), 0.4, np.float32)]
        batch = module_batch(flat, config(contrast=1.0), 0)
        assert all(torch.isfinite(pixels).all() for pixels in batch[:3])
        assert float(batch.target.amin()) > -1e-6 and float(batch.target.amax()) < 1 + 1e-6


def module_batch(images, settings, step):
    tasks = tasks_of(settings)
    fields = [field_of(image) for image in images]
    return module.Patches(fields, settings, tasks, CPU).batch(step)


def test_a_gpu_does_not_wait_for_what_is_copied_there():
    class Pinned:
        def to(self, device, *, non_blocking):
            return "pinned", device, non_blocking

    class Values:
        def pin_memory(self):
            return Pinned()

    gpu = torch.device("cuda")
    assert module.on_device(Values(), gpu) == ("pinned", gpu, True)
    values = torch.arange(3)
    assert module.on_device(values, torch.device("cpu")) is values
