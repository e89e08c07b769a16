"""Two stages: a small video's latents made larger, to be refined by the sampler."""

from math import prod

from ..model_loaders.folders import ALL_UPSCALERS, UPSCALERS, choices, resolve
from ..spacetime.cost import readable
from ..spacetime.grid import frames_of
from . import runtime
from .footage import VAE, check_unguided
from .load import roots


class SpacetimeUpsampleLatent:
    TITLE = "Upsample Latent"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Makes a small video's latents larger, or gives them twice as many frames, without decoding. Wire it into a "
        "second Sample, which refines them in a few steps. For LTX-Video and LTX-2."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The larger video as a canvas, for the sampler, whose denoise it turns down.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        share = {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.01}
        return {
            "required": {
                "vae": (
                    VAE[0],
                    {"tooltip": "From Load VAE, the transformer's: it knows how latents are scaled."},
                ),
                "latent": ("LATENT", {"tooltip": "From Sample: the small video."}),
                "upsampler": (
                    choices(UPSCALERS, folders()),
                    {
                        "model_folder": UPSCALERS,
                        "tooltip": "A latent upsampler of the same family in models/latent_upscale_models: spatial or "
                        "temporal.",
                    },
                ),
                "strength": (
                    "FLOAT",
                    {
                        **share,
                        "default": 0.4,
                        "display": "slider",
                        "tooltip": "How much of it Sample makes anew. 0.4 of 8 or 10 steps is the usual refinement, 0 "
                        "leaves it as upsampled.",
                    },
                ),
                "adain": (
                    "FLOAT",
                    {
                        **share,
                        "tooltip": "Gives colours and contrast back as they were in the small video. 0 is off, 1 all "
                        "of it.",
                    },
                ),
                "tone_map": (
                    "FLOAT",
                    {
                        **share,
                        "tooltip": "Draws extreme values in, against glare. 0 is off; LTX 0.9.8 takes 0.6.",
                    },
                ),
            }
        }

    def run(self, vae, latent, upsampler, strength, adain=0.0, tone_map=0.0):
        from ..spacetime.canvas import CANVAS_KEYS, cells

        check_unguided(latent)
        samples, free = cells(latent)
        model = opened(vae, upsampler, samples.shape[1], bool(latent.get("ring")))
        if free is not None and (free < 1).any():
            runtime.notice(
                "what was known on the small canvas is upsampled and refined as all of it; to keep an image, place it "
                "again on the larger one"
            )
        was, dropped = samples.shape[2:], {*CANVAS_KEYS} - {"ring", "heard"}
        kept = {key: value for key, value in latent.items() if key not in dropped}
        made = {**kept, "samples": model.upsampled(vae, samples, adain, tone_map), "denoise": strength}
        if model.config.temporal:
            made.pop("heard", None)
            if latent.get("fps"):
                made["fps"] = 2 * latent["fps"]
        return runtime.shown(" → ".join(described(vae, size) for size in (was, made["samples"].shape[2:])), made)

    def plan(self, vae, latent, upsampler, strength, adain=0.0, tone_map=0.0):
        if vae is None or latent is None:  # from a node that only the run itself can tell about
            return (None,)
        batch, channels, *size = latent["shape"]
        model = opened(vae, upsampler, channels, bool(latent.get("ring")))
        grown = model.config.grown(size)
        canvas = {
            "shape": [batch, channels, *grown],
            "frames": frames_of(grown[0], vae.config.time_factor),
            "tokens": latent["tokens"] * prod(grown) // prod(size),
            "fps": latent["fps"] * (2 if model.config.temporal else 1),
            "denoise": strength,
            "known": False,
        }
        working = model.working_bytes(latent["shape"])
        report = {
            "canvas": described(vae, grown),
            "tokens": canvas["tokens"],
            "upsampling": readable(model.weight_bytes + working),
            "weights_bytes": model.weight_bytes,
        }
        return {"result": ({**latent, **canvas},), "report": report}


def opened(vae, name: str, channels: int, ring: bool):
    """The upsampler, its weights not yet read. Raises ValueError where it isn't for these latents."""
    from ..model_loaders.upsampler import Upsampler

    model = Upsampler(resolve(UPSCALERS, name, folders()), device=vae.device)
    model.check(vae, channels)
    if ring and model.config.temporal:
        raise ValueError("a loop has no first frame, which a temporal upsampler needs; take a spatial one")
    return model


def described(vae, size) -> str:
    frames, height, width = size
    space = vae.config.space_factor
    return f"{width * space}×{height * space}, {frames_of(frames, vae.config.time_factor)} frames"


def folders() -> dict:
    return {**roots(), **{kind: runtime.model_folders(kind) for kind in (UPSCALERS, ALL_UPSCALERS)}}


NODES = [SpacetimeUpsampleLatent]
