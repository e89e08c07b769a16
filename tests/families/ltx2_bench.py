"""LTX-2's pipelines and ours, run alike."""

import inspect
import sys
from copy import deepcopy
from shutil import copytree

import bench
import loras
import torch
from bench import GUIDANCE, NEGATIVE, NODES, PROMPT, SEED, grid, load, picture, result
from diffusers import LTX2InContextPipeline

WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 17, 24.0
BOTH = ["LTX-2", "LTX-2.3"]


# its pipelines' further terms of guidance, with passes of their own, off: what is left is guidance by the prompt
PLAIN = {f"{stream}{term}": value for stream in ("", "audio_")
         for term, value in (("stg_scale", 0.0), ("modality_scale", 1.0), ("guidance_rescale", 0.0))}  # fmt: skip
PLAIN["audio_guidance_scale"] = None  # as the picture's
AS_THEY_COME = {"spatio_temporal_guidance_blocks": [1]}  # of two; what comes besides are the pipelines' defaults


def stock(pipeline, name, output_type="latent", terms=PLAIN, width=WIDTH, **more):
    """Picture and sound. What 2.0 is told of the other stream's noise, diffusers leaves to the user."""
    size = {"width": width, "height": HEIGHT, "num_frames": FRAMES, "frame_rate": FPS}
    made = pipeline(
        **{"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": bench.STEPS, **size, **terms, **more},
        guidance_scale=GUIDANCE, output_type=output_type, generator=torch.Generator().manual_seed(SEED),
        use_cross_timestep=name != "LTX-2",
    )  # fmt: skip
    return made.frames, made.audio


def raw(pipeline, latents):
    """Our latents as the pipeline gives its own: denormalised."""
    vae = pipeline.vae
    return pipeline._denormalize_latents(latents, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)


def heard(pipeline, tokens):
    """Our sound as the pipeline gives its own."""
    vae = pipeline.audio_vae
    return pipeline._unpack_audio_latents(
        pipeline._denormalize_audio_latents(tokens, vae.latents_mean, vae.latents_std), tokens.shape[1], 2
    )


def canvas_of(model, *placed, width=WIDTH):
    canvas = grid(model, width, HEIGHT, FRAMES, FPS)
    return result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, *placed)[0] if placed else canvas


def distilled(kind, plain, base, name):
    """The pipeline and our model under a name that calls it distilled. diffusers leaves it to the user to say the noise
    levels, and not to shift them."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    folder = base / "models" / "diffusion_models"
    copytree(folder / name, folder / f"{name}-distilled", dirs_exist_ok=True)
    accepted = inspect.signature(kind.__init__).parameters
    pipeline = kind(**{part: one for part, one in plain.components.items() if part in accepted})
    unshifted = {"use_dynamic_shifting": False, "shift_terminal": None}
    pipeline.scheduler = FlowMatchEulerDiscreteScheduler.from_config(plain.scheduler.config, **unshifted)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, load(f"{name}-distilled", name, name)


def clip(count=FRAMES, first=40, width=WIDTH):
    return torch.cat([picture(width, HEIGHT, seed)[1] for seed in range(first, first + count)])


def controlled(model, canvas, images, strength=1.0, time="start"):
    return result("ControlVideo", model.vae, canvas, time, "cover", strength, images=images)[0]


def with_lora(distilled, base, metadata):
    """LTX2InContextPipeline and our model with the same LoRA, whose file says so of itself; and what was told of it."""
    pipeline, model = distilled(LTX2InContextPipeline)
    state = loras.diffusers(loras.factors(pipeline.transformer, only="attn1"))
    loras.save(base, "ic.safetensors", state, metadata)
    fused = LTX2InContextPipeline(**{**pipeline.components, "transformer": deepcopy(pipeline.transformer)})
    fused.set_progress_bar_config(disable=True)
    fused.load_lora_weights(state, adapter_name="ic")
    fused.fuse_lora(adapter_names=["ic"])
    fused.unload_lora_weights()  # what is fused stays
    model.dit, told = put_on(model.dit)
    return fused, model, told


def put_on(dit):
    done = NODES["SpacetimeLoadLoRA"]().run(dit, "ic.safetensors")
    return done["result"][0], done["ui"]["text"][0]


def drawn_as_ours(monkeypatch, pipeline, shape, more=0):
    """Where its pipelines are given latents or conditions they draw noise token by token; here they get the noise that
    LTX2Pipeline draws from a prompt alone, and none for `more` tokens."""
    own = torch.Generator().manual_seed(SEED)
    video = torch.randn(shape, generator=own).flatten(2).mT  # tokens in the order (t h w)
    sound = torch.randn(1, 4, 18, 2, generator=own).transpose(1, 2).flatten(2)
    drawn = [torch.nn.functional.pad(video, (0, 0, 0, more)), sound]
    monkeypatch.setattr(
        sys.modules[type(pipeline).__module__], "randn_tensor", lambda shape, **more: drawn.pop(0).view(shape)
    )
