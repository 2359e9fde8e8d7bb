"""The curves of the field's networks side by side, at x2 and equal processor time.

python docs/studies/networks.py --train T91 BSDS200 General100 --test Set5 \\
    --minutes 8 --hold-out 0.015
"""

from typing import Any

from equal_time import Variant, study

# Side of a patch on the grid that the network reads; both have about as much to say.
ENLARGED, SOURCE = 41, 24


def variant(architecture: str, lr: float, patch_size: int, **size: Any) -> Variant:
    return Variant("fast", {
        "network": {"architecture": architecture, **size},
        "scales": (2,), "loss": "l1", "batch_size": 16, "patch_size": patch_size, "lr": lr,
    })  # fmt: skip


VARIANTS = {
    "srcnn": variant("srcnn", 1e-3, ENLARGED),
    "fsrcnn": variant("fsrcnn", 3e-3, SOURCE),
    "espcn": variant("espcn", 1e-3, SOURCE),
    "vdsr": variant("vdsr", 7e-4, ENLARGED, depth=20, width=64, last_init=0.1),
    "drrn": variant("drrn", 5e-4, ENLARGED),
    "btsrn": variant("btsrn", 5e-4, SOURCE),
    "srresnet": variant("srresnet", 2e-4, SOURCE),
    "edsr-baseline": variant("edsr", 2e-4, SOURCE),
    "lite": variant("lite", 1e-3, SOURCE, equivariant=True),
}

if __name__ == "__main__":
    study(
        "networks", __doc__, VARIANTS, "The networks side by side",
        "Every network of the field on the same images, from its initial weights, with the same "
        "objective (L1), batches of 16 patches, AdamW and the running mean of the weights. The "
        "learning rates are one guess for each network; none was searched for.",
    )  # fmt: skip
