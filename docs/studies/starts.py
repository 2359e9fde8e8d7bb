"""Random initial weights against a start as interpolation, for networks that make the image.

python docs/studies/starts.py --train T91 --test Set5
"""

import torch
from study import Bench, decibel, draw_lines, markdown, parse_arguments, write_page
from torch import nn
from torch.nn import functional

from napari_vdsr.networks import ESPCN, FSRCNN, SRCNN
from napari_vdsr.networks.base import Network
from napari_vdsr.networks.fsrcnn import Deconvolution
from napari_vdsr.training.config import load_config

# Network, settings, learning rate, and the patch's side on the image that it reads.
NETWORKS = {
    "SRCNN 9-1-5": (SRCNN, {"kernels": (9, 1, 5)}, 2e-3, 34),
    "FSRCNN": (FSRCNN, {"factors": (2,)}, 3e-3, 17),
    "ESPCN": (ESPCN, {"factors": (2,)}, 1e-3, 17),
}
STARTS = ("random", "interpolation")


class Filter(Network):
    """One linear filter for each of the pixels that a pixel becomes."""

    reads, factors, radius = "source", (2,), 4

    def __init__(self):
        super().__init__()
        self.filter = nn.Conv2d(1, 4, 2 * self.radius + 1, padding=self.radius)

    def forward(self, x, factor=2):
        return functional.pixel_shuffle(self.filter(x), 2)

    @torch.no_grad()
    def fit(self, batches):
        """Take the weights whose squares of errors on these patches are least."""
        side = self.filter.kernel_size[0]
        squares = products = torch.zeros(())
        for batch in batches:
            inside = slice(self.radius, -self.radius)
            seen = functional.unfold(batch.read.double(), side).transpose(1, 2).flatten(0, 1)
            seen = functional.pad(seen, (0, 1), value=1.0)
            made = functional.pixel_unshuffle(batch.target.double(), 2)[..., inside, inside]
            made = made.permute(0, 2, 3, 1).flatten(0, 2)
            squares, products = squares + seen.T @ seen, products + seen.T @ made
        weights = torch.linalg.solve(squares, products).T.float()
        self.filter.weight.copy_(weights[:, :-1].reshape(self.filter.weight.shape))
        self.filter.get_parameter("bias").copy_(weights[:, -1])


def randomly(network):
    """Give all layers the weights that they usually begin with."""
    tanh = any(isinstance(layer, nn.Tanh) for layer in network.modules())
    initialise = nn.init.xavier_uniform_ if tanh else nn.init.kaiming_normal_
    for layer in network.modules():
        if isinstance(layer, Deconvolution):
            nn.init.normal_(layer.weight, std=0.001)  # as its paper has it
        elif isinstance(layer, nn.Conv2d):
            initialise(layer.weight)
            nn.init.zeros_(layer.get_parameter("bias"))
    return network


def main():
    arguments = parse_arguments(__doc__, steps=1600, batch=16)
    bench = Bench(arguments)
    every = max(1, arguments.steps // 8)
    found = {}
    for name, (kind, settings, lr, side) in NETWORKS.items():
        config = load_config(
            "fast", scales=(2,), batch_size=arguments.batch, patch_size=side, lr=lr,
            steps=arguments.steps, warmup=min(100, arguments.steps // 4), clip_value=20.0,
            ema=0.99, seed=arguments.seed, precision="float32",
        )  # fmt: skip
        for start in STARTS:

            def network(kind=kind, settings=settings, start=start):
                made = kind(**settings)
                return randomly(made) if start == "random" else made

            found[name, start] = bench.trial(
                config, network=network, measure_every=every, name=f"{name}, {start}"
            )
    linear = Filter()
    draw = bench.patches(config, source=True)
    linear.fit(draw.batch(step) for step in range(min(400, arguments.steps)))
    best = bench.validation.psnr(linear)["x2"]
    bicubic = bench.validation.bicubic["x2"]
    draw_lines(
        "starts",
        {f"{name}, {start}": (found[name, start].steps, found[name, start].psnr["x2"])
         for start in reversed(STARTS) for name in NETWORKS}
        | {"the best linear filter": ([0, arguments.steps], [best, best])},
        xlabel="steps", baseline=bicubic, family=len(NETWORKS), title=f"{arguments.test.name} x2",
    )  # fmt: skip
    kept = range(1, 8, 2)
    rows = [
        [name, start, *(decibel(t.psnr["x2"][n]) for n in kept if n < len(t.steps))]
        for (name, start), t in found.items()
    ]
    write_page("starts", "How a network starts", [
        "SRCNN, FSRCNN and ESPCN make the image itself, not what bicubic interpolation lacks.",
        "Images are positive, and their detail is small beside their brightness: behind a usual,",
        "random first layer a unit is on or off for whole images, and the network is linear for",
        "long. Here they start as interpolation: one map carries the image to the end, and the",
        "first kernels of the others sum to zero, so that detail alone turns them on and off.",
        "",
        f"PSNR in dB on {arguments.test.name} x2 (bicubic {bicubic:.2f}), batches of "
        f"{arguments.batch}, AdamW, trained on {arguments.train.name}. The best linear filter of "
        f"9 x 9 pixels for each of the four pixels of the result, by least squares on the same "
        f"patches, reads {best:.2f} dB.",
        "",
        *markdown(["network", "start",
                   *(f"{every * (n + 1):,} steps" for n in kept)], rows),
        "",
        "![PSNR against steps](starts.png)",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
