"""What a run will take, told before it: as a node, and for the sampler's part of a dry run."""

import logging
import sys

from ..model_loaders.devices import gpu_bytes, one_memory, pick_device
from ..model_loaders.memory import free_bytes
from ..model_loaders.outlook import Free, Wish, outlook, sampled, speed_key, windowed
from ..spacetime.cost import LIBRARIES, available_bytes, machine_bytes
from ..spacetime.grid import frames_of
from ..spacetime.names import CONTROL, REFERENCES
from . import calibration, runtime

ASSUMED = "the canvas is as long as its clip, which only the run opens; this plan takes the grid's length"
UNREAD = "the text encoder's memory isn't in it: only the run knows its prompt"


class SpacetimePlan:
    TITLE = "Plan"
    CATEGORY = "Spacetime/inspect"
    DESCRIPTION = (
        "Says what a run will take before anything is loaded: tokens, arithmetic, peak memory of every stage, windows, "
        "disk, time where this model has run here before, and what to change if it doesn't fit. Needs no weights."
    )
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("report",)
    OUTPUT_TOOLTIPS = ("The plan as text.",)
    FUNCTION = "run"
    DRY_RUN = "plan"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        guidance = {"default": 4.0, "min": 1.0, "max": 30.0, "step": 0.1}
        memory = {"default": 0.0, "min": 0.0, "max": 4096.0, "step": 0.5}
        return {
            "required": {
                "dit": ("SPACETIME_DIT", {"tooltip": "From Load DiT."}),
                "vae": ("SPACETIME_VAE", {"tooltip": "From Load VAE."}),
                "latent": ("LATENT", {"tooltip": "The grid, or what a node of its shelf made of it."}),
                "steps": ("INT", {"default": 20, "min": 1, "max": 1000, "tooltip": "As in Sample."}),
                "guidance": (
                    "FLOAT",
                    {**guidance, "tooltip": "As in Sample. Above 1 there are two passes a step (guider ltx-2: four)."},
                ),
                "memory": ("FLOAT", {**memory, "tooltip": "GB that there are. 0 is what this machine has."}),
            },
            "optional": {"text_encoder": ("SPACETIME_TEXT_ENCODER", {"tooltip": "From Load Text Encoder."})},
        }

    def run(self, dit, vae, latent, steps, guidance, memory=0.0, text_encoder=None):
        made = self._made(dit, vae, latent, steps, guidance, memory, text_encoder)
        text = "\n".join(made.lines())
        return runtime.shown(text, text)

    def plan(self, dit, vae, latent, steps, guidance, memory=0.0, text_encoder=None):
        if None in (dit, vae, latent):
            return (None,)
        made = self._made(dit, vae, latent, steps, guidance, memory, text_encoder)
        return {"result": (None,), "report": {"plan": made}}

    def _made(self, dit, vae, latent, steps, guidance, memory, text_encoder):
        there = {"room": int(memory * 1e9), "where": "as you say"} if memory else memory_for(dit)
        wish = wished(latent, steps=steps, guidance=guidance)
        notes = (ASSUMED,) if latent.get("assumed") else ()
        return outlook(dit, vae, text_encoder, wish, **there, speed=calibration.recall, notes=notes)


def wished(latent: dict, **settings) -> Wish:
    """A canvas, be it a real one or a dry run's, as a wish."""
    if "samples" in latent:
        from ..spacetime.canvas import cells

        samples, free = cells(latent)
        settings["shape"], settings["known"] = tuple(samples.shape), free is not None
    else:
        settings["shape"], settings["known"] = tuple(latent["shape"]), bool(latent.get("known"))
    settings["sound"] = latent.get("sound") is not None
    settings["references"], settings["control"] = len(latent.get(REFERENCES, ())), CONTROL in latent
    settings["known"] |= settings["control"] or settings["references"] > 0
    denoise = min(settings.pop("denoise", 1.0), latent.get("denoise", 1.0))
    return Wish(**settings, fps=latent.get("fps") or 0.0, denoise=denoise, ring=bool(latent.get("ring")))


def planned_sampling(dit, positive, latent, settings: dict, evaluation: bool | None):
    """The plan of a Sample node in a dry run; None where its canvas or its models are another pack's.

    positive: what a dry run knows of the prompt; settings: the sampler's own.
    """
    told, vae = positive if isinstance(positive, dict) else {}, latent.get("vae")
    if dit is None or vae is None:
        return None
    encoder, cuts = told.get("text_encoder"), ()
    if len(told.get("starts", ())) > 1:
        from ..spacetime import story

        factor, rate = vae.config.time_factor, latent["fps"]
        times = [max(frames_of(i, factor), 0) / rate for i in range(latent["shape"][2])]
        cuts = tuple(story.cuts(story.shares(told["starts"], told["blend"], times)))
    wish = wished(latent, cuts=cuts, batched=evaluation, **settings)
    wish.forcing.check(windowed(dit, wish), wish.shape[2:], dit.config.patch)
    notes = ((ASSUMED,) if latent.get("assumed") else ()) + (() if encoder else (UNREAD,))
    return outlook(dit, vae, encoder, wish, **memory_for(dit), speed=calibration.recall, notes=notes)


def remember_pace(dit, latent: dict, settings: dict, text: int, seconds: float):
    """After a run of `seconds`: how fast it was, for later plans. text: tokens of the prompt."""
    if calibration.place() is None:
        return
    try:
        way = sampled(dit, wished(latent, **settings), text)
        if way.flops:
            calibration.remember(speed_key(dit), way.in_pass, seconds / way.flops * 1e12)
    except Exception as error:  # hours of sampling aren't lost for a figure that only plans read
        logging.getLogger("spacetime").warning(f"this run's speed isn't kept for later plans: {error}")


def memory_for(dit) -> dict:
    """What `outlook` wants to know of the memory where this model will run."""
    computer = machine_bytes()
    if one_memory(dit.device):
        room, where = computer, "this machine"
    else:
        room = gpu_bytes()
        where = "the GPU" if room else ""
    return {"room": room, "where": where, "free": free_for(dit), "computer": computer}


def free_for(dit) -> Free:
    """What the run will find free when it loads this model; what has been loaded already stays as it is."""
    if type(dit).adapter.made(dit):
        return Free()
    computer = available_bytes()
    if "torch" in sys.modules:
        try:
            return Free(free_bytes(pick_device(dit.device)), computer)
        except ValueError:  # a plan for a device that isn't here
            return Free()
    if computer is not None:
        computer -= LIBRARIES
    return Free(computer if one_memory(dit.device) else None, computer)  # a GPU's driver tells only the whole


NODES = [SpacetimePlan]
