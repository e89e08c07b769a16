"""A LoRA on a transformer. Stack them by wiring one node into the next."""

from ..model_loaders.folders import LORAS, find_lora, loras
from . import runtime

AUTO, BOTH, HIGH_NOISE, LOW_NOISE = EXPERTS = ("auto", "both", "high noise", "low noise")


class SpacetimeLoadLoRA:
    TITLE = "Load LoRA"
    CATEGORY = "Spacetime/load"
    DESCRIPTION = (
        "Puts a LoRA on a DiT: a style, a motion, a character, fewer steps. Wire one into the next to stack them. "
        "It says how many keys fit, and refuses a LoRA of another model."
    )
    RETURN_TYPES = ("SPACETIME_DIT",)
    RETURN_NAMES = ("dit",)
    OUTPUT_TOOLTIPS = ("The transformer with the LoRA, for the grid, the sampler or another LoRA.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        name = "A .safetensors file in models/loras. `spacetime models` tells which model each is for."
        strength = "How much of it. 1 is as trained, 0 nothing; below 0 it pushes the other way."
        expert = (
            "For Wan 2.2 A14B, which of its two transformers it changes. auto: the one in the file's name, else both."
        )
        return {
            "required": {
                "dit": ("SPACETIME_DIT", {"tooltip": "From Load DiT or another Load LoRA."}),
                "lora_name": (sorted(loras(folders())), {"model_folder": LORAS, "tooltip": name}),
                "strength": ("FLOAT", {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.05, "tooltip": strength}),
                "expert": (list(EXPERTS), {"default": AUTO, "tooltip": expert}),
            }
        }

    def plan(self, dit, lora_name, strength=1.0, expert=AUTO):
        if dit is None:  # from a node that only the run itself can tell about
            return (None,)
        return self.run(dit, lora_name, strength, expert)

    def run(self, dit, lora_name, strength=1.0, expert=AUTO):
        from ..model_loaders.lora import apply

        changed, told, notices = apply(dit, find_lora(lora_name, folders()), strength, expert)
        for notice in notices:
            runtime.notice(notice)
        return runtime.shown(told, changed)


def folders() -> list:
    return runtime.model_folders(LORAS)


NODES = [SpacetimeLoadLoRA]
