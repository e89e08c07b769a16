"""HunyuanVideo 1.5, text- and image-to-video (HunyuanVideo15Transformer3DModel): one time for all.

Both have channels for the first frame, which only the image-to-video ones learnt to read; these also see it through
SigLIP. Cells known elsewhere go in as noisy as the rest.
"""

from dataclasses import replace

from ...spacetime.model import Beside
from ..dit import DiTFacts
from ..folders import keep_beside, sibling_json
from . import hunyuan_video

# by what they do and the size they were trained for: 480p and 720p
SHIFTS = {("t2v", 640): 5.0, ("i2v", 640): 5.0, ("t2v", 960): 9.0, ("i2v", 960): 7.0}
SCALE = 1.03682
PICTURE_TOKENS = 729


def facts(config: dict, folder) -> DiTFacts:
    width, side = config["num_attention_heads"] * config["attention_head_dim"], config["patch_size"]
    task, size = config.get("task_type", "i2v"), config.get("target_size", 640)
    if task == "i2v":
        keep_beside(folder, "sees the image through SigLIP", "image_encoder", "feature_extractor")
    shift = SHIFTS.get((task, size), 5.0)
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": shift}
    longest = size * 4 // 3 // 16  # 848×480, 1280×720
    return DiTFacts(
        family="HunyuanVideo 1.5",
        channels=config["out_channels"],
        patch=(config["patch_size_t"], side, side),
        max_cells=(4096, 4096, 4096),
        trained_cells=(31, longest, longest),
        text_width=config["text_embed_dim"],
        width=width,
        ffn=int(width * config["mlp_ratio"]),
        per_token_time=False,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or scheduler,
        vae=sibling_json(folder, "vae", "config.json"),
        reads=("attention_mask", "embeddings_2", "attention_mask_2"),
        known_by=hunyuan_video.BESIDE if task == "i2v" else "",
        neighbours=("image_encoder",) if task == "i2v" else (),
    )


def distilled(facts: DiTFacts, name: str) -> DiTFacts:
    """cfg_distilled, or step_distilled too."""
    few = "step" in name.lower()
    return replace(facts, advice=f"guidance 1 {'and 8 to 12 steps are' if few else 'is'} right for it")


class Adapter(hunyuan_video.Adapter):
    """As HunyuanVideo15Pipeline and HunyuanVideo15ImageToVideoPipeline do: two passes for guidance."""

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer, self.config, self.neighbour = transformer, transformer.config, beside
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.scale = dit.vae.get("scaling_factor", SCALE)

    def set_timesteps(self, scheduler, steps, shape):
        super().set_timesteps(scheduler, steps, shape)
        self.times = scheduler.timesteps

    def beside(self, known):
        seen = self.config.task_type == "i2v"
        channels, free = hunyuan_video.first_frame(known, seen)
        picture = self.picture(known) if seen and channels[:, -1].any() else None
        if picture is None:
            picture = channels.new_zeros(1, PICTURE_TOKENS, self.config.image_embed_dim, dtype=self.dtype)
        return Beside(channels, {"picture": picture.expand(len(channels), -1, -1)}, free)

    def begin(self, noise, beside):
        return noise

    def picture(self, known):
        """The first frame as SigLIP sees it [1, N, D]; None where only its cells have come."""
        if known.pixels is None:
            return None
        from PIL import Image

        frame = next(known.pixels.frames())[0]
        picture = Image.fromarray((frame * 255).round().byte().cpu().numpy())
        encoder, prepare = self.neighbour("image_encoder"), self.neighbour("feature_extractor")
        ready = prepare.preprocess(images=picture, do_resize=True, return_tensors="pt", do_convert_rgb=True)
        return encoder(**ready.to(encoder.device, encoder.dtype)).last_hidden_state.to(self.device, self.dtype)

    def until(self, t):
        """The time at the end of this step, which step-distilled ones are told."""
        later = self.times[self.times < t]
        return later[:1] if len(later) else self.times.new_zeros(1)

    def predict(self, x, t, text, branch):
        distilled = self.config.use_meanflow and self.config.task_type == "i2v"
        with self.transformer.cache_context(branch):
            return self.transformer(
                hidden_states=x.to(self.dtype),
                timestep=t.expand(len(x)).to(self.dtype),
                timestep_r=self.until(t).expand(len(x)).to(self.dtype) if distilled else None,
                encoder_hidden_states=text.embeddings,
                encoder_attention_mask=text.more["attention_mask"].to(self.dtype),
                encoder_hidden_states_2=text.more["embeddings_2"],
                encoder_attention_mask_2=text.more["attention_mask_2"].to(self.dtype),
                image_embeds=text.more["picture"],
                return_dict=False,
            )[0]
