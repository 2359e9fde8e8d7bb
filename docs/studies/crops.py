"""Training crops that grow in stages against crops of one size.

python docs/studies/crops.py --train General100 --test Set5
"""

from study import Bench, decibel, draw_lines, markdown, parse_arguments, write_page

from napari_vdsr.training.config import load_config


def main():
    arguments = parse_arguments(
        __doc__, steps=240, depth=10, smallest=32, stages=3, pixels=16 * 41 * 41
    )
    bench = Bench(arguments)
    sizes = [arguments.smallest * 2**n for n in range(arguments.stages)]
    ways = {f"{size} x {size}": [size] for size in sizes}
    ways[", then ".join(f"{size}" for size in sizes)] = sizes
    found = {}
    for name, stages in ways.items():
        sources, configs = [], []
        for size in stages:
            batch = max(1, round(arguments.pixels / size**2))
            configs.append(load_config(
                "fast", scales=(2,), depth=arguments.depth, patch_size=size, batch_size=batch,
                steps=arguments.steps, warmup=40, seed=arguments.seed, precision="bf16", ema=0.0,
            ))  # fmt: skip
            sources.append(bench.patches(configs[-1]))
        length = -(-arguments.steps // len(stages))

        def draw(step, sources=sources, length=length):
            return sources[step // length].batch(step)

        found[name] = bench.trial(
            configs[0], patches=draw, measure_every=max(1, arguments.steps // 6), name=name
        )
    bicubic = bench.validation.bicubic["x2"]
    rows = [[name, decibel(t.last("x2")), f"{t.seconds:.0f} s"] for name, t in found.items()]
    draw_lines(
        "crops", {name: (t.steps, t.psnr["x2"]) for name, t in found.items()},
        xlabel="steps", baseline=bicubic, title=f"{arguments.test.name} x2",
    )  # fmt: skip
    write_page("crops", "Crops that grow", [
        "Small crops vary more within a batch; large ones have fewer pixels near a border, where",
        "zero padding stands in for what the network would see in a whole image. Every batch has",
        f"the same number of pixels here (about {arguments.pixels:,}).",
        "",
        f"PSNR in dB on {arguments.test.name} x2 (bicubic {bicubic:.2f}) of a VDSR of "
        f"{arguments.depth} layers after {arguments.steps} steps of the `fast` recipe (bf16, no "
        f"running mean), trained on random crops of {arguments.train.name}.",
        "",
        *markdown(["crops", "PSNR", "time"], rows),
        "",
        "![PSNR against steps](crops.png)",
        "",
        "The paper has fixed crops of 41 x 41, the size of the receptive field, and no such table.",
        "`--smallest 128` makes the stages 128, 256, 512; the images must be as large.",
    ])  # fmt: skip


if __name__ == "__main__":
    main()
