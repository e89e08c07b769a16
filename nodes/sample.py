"""The sampler as a node: checks that the wires fit together, then calls the one loop."""

from dataclasses import replace
from math import ceil

from ..model_loaders.component import check_pair
from ..spacetime.names import AUTO, CONTROL, FACE, GUIDERS, JOINT, REFERENCES, SCHEDULERS, WINDOWS
from . import calibration, runtime
from .conditioning import as_read_by, card_cuts, prompted, with_picture
from .refusals import check_follows, check_guider, check_reads, forced

# for one sampling; what it made beside the picture
MEANT, BESIDE = ("denoise", CONTROL, FACE, REFERENCES), ("sound",)
EVALUATIONS = {"auto": None, "batched": True, "two passes": False}


class SpacetimeSample:
    TITLE = "Sample"
    CATEGORY = "Spacetime/sample"
    DESCRIPTION = (
        "Fills in the free cells of the grid and shows the video growing. A seed means the same noise on every machine."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The finished latents, for Decode.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "dit": ("SPACETIME_DIT", {"tooltip": "From Load DiT."}),
                "positive": ("CONDITIONING", {"tooltip": "What the video should show."}),
                "negative": ("CONDITIONING", {"tooltip": "What it should avoid; unused while guidance is 1."}),
                "latent": ("LATENT", {"tooltip": "The grid: its known cells stay, its free ones are filled in."}),
                "seed": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 2**64 - 1,
                        "control_after_generate": True,
                        "tooltip": "The noise to start from.",
                    },
                ),
                "steps": (
                    "INT",
                    {"default": 20, "min": 1, "max": 1000, "tooltip": "More steps, finer detail, longer wait."},
                ),
                "guidance": (
                    "FLOAT",
                    {
                        "default": 4.0,
                        "min": 1.0,
                        "max": 30.0,
                        "step": 0.1,
                        "tooltip": "How strictly to follow the prompt. 1 switches guidance off and halves the time.",
                    },
                ),
                "scheduler": (
                    [AUTO, *SCHEDULERS],
                    {"default": AUTO, "tooltip": "The solver that takes the steps. auto is the model's own."},
                ),
                "shift": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 20.0,
                        "step": 0.1,
                        "tooltip": "Larger spends more steps on composition, smaller on detail. 0 is the model's own.",
                    },
                ),
                "denoise": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "1 starts from noise, less from the latent: the smaller, the closer to it.",
                    },
                ),
                "guider": (
                    [*GUIDERS, JOINT],
                    {
                        "default": "cfg",
                        "tooltip": "How the predictions become one. cfg is the usual one; ltx-2 is LTX-2's own, of "
                        "four passes a step.",
                    },
                ),
                "evaluation": (
                    list(EVALUATIONS),
                    {
                        "default": "auto",
                        "tooltip": "Both prompts in one batch (faster on GPUs) or in two passes. auto: as its makers.",
                    },
                ),
                "preview": ("BOOLEAN", {"default": True, "tooltip": "Show the latent frames after every step."}),
            },
            "optional": {  # appended later: API graphs saved without them go on running
                "windows": (
                    list(WINDOWS),
                    {
                        "default": "auto",
                        "tooltip": "For videos longer or pictures larger than the model was trained on: autoregressive "
                        "finishes one window after another, overlapping blends all every step, whole has none.",
                    },
                ),
                "window": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 1024,
                        "tooltip": "Latent frames in a window. 0 is the model's own.",
                    },
                ),
                "overlap": (
                    "INT",
                    {"default": 0, "min": 0, "max": 1024, "tooltip": "Latent frames that windows share. 0 is two."},
                ),
                "guidance_low": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 30.0,
                        "step": 0.1,
                        "tooltip": "Guidance of the second of two experts (Wan 2.2 A14B), the one for low noise. 0 is "
                        "the same as guidance.",
                    },
                ),
                "lag": (
                    "INT",
                    {
                        "advanced": True,
                        "default": 0,
                        "min": 0,
                        "max": 1000,
                        "tooltip": "Of models trained with diffusion forcing (SkyReels-V2 DF): steps by which each "
                        "block of latent frames is behind the one before. 0 is all together.",
                    },
                ),
                "block": (
                    "INT",
                    {
                        "advanced": True,
                        "default": 0,
                        "min": 0,
                        "max": 1024,
                        "tooltip": "Latent frames in a block, for lag and causal. 0 is the model's own.",
                    },
                ),
                "causal": (
                    "BOOLEAN",
                    {
                        "advanced": True,
                        "default": False,
                        "tooltip": "With diffusion forcing: no latent frame sees a later block, known or not, as "
                        "diffusers does with a causal_block_size.",
                    },
                ),
                "known_noise": (
                    "INT",
                    {
                        "advanced": True,
                        "default": 0,
                        "min": 0,
                        "max": 1000,
                        "tooltip": "Thousandths of noise on known cells while they are seen. SkyReels-V2 DF: 20 lets "
                        "long videos go on more smoothly. LTX-Video 0.9.5 and later: 150 lets a picture move.",
                    },
                ),
            },
        }

    def plan(
        self, dit, positive, negative, latent, seed, steps, guidance,
        scheduler="auto", shift=0.0, denoise=1.0, guider="cfg", evaluation="auto", preview=True,
        windows="auto", window=0, overlap=0, guidance_low=0.0, lag=0, block=0, causal=False, known_noise=0,
    ):  # fmt: skip
        from ..model_loaders.outlook import heard
        from .plan import planned_sampling, wished

        check_guider(dit, guider)
        if latent is None:  # from a node that only the run itself can tell about
            return (None,)
        forcing = forced(dit, latent, lag, block, causal, known_noise)
        if dit is not None:
            check_follows(dit, latent)
            told = [one["text_encoder"] for one in (positive, negative) if isinstance(one, dict)]
            for one in filter(None, [latent.get("vae"), *told]):
                check_pair(dit, one.identity)
            for one in filter(None, told):
                check_reads(dit, one)
        settings = {
            "steps": steps, "guidance": max(guidance, of_low_noise(dit, guidance, guidance_low)),
            "denoise": denoise, "second_order": scheduler == "heun",
            "guider": guider, "windows": windows, "window": window, "overlap": overlap, "forcing": forcing,
        }  # fmt: skip
        made = planned_sampling(dit, positive, latent, settings, EVALUATIONS[evaluation])
        canvas = {key: value for key, value in latent.items() if key not in (*MEANT, *BESIDE)}
        if dit is not None and heard(dit, wished(latent, **settings)):
            canvas["sound"] = True
        return {"result": (canvas,), "report": {"plan": made} if made else None}

    def run(
        self, dit, positive, negative, latent, seed, steps, guidance,
        scheduler="auto", shift=0.0, denoise=1.0, guider="cfg", evaluation="auto", preview=True,
        windows="auto", window=0, overlap=0, guidance_low=0.0, lag=0, block=0, causal=False, known_noise=0,
    ):  # fmt: skip
        from ..model_loaders.memory import give_back, make_room
        from ..spacetime.canvas import cells
        from ..spacetime.cost import sampling_bytes
        from ..spacetime.follow import followed_on
        from ..spacetime.guidance import ByTime, make_guider
        from ..spacetime.pixels import pixels_of
        from ..spacetime.preview import contact_sheet, latent_to_rgb
        from ..spacetime.sampler import sample
        from ..spacetime.schedule import make_scheduler
        from ..spacetime.stages import sample_in_stages
        from ..spacetime.windows import choose
        from .plan import remember_pace
        from .prompt import ENCODED_BY

        check_guider(dit, guider)
        for _, more in (entry for prompt in (positive, negative) if isinstance(prompt, list) for entry in prompt):
            if ENCODED_BY in more:
                check_pair(dit, more[ENCODED_BY])
        samples, free = cells(latent)
        check_follows(dit, latent)
        forcing = forced(dit, latent, lag, block, causal, known_noise)
        denoise = min(denoise, latent.get("denoise", 1.0))
        if samples.shape[1] != dit.config.channels:
            raise ValueError(
                f"this latent has {samples.shape[1]} channels, the DiT denoises {dit.config.channels}: use its VAE"
            )
        sides, most = dit.config.patch, dit.config.max_cells
        if any(n % side or n > top for n, side, top in zip(samples.shape[2:], sides, most, strict=True)):
            raise ValueError(
                f"a latent of {by(samples.shape[2:])} cells doesn't fit this DiT (multiples of {by(sides)}, at most "
                f"{by(most)}); crop it, or start from Spacetime Grid"
            )
        if int(steps * denoise) == 0:
            runtime.notice(f"denoise {denoise:g} of {steps} steps is less than one step: the latent stays as it is")
        told = {"fps": latent["fps"]} if latent.get("fps") else {}
        if dit.config.embedded_guidance:
            told["guidance"] = guidance
            guidance = 1.0  # it guides itself in one pass
        pixels, followed = pixels_of(latent, free), followed_on(latent, dit.family.Adapter.blank)
        if CONTROL in latent and dit.config.control_scale and not dit.changes:
            how = "only where an IC-LoRA is on it or merged into it; none is on this one"
            runtime.notice(f"{dit.config.family} follows a control video {how}")
        loaded = set()
        positive, negative = (
            as_read_by(dit.pipeline, prompt, dit.config.text_width, loaded) for prompt in (positive, negative)
        )
        for encoder in loaded:
            give_back(encoder)
        positive = with_picture(positive, pixels)
        prompts = prompted(positive, negative, dit.config, latent, told)
        model_facts = dit.config.trained_cells, dit.config.patch, dit.config.per_token_time
        cuts = () if latent.get("ring") else card_cuts(prompts)
        how = {"windows": windows, "window": window, "overlap": overlap}
        seen = choose(tuple(samples.shape[2:]), *model_facts, *how.values(), cuts, dit.config.order)
        if free is not None or denoise < 1 or followed:  # what is there already has its full size
            seen = replace(seen, staged=False)
        forcing.check(seen, tuple(samples.shape[2:]), dit.config.patch)
        if free is not None:
            else_way = "clean, at time 0" if dit.config.per_token_time else "as noisy as the rest at every step"
            grain = f", under {known_noise} thousandths of noise" if known_noise else ""
            runtime.notice(f"known cells go in {dit.config.known_by or else_way}{grain}")
        if overlap and seen.order:
            runtime.notice("overlap is for windows; sections of this model share no latent frames")
        if seen.described(tuple(samples.shape[2:])):
            runtime.notice(f"sampled in {seen.described(tuple(samples.shape[2:]))}")
        solver = make_scheduler(scheduler, dit.config.scheduler, shift)
        guide = make_guider(guider, guidance, dit.config.from_positive)
        if guidance_low and not dit.config.boundary:
            runtime.notice("guidance_low is for models of two experts; this one is guided by guidance alone")
        low = of_low_noise(dit, guidance, guidance_low)
        if low != guidance:
            guide = ByTime(guide, make_guider(guider, low, dit.config.from_positive), dit.config.boundary)

        runtime.check_interrupted()
        intro = dit.family.Adapter.intro(len(followed.references) if followed else 0)
        tokens = seen.tokens(tuple(samples.shape[2:]), dit.config.patch, intro)
        tokens += ceil(tokens * (dit.config.past + (dit.config.control_tokens if CONTROL in latent else 0)))
        facts = dit.config.width, dit.config.ffn, dit.place[0].itemsize, dit.config.per_token_time
        batched = EVALUATIONS[evaluation]
        batched = dit.family.Adapter.batched_guidance if batched is None else batched
        copies = 2 if batched and guide.num_conditions == 2 else 1
        needed = sampling_bytes(samples.shape, tokens, *facts, prompts[0].positive.embeddings.shape[1], copies)
        needed += forcing.mask_bytes(tokens, dit.place[0].itemsize)
        needed += dit.config.control_bytes(tokens, dit.place[0].itemsize) if CONTROL in latent else 0
        dit.ready(needed)
        model = dit.adapter
        make_room(needed, dit)
        samples = samples.to(model.device)
        bar = runtime.progress(steps)

        pace = calibration.Pace()

        def on_step(step):
            pace.step(step.index, step.total)
            picture = None
            if preview:
                picture = ("JPEG", contact_sheet(latent_to_rgb(model.denormalise(step.x0())[0], dit.latent_rgb)), 512)
            bar.total = step.total
            bar.update(step.index, picture)

        model.resume({key: latent[key] for key in BESIDE if key in latent and denoise < 1})
        settings = {
            "scheduler": solver, "guider": guide, "steps": steps, "seed": seed, "batched": EVALUATIONS[evaluation],
            "windows": seen, "ring": bool(latent.get("ring")), "forcing": forcing, "on_step": on_step,
        }  # fmt: skip
        sizes = seen.sizes(samples.shape[2:], dit.config.patch)
        if len(sizes) > 1:
            x = sample_in_stages(model, prompts, samples, sizes, **settings)
        else:
            settings |= {"denoise": denoise, "pixels": pixels, "followed": followed}
            x = sample(model, prompts, model.normalise(samples), free, **settings)
        asked = {"steps": steps, "guidance": guidance, "guider": guider, "denoise": denoise}
        asked |= {"second_order": scheduler == "heun", "cuts": cuts, "forcing": forcing, **how}
        counted = free is None or not lag  # nobody waits for a block that is known
        if counted and (low > 1) == (guidance > 1):  # as many passes in every step
            remember_pace(dit, latent, asked, prompts[0].positive.embeddings.shape[1], pace.seconds)
        filled = model.denormalise(x)
        if free is not None:
            filled = filled.where(free.to(model.device) > 0, samples)  # known cells bit for bit, not by normalising
        kept = {key: value for key, value in latent.items() if key not in (*MEANT, *BESIDE)}
        return ({**kept, "samples": filled.cpu(), **model.made_aside()},)


def of_low_noise(dit, guidance: float, guidance_low: float) -> float:
    """The guidance of the expert for low noise; `guidance` where it has none of its own, or isn't there."""
    return guidance_low if dit is not None and dit.config.boundary and guidance_low else guidance


def by(sizes) -> str:
    return "×".join(str(size) for size in sizes)


NODES = [SpacetimeSample]
