"""Sana-Video (SanaVideoTransformer3DModel) with Wan's VAE or LTX-2's: a timestep a token, so any cell can be known
clean."""

from dataclasses import replace

from ..dit import DiTFacts
from ..folders import sibling_json
from . import wan
from .wan_vae import check_statistics

DEFAULT_SCHEDULER = {
    "_class_name": "DPMSolverMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True,
    "flow_shift": 8.0,
}  # fmt: skip


def facts(config: dict, folder) -> DiTFacts:
    vae = sibling_json(folder, "vae", "config.json")
    if not normalised(vae, config["in_channels"]):
        check_statistics(vae, config["in_channels"])
    width, patch = config["num_attention_heads"] * config["attention_head_dim"], tuple(config["patch_size"])
    return DiTFacts(
        family="Sana-Video",
        channels=config["in_channels"],
        patch=patch,
        max_cells=tuple(config["rope_max_seq_len"] * side for side in patch),
        trained_cells=(21, 104, 104),  # 81 frames at 832×480
        text_width=config["caption_channels"],
        width=width,
        ffn=int(width * config["mlp_ratio"]),
        per_token_time=True,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=vae,
        reads=("attention_mask",),
        linear_head=config["attention_head_dim"],
    )


def normalised(vae: dict, channels: int) -> bool:
    """Whether latents come so from the VAE, as from LTX-2's; that of the 720p model, whose transformer may be alone."""
    return vae.get("_class_name") == "AutoencoderKLLTX2Video" or (not vae and channels == 128)


class Adapter(wan.Adapter):
    """As SanaVideoPipeline and its image-to-video do: both prompts in one batch."""

    batched_guidance = True

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        self.as_it_is = normalised(dit.vae, dit.channels)
        super().__init__(transformer, replace(dit, vae={}) if self.as_it_is else dit, beside)

    def normalise(self, latent):
        return latent if self.as_it_is else super().normalise(latent)

    def denormalise(self, x):
        return x if self.as_it_is else super().denormalise(x)

    def sampling(self, texts):
        from contextlib import nullcontext

        return nullcontext()

    def beside(self, known):
        return None

    def predict(self, x, t, text, branch):
        if (t == t[:, :1]).all():  # nothing is known: one time for all, as SanaVideoPipeline says it
            t = t[:, :1]
        velocity = self.transformer(
            x.to(self.dtype),
            encoder_hidden_states=text.embeddings,
            encoder_attention_mask=text.more["attention_mask"],
            timestep=t.expand(len(x), -1),
            return_dict=False,
        )[0].float()
        return velocity[:, : x.shape[1]]  # some also say how sure they are
