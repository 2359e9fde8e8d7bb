"""Residual against plain learning at three learning rates.

python docs/studies/residual.py --train T91 --test Set5
"""

import dataclasses
from functools import partial

from study import Bench, Plain, decibel, draw_lines, markdown, parse_arguments, sized, write_page

from napari_vdsr.networks import VDSR
from napari_vdsr.training.config import load_config

RATES = (0.1, 0.01, 0.001)
# Kim, Lee, Lee 2016, table 1: depth 10, Set5 x2, after 10, 20, 40 and 80 epochs.
PAPER = {
    "residual": (36.90, 36.64, 37.12, 37.05),
    "plain": (27.42, 19.59, 31.38, 35.66),
}


def main():
    arguments = parse_arguments(__doc__, steps=400, depth=10, batch=16)
    bench = Bench(arguments)
    recipe = load_config(
        "paper", scales=(2,), depth=arguments.depth, batch_size=arguments.batch,
        steps=arguments.steps, drop_every=10**6, seed=arguments.seed, precision="bf16",
    )  # fmt: skip
    every = max(1, arguments.steps // 4)
    found = {}
    for kind, network in (("residual", VDSR), ("plain", Plain)):
        for lr in RATES:
            config = dataclasses.replace(recipe, lr=lr)
            found[kind, lr] = bench.trial(
                config,
                network=partial(sized, network, config),
                measure_every=every,
                name=f"{kind}, lr {lr:g}",
            )
    bicubic = bench.validation.bicubic["x2"]
    steps = [every * n for n in range(1, 5)]
    rows = []
    for (kind, lr), trial in found.items():
        values = [decibel(v) for v in trial.psnr["x2"]]
        rows.append([kind, f"{lr:g}", *values, *["-"] * (len(steps) - len(values))])
    draw_lines(
        "residual",
        {f"{kind}, lr {lr:g}": (t.steps, t.psnr["x2"]) for (kind, lr), t in found.items()},
        xlabel="steps", baseline=bicubic, family=len(RATES), title=f"{arguments.test.name} x2",
    )  # fmt: skip
    write_page("residual", "Residual against plain learning", [
        "VDSR learns what bicubic interpolation lacks and adds it; a plain network of the same",
        "layers has to carry the whole image through to the end.",
        "",
        f"PSNR in dB on {arguments.test.name} x2 (bicubic {bicubic:.2f}), networks of "
        f"{arguments.depth} layers, the paper's recipe without its drops of the learning rate, "
        f"batches of {arguments.batch}, bf16, trained on {arguments.train.name}.",
        "",
        *markdown(["network", "lr", *(f"{s} steps" for s in steps)], rows),
        "",
        "![PSNR against steps](residual.png)",
        "",
        "The paper (depth 10, lr 0.1, 291 images, batches of 64; an epoch is 125 steps):",
        "",
        *markdown(["network", "10 epochs", "20", "40", "80"],
                  [[kind, *(f"{v:.2f}" for v in values)] for kind, values in PAPER.items()]),
        "",
        f"The paper's first column stands for some 1,250 steps of 64 patches, "
        f"{1250 * 64 / (arguments.steps * arguments.batch):.0f} times what is trained here: "
        "compare the two kinds of network, not the figures.",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
