"""What a network makes of an image without detail: it should leave it as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from napari_vdsr.model.file import Model

# Of the range, each a grey level of 8 bits; close together at both ends, where a network that
# was trained on photographs has seen little.
LEVELS = tuple(level / 255 for level in (0, 2, 4, 8, 12, 16, 32, 64, 128, 192, 235, 245, 250, 255))
LEAST_SIDE = 48


def flat_error(model: Model) -> dict[int, float]:
    """Measure by how much a model's network changes images of one grey level.

    A network knows the intensities that it was trained on. Beyond them it may add a pattern
    to a background that has none, and PSNR on photographs does not tell. It is the network by
    itself: where it is used it is `bounded`, and such an image stays as it is; what has some noise,
    or lies beside an edge, may not.

    Parameters
    ----------
    model : Model
        That enlarges; others keep an image's size, and so count as x1.

    Returns
    -------
    dict of int to float
        For each scale that it was trained for the largest change of a pixel, borders
        included, in grey levels of 8 bits. Above 0.5 it shows.
    """
    network = model.network.cpu().eval()
    # In the middle no border is in sight, and between there and each border all that is.
    side = max(LEAST_SIDE, 2 * network.radius + 1)
    found = {}
    for scale in sorted({int(scale) for scale in model.card.scales}):
        factor = scale if network.reads == "source" else 1
        worst = 0.0
        for level in LEVELS:
            flat = torch.full((1, network.channels, side, side), level)
            with torch.inference_mode():
                made = network(flat, factor)
            change = made if network.residual else made - level
            worst = max(worst, float(change.abs().max()))
        found[scale] = 255 * worst
    return found
