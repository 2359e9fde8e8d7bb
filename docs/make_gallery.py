"""Make the pictures of the gallery, and its page: real results of the bundled models.

python docs/make_gallery.py

The images are those that scikit-image brings along and that may be shown (none has copyright
restrictions; who made it stands in the page), the fields that `make_example_data.py` draws, and
the sample of this package.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from make_example_data import GAIN, OFFSET, READ, field
from PIL import Image as Picture
from skimage import data

from napari_vdsr.color import luma_uint8
from napari_vdsr.engine import executor_for
from napari_vdsr.enhance import plane_change
from napari_vdsr.evaluation.protocol import modcrop, picture, score, shrunken, to_uint8
from napari_vdsr.model.file import load_model
from napari_vdsr.options import Options
from napari_vdsr.resize import resize

FOLDER = Path(__file__).with_name("gallery")
HEIGHT, WIDTH = 240, 320  # of the part that is shown, in pixels of the result


@dataclass(frozen=True)
class Case:
    """One slider.

    Attributes
    ----------
    name : str
        Of its files.
    title, text, source : str
        Of the page.
    pixels : numpy.ndarray
        (Y, X) or (Y, X, 3) uint8.
    model : str
        A bundled one.
    scale : int
        The image is shrunk by it first and is then the truth; not if `measured` is false.
    corner : (int, int)
        Top and left of the part that is shown, in pixels of the result.
    noise : float
        Standard deviation of what is added to the small image, in grey levels.
    measured : bool
        False: the image itself is enlarged, and no truth is known.
    """

    name: str
    title: str
    text: str
    source: str
    pixels: np.ndarray
    model: str
    scale: int
    corner: tuple[int, int]
    noise: float = 0
    measured: bool = True


def main():
    FOLDER.mkdir(exist_ok=True)
    page = [HEAD]
    for case in cases():
        page += ["", f"## {case.title}", "", *slider(case), "", case.text, "", case.source]
    FOLDER.with_suffix(".md").write_text("\n".join(page) + "\n", "utf-8")
    size = sum(path.stat().st_size for path in FOLDER.glob("*.webp"))
    print(f"{size / 1e6:.2f} MB of pictures")


def slider(case):
    """Save the pictures of a case; give the lines of its figure."""
    pictures = enlarged(case)
    y, x = case.corner
    lines = ['<figure class="slider" markdown>', ""]
    for name, (pixels, figures) in pictures.items():
        part = pixels[y : y + HEIGHT, x : x + WIDTH]
        assert part.shape[:2] == (HEIGHT, WIDTH), (case.name, pixels.shape)
        path = FOLDER / f"{case.name}-{name.split()[0]}.webp"
        Picture.fromarray(part).save(path, lossless=True, quality=100, method=4)
        measured = f", {figures.psnr:.2f} dB" if figures else ""
        lines.append(f"![{name}{measured}](gallery/{path.name})")
    return [*lines, "", "</figure>"]


def enlarged(case):
    """Bicubic, the model, and the truth if there is one: 8-bit pictures with their scores."""
    model = load_model(case.model)
    scale = case.scale
    if case.measured:
        truth = modcrop(case.pixels, scale)
        luma = luma_uint8(truth) if truth.ndim == 3 else truth
        small = shrunken(truth, scale)
    else:
        luma, small = case.pixels, case.pixels / 255.0
    low = shrunken(luma, scale) if case.measured else small
    if case.noise:
        low = small = low + np.random.default_rng(0).normal(0, case.noise / 255, low.shape)
    executor = executor_for(model, Options(device="cpu"))
    ilr, change = plane_change(low, (scale, scale), model.network, executor)
    wide = resize(small, scale)
    made = {"bicubic": to_uint8(wide), case.model: picture(wide, change)}
    if not case.measured:
        return {name: (pixels, None) for name, pixels in made.items()}
    lumas = (to_uint8(ilr), to_uint8(ilr + change))
    scores = [score(luma, plane, scale) for plane in lumas]
    results = dict(zip(made, zip(made.values(), scores, strict=True), strict=True))
    return {**results, "truth": (truth, None)}


def filaments():
    """A field of the worked example in 8 bits, without the camera's noise at its brightest."""
    counts = field(np.random.default_rng(3), 512).astype(np.float64)
    high = np.percentile(counts, 99.9)
    return to_uint8((counts - OFFSET) / (high - OFFSET))


