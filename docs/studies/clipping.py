"""Adjustable clipping against fixed clipping and none, at high and low learning rates.

python docs/studies/clipping.py --train T91 --test Set5
"""

import dataclasses
from typing import Any

from study import Bench, decibel, draw_lines, markdown, parse_arguments, write_page

from napari_vdsr.training.config import load_config

THETAS = (1e-2, 1e-3, 1e-4, 1e-5)
FIXED = (1e-1, 1e-2, 1e-3)
RATES = (0.1, 0.01, 0.001)


def main():
    arguments = parse_arguments(__doc__, steps=200, depth=10, batch=16)
    bench = Bench(arguments)
    recipe = load_config(
        "paper", scales=(2,), depth=arguments.depth, batch_size=arguments.batch,
        steps=arguments.steps, drop_every=10**6, seed=arguments.seed, precision="bf16",
    )  # fmt: skip
    ways: dict[str, dict[str, Any]] = {"none": {"clip": "none"}}
    ways |= {f"fixed, {v:g}": {"clip": "value", "clip_value": v} for v in FIXED}
    ways |= {f"adjustable, theta {v:g}": {"clip": "adjustable", "clip_value": v} for v in THETAS}
    found = {}
    for way, settings in ways.items():
        for lr in RATES:
            config = dataclasses.replace(recipe, lr=lr, **settings)
            found[way, lr] = bench.trial(
                config, measure_every=max(1, arguments.steps // 4), name=f"{way}, lr {lr:g}"
            )
    bicubic = bench.validation.bicubic["x2"]
    rows = [[way, *(decibel(found[way, lr].last("x2")) for lr in RATES)] for way in ways]
    rows += [["bicubic", *[f"{bicubic:.2f}"] * len(RATES)]]
    draw_lines(
        "clipping",
        {w: (list(RATES), [found[w, lr].last("x2") for lr in RATES]) for w in ways},
        xlabel="learning rate", baseline=bicubic, log=True, family=1 + len(FIXED),
        title=f"{arguments.test.name} x2 after {arguments.steps} steps; absent points diverged",
    )  # fmt: skip
    write_page("clipping", "Gradient clipping", [
        "The paper trains at a learning rate of 0.1, ten thousand times that of SRCNN, and keeps",
        "it stable by *adjustable gradient clipping*: every gradient element is cut to",
        "[-theta/lr, +theta/lr]. Here the same recipe without clipping, with a bound that does",
        "not follow the learning rate, and with the paper's.",
        "",
        f"PSNR in dB on {arguments.test.name} x2 after {arguments.steps} steps of "
        f"{arguments.batch} patches, VDSR of {arguments.depth} layers, SGD with momentum 0.9, "
        f"loss = sum of squares / 2N, bf16, trained on {arguments.train.name} at x2.",
        "",
        *markdown(["clipping", *(f"lr {lr:g}" for lr in RATES)], rows),
        "",
        "![PSNR against learning rate](clipping.png)",
        "",
        "The paper names no theta. It only means something beside the loss: with a loss that is",
        "averaged over pixels instead of summed, gradients and theta are 1,681 times smaller.",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
