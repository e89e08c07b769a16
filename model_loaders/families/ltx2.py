"""LTX-2 (LTX2VideoTransformer3DModel): one timestep a token, so any cell can be known clean, and a picture after the
first frame or a control video is shown as tokens of its own; and sound, denoised along with the picture where the model
sees a whole video. Elsewhere (windows, tiles, rings), and where a restyled clip had none, it is silent."""

from contextlib import nullcontext

from ...spacetime.model import Denoiser
from ...spacetime.names import CONTROL, ISOLATED, JOINT, SKIPPED, STRENGTH
from ..dit import DiTFacts
from ..folders import sibling_json
from . import ltx2_tokens
from .ltx import DEFAULT_SCHEDULER, TOKENS, distilled  # noqa: F401 (distilled for the same noise levels)
from .ltx2_sound import drawn

FPS = 24.0  # for a canvas that doesn't say
SKIP, SKIP_2_0 = 28, 29  # the block that is skipped for spatio-temporal guidance


def facts(config: dict, folder) -> DiTFacts:
    width = config["num_attention_heads"] * config["attention_head_dim"]
    reads = config["caption_channels"] if config.get("use_prompt_embeddings", True) else config["cross_attention_dim"]
    return DiTFacts(
        family="LTX-2",
        channels=config["in_channels"],
        patch=(1, 1, 1),
        max_cells=(4096, 4096, 4096),
        trained_cells=(61, 60, 60),  # 20 s at 24 frames, 1920×1088
        text_width=reads,
        width=width,
        ffn=4 * width,
        per_token_time=True,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=sibling_json(folder, "vae", "config.json"),
        reads=("attention_mask", "sound_embeddings"),
        known_by=TOKENS,
        from_positive=-1.0,
        audio_vae=sibling_json(folder, "audio_vae", "config.json"),
        guiders={JOINT: 4 if config.get("perturbed_attn") else 3},
        follows=(CONTROL, STRENGTH),
        control_scale=1,
    )


class Adapter(Denoiser):
    """As LTX2Pipeline, its Condition and its InContext do: both prompts in one batch, tokens in the order (t h w)."""

    per_token_time, batched_guidance, guides_x0 = True, True, True

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.transformer, self.config = transformer, transformer.config
        self.device, self.dtype, self.patch = transformer.device, transformer.dtype, dit.patch
        self.voices = dit.audio_vae.get("latent_channels", 8)  # channels of the sound's latents
        self.shape, self.levels, self.before = (), dit.levels, None
        self.scale, self.along = dit.control_scale, None
        block = SKIP if self.config.cross_attn_mod else SKIP_2_0
        self.off = {
            SKIPPED: {"spatio_temporal_guidance_blocks": [min(block, self.config.num_layers - 1)]},
            ISOLATED: {"isolate_modalities": True},
        }

    def noise(self, shape, generator):
        self.shape, self.generator = tuple(shape), generator
        return super().noise(shape, generator)

    def resume(self, made):
        self.before = made.get("sound")

    def sampling(self, texts):
        """Draws the sound's noise: a latent for so many seconds, whatever the picture's size."""
        frames = (self.shape[2] - 1) * self.config.vae_scale_factors[0] + 1
        seconds = frames / texts[0].more.get("fps", FPS)
        length = max(round(seconds * self.transformer.audio_rope.audio_latents_per_second), 1)
        shape = self.shape[0], self.voices, length, self.config.audio_in_channels // self.voices
        self.sound = drawn(shape, self.generator, self.device, self.before)
        return nullcontext()

    def set_timesteps(self, scheduler, steps, shape):
        from ...spacetime.schedule import along, set_even_timesteps

        sigmas = along(self.levels, steps) if self.levels else None
        set_even_timesteps(scheduler, steps, self.device, shape[2] * shape[3] * shape[4], sigmas)
        self.sound.schedule(scheduler, whole=tuple(shape) == self.shape)

    def heard(self, x, t) -> bool:
        """The sound is denoised along: this is the whole canvas, and its next step."""
        return x.shape[2:] == self.shape[2:] and self.sound.comes(t)

    def weaker(self, x, t):
        skipped = (SKIPPED,) if self.config.perturbed_attn else ()
        return (*skipped, ISOLATED) if self.heard(x, t) else skipped

    def beside(self, known):
        found = ltx2_tokens.beside(known, self.config.vae_scale_factors[0], self.scale, self.generator)
        self.along = found and ltx2_tokens.along(found, self.config.in_channels, self.sound.own)
        return found

    def begin(self, noise, beside):
        if self.sound.begin():
            self.along = None  # which begins as noise
        return noise

    def predict(self, x, t, text, branch):
        import torch
        from einops import rearrange

        x, beside = x.tensor_split([self.config.in_channels], dim=1)
        (frames, height, width), now, heard = x.shape[2:], t.amax(), self.heard(x, t)
        tokens, fps, more = rearrange(x, "b c t h w -> b (t h w) c").contiguous(), text.more.get("fps", FPS), {}
        grid = self.transformer.rope.prepare_video_coords(len(x), frames, height, width, self.device, fps=fps)
        strength, factors = text.more.get(STRENGTH, 1.0), (self.config.vae_scale_factors[0], self.scale)
        extra = ltx2_tokens.appended(x, beside, grid, strength, now / 1000, fps, *factors)
        if heard and self.along:
            extra[-1] = extra[-1].carrying(self.along.tokens)
        if extra:
            tokens, t, more["video_coords"] = ltx2_tokens.joined(tokens, t, grid, extra)
        elif (t == t[:, :1]).all():  # nothing is known: one time for all, as LTX2Pipeline says it
            t = t[:, :1]
        sound = self.sound.tokens if heard else self.sound.noise[:, :1]
        with self.transformer.cache_context("cond_uncond" if branch == "both" else branch):
            velocity, voice = self.transformer(
                hidden_states=tokens.to(self.dtype),
                audio_hidden_states=torch.cat([sound] * (len(x) // len(sound))).to(self.dtype),
                encoder_hidden_states=text.embeddings,
                audio_encoder_hidden_states=text.more["sound_embeddings"],
                timestep=t.expand(len(x), -1),
                audio_timestep=now.expand(len(x)),
                sigma=now.expand(len(x)),
                encoder_attention_mask=text.more["attention_mask"],
                audio_encoder_attention_mask=text.more["attention_mask"],
                num_frames=frames, height=height, width=width, fps=fps,
                audio_num_frames=sound.shape[1],
                **more,
                **{"isolate_modalities": not heard, **self.off.get(branch, {})},
                use_cross_timestep=self.config.cross_attn_mod,  # 2.3 and later
                return_dict=False,
            )  # fmt: skip
        if heard:
            branches = ("pred_uncond", "pred_cond") if branch == "both" else (branch,)
            self.sound.said |= zip(branches, voice.float().chunk(len(branches)), strict=True)
            if self.along:
                self.along.hear(branches, velocity)
        velocity = velocity[:, : frames * height * width].float()
        return rearrange(velocity, "b (t h w) c -> b c t h w", t=frames, h=height, w=width)

    def aside(self, combine):
        if (t := self.sound.step(combine)) is not None and self.along:
            self.along.step(t, combine)

    def made_aside(self):
        return self.sound.made()
