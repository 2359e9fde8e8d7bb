"""Which objective, how large a batch, which optimizer: at equal processor time.

python docs/studies/objective.py --train T91 BSDS200 General100 --test Set5 --minutes 10
"""

from equal_time import Variant, study
from study import HERE

LITE, VDSR = HERE / "lite-recipe.toml", "fast"


VARIANTS = {
    "lite-l1": Variant(LITE, {}),
    "lite-l2": Variant(LITE, {"loss": "l2"}),
    "lite-charbonnier": Variant(LITE, {"loss": "charbonnier"}),
    "lite-l1-late-64": Variant(LITE, {}, late_batch=64),
    "lite-l1-late-128": Variant(LITE, {}, late_batch=128),
    "lite-l1-muon": Variant(LITE, {"optimizer": "muon"}),
    "vdsr-l2": Variant(VDSR, {}),
    "vdsr-l1": Variant(VDSR, {"loss": "l1"}),
    "vdsr-l1-late-128": Variant(VDSR, {"loss": "l1"}, late_batch=128),
}

if __name__ == "__main__":
    study(
        "objective", __doc__, VARIANTS, "Which objective, batch and optimizer",
        "The mean of absolute differences (L1), of squares (L2), and Charbonnier's between them; "
        "batches of 32, or of 64 and 128 while the learning rate falls; AdamW, or Muon for the "
        "kernels between first and last layer.",
    )  # fmt: skip