def cases():
    """In the order of the page: what works, then what does not."""
    return [
        Case(
            "tissue",
            "Stained tissue, x3, `vdsr`",
            "Borders of nuclei and glands are drawn together; what lay between two pixels of the "
            "small image is guessed, as the truth shows. Colours are bicubic, only brightness is "
            "sharpened.",
            "Glands of a colon with a stain, Center for Microscopy and Molecular Imaging; no known "
            "copyright restrictions (`skimage.data.immunohistochemistry`).",
            data.immunohistochemistry(),
            "vdsr",
            3,
            (150, 100),
        ),
        Case(
            "filaments",
            "Filaments and spots, x3, `vdsr-fluo`",
            "Thin bright lines on a dark ground gain most. Where two of them run closer than a "
            "pixel of the small image, they are one in the result.",
            f"Drawn by `docs/make_example_data.py`: light, then a camera with a gain of {GAIN} and "
            f"a noise of {READ} grey levels.",
            filaments(),
            "vdsr-fluo",
            3,
            (120, 90),
        ),
        Case(
            "retina",
            "The back of an eye, x4, `vdsr`",
            "Vessels that the small image holds come out as vessels; the finest ones were gone "
            "before. Most of it is smooth, hence the high figures.",
            "Mikael Häggström, [2014](https://doi.org/10.15347/wjm/2014.008), CC0 "
            "(`skimage.data.retina`).",
            data.retina()[300:1020, 200:920],
            "vdsr",
            4,
            (10, 40),
        ),
        Case(
            "camera",
            "A photograph, x2, `vdsr`",
            "What the network was trained on.",
            "Lav Varshney, CC0 (`skimage.data.camera`).",
            data.camera(),
            "vdsr",
            2,
            (70, 110),
        ),
        Case(
            "cell",
            "A cell as it was measured, x2, `vdsr`: hardly a difference",
            "Nothing was shrunk here: the image itself is enlarged, so there is no truth and no "
            "figure. It is over-sampled - the optics blur more than a pixel - and there is next to "
            "nothing to sharpen. The network leaves it as it is.",
            "Quantitative phase, Paul Müller et al., "
            "[2018](https://doi.org/10.1364/OE.26.010729), CC0 (`skimage.data.cell`).",
            data.cell(),
            "vdsr",
            2,
            (638, 704),
            measured=False,
        ),
        Case(
            "grass",
            "Grass, x3, `vdsr`: what cannot be known",
            "Where structure is random at the scale of pixels, the small image does not hold it. "
            "Edges look crisper, and they are not the true ones: the gain is small.",
            "Linolafett, CC0 (`skimage.data.grass`).",
            data.grass(),
            "vdsr",
            3,
            (120, 90),
        ),
        Case(
            "noise",
            "A noisy image, x2, `vdsr`: noise is sharpened",
            "Noise with a standard deviation of 10 grey levels was added to the small image. The "
            "network takes specks for structure. Denoise first, or train with "
            "[noise](degradations.md).",
            "Lav Varshney, CC0 (`skimage.data.camera`), with noise.",
            data.camera(),
            "vdsr",
            2,
            (70, 110),
            noise=10,
        ),
    ]


HEAD = """# Gallery

Real results of the bundled models; nothing was retouched, and no case was left out because it
looked bad. But for one, each image was shrunk (MATLAB's bicubic), enlarged again, and is so its own
truth; figures are PSNR of the whole image by the [protocol](metrics.md) of the literature.

Drag the line, or give it the keyboard (Tab) and press the arrow keys. Without JavaScript the
pictures stand side by side: bicubic, the model, the truth. They are lossless, 320 x 240 pixels
of the result, shown twice as large.

The page is made by `python docs/make_gallery.py`."""


if __name__ == "__main__":
    main()
