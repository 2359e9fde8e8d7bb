"""Depth: 5 to 20 layers.

python docs/studies/depth.py --train T91 --test Set5
"""

from study import Bench, decibel, draw_lines, markdown, parse_arguments, write_page

from napari_vdsr.networks import VDSR
from napari_vdsr.training.config import load_config

DEPTHS = (5, 8, 11, 14, 17, 20)
SCALES = (2, 3, 4)


def main():
    arguments = parse_arguments(__doc__, steps=400, batch=16)
    bench = Bench(arguments, SCALES)
    found = {}
    for depth in DEPTHS:
        config = load_config(
            "fast", depth=depth, batch_size=arguments.batch, steps=arguments.steps, warmup=40,
            seed=arguments.seed, precision="bf16", ema=0.0,
        )  # fmt: skip
        found[depth] = bench.trial(config, name=f"depth {depth}")
    tasks = [f"x{s}" for s in SCALES]
    rows = []
    for depth, trial in found.items():
        parameters = sum(p.numel() for p in VDSR(depth=depth).parameters())
        field = 2 * depth + 1
        figures = (decibel(trial.last(t)) for t in tasks)
        rows.append(
            [depth, f"{field} x {field}", f"{parameters:,}", *figures, f"{trial.seconds:.0f} s"]
        )
    bicubic = bench.validation.bicubic
    rows.append(["bicubic", "", "", *(f"{bicubic[t]:.2f}" for t in tasks), ""])
    draw_lines(
        "depth",
        {t: (list(DEPTHS), [found[d].last(t) - bicubic[t] for d in DEPTHS]) for t in tasks},
        xlabel="layers", ylabel="PSNR over bicubic, dB", title=arguments.test.name,
    )  # fmt: skip
    write_page("depth", "The deeper, the better?", [
        "The paper's figure 3 has PSNR rise with every layer from 5 to 20, at all scales.",
        "",
        f"PSNR in dB on {arguments.test.name} after {arguments.steps} steps of {arguments.batch} "
        f"patches of the `fast` recipe (bf16, no running mean), trained on "
        f"{arguments.train.name} at x2, x3 and x4 together.",
        "",
        *markdown(["layers", "receptive field", "parameters", *tasks, "time"], rows),
        "",
        "![PSNR over bicubic against layers](depth.png)",
        "",
        "All depths have the same number of steps here, and few of them. A deep network needs",
        "longer to show what it can do, so that the right-hand end of the curve is a lower bound;",
        "the paper trains each for 80 epochs, 25 times as many steps of four times the patches.",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
