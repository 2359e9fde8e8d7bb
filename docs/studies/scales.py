"""One network for all scales against one for each: trained at some, tested at all.

python docs/studies/scales.py --train T91 --test Set5
"""

from study import Bench, decibel, markdown, parse_arguments, write_page

from napari_vdsr.training.config import load_config

TRAINED = ((2,), (3,), (4,), (2, 3), (2, 4), (3, 4), (2, 3, 4))
TESTED = (2, 3, 4)
# Kim, Lee, Lee 2016, table 2, on Set5: trained at x2, x3, x4 and all, tested at each.
PAPER = {
    2: (37.10, 30.05, 28.13, 37.06),
    3: (30.42, 32.89, 30.50, 33.27),
    4: (28.43, 28.73, 30.84, 30.95),
}


def main():
    arguments = parse_arguments(__doc__, steps=300, depth=10, batch=16)
    bench = Bench(arguments, TESTED)
    found = {}
    for scales in TRAINED:
        config = load_config(
            "fast", scales=scales, depth=arguments.depth, batch_size=arguments.batch, warmup=40,
            steps=arguments.steps, seed=arguments.seed, precision="bf16", ema=0.0,
        )  # fmt: skip
        found[scales] = bench.trial(config, name=f"trained at {scales}")
    bicubic = bench.validation.bicubic
    heading = ["tested", *("+".join(f"x{s}" for s in scales) for scales in TRAINED), "bicubic"]
    rows = [
        [f"x{t}", *(_cell(found[s].last(f"x{t}"), t in s) for s in TRAINED),
         f"{bicubic[f'x{t}']:.2f}"]
        for t in TESTED
    ]  # fmt: skip
    write_page("scales", "One network for several scales", [
        "A network that was trained at one scale fails at others, often below bicubic; one that",
        "was trained at several is as good as each specialist.",
        "",
        f"PSNR in dB on {arguments.test.name} of a VDSR of {arguments.depth} layers after "
        f"{arguments.steps} steps of {arguments.batch} patches (`fast` recipe, bf16, no running "
        f"mean), trained on {arguments.train.name}. Bold: trained for the scale.",
        "",
        *markdown(heading, rows),
        "",
        "The paper (20 layers, 291 images, 80 epochs):",
        "",
        *markdown(["tested", "trained at x2", "x3", "x4", "x2+x3+x4"],
                  [[f"x{t}", *(f"{v:.2f}" for v in values)] for t, values in PAPER.items()]),
        "",
        "Every column has the same number of steps here, so that a network for three scales has",
        "seen a third as many patches of each as a specialist.",
    ])  # fmt: skip


def _cell(value, trained):
    return f"**{decibel(value)}**" if trained else decibel(value)


if __name__ == "__main__":
    main()
