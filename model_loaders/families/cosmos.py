"""Cosmos-Predict2.5 (CosmosTransformer3DModel): text, image and video to world; a time for every latent frame, and a
channel that says which cells are known."""

from ...spacetime.model import Beside, Denoiser
from ..checkpoint import CheckpointError
from ..dit import DiTFacts
from ..folders import sibling_json
from . import wan
from .wan_vae import check_statistics

DEFAULT_SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": True,
    "use_karras_sigmas": True, "sigma_max": 200.0, "sigma_min": 0.01,
}  # fmt: skip


def facts(config: dict, folder) -> DiTFacts:
    if not config.get("use_crossattn_projection"):
        raise CheckpointError(f"{folder} is Cosmos 1 or 2; this version runs Cosmos-Predict2.5 and Transfer2.5")
    vae, width = (
        sibling_json(folder, "vae", "config.json"),
        config["num_attention_heads"] * config["attention_head_dim"],
    )
    check_statistics(vae, config["out_channels"])
    return DiTFacts(
        family="Cosmos",
        channels=config["out_channels"],
        patch=tuple(config["patch_size"]),
        max_cells=tuple(config["max_size"]),
        trained_cells=(24, 160, 160),  # 93 frames at 1280×704 and upright
        text_width=config["crossattn_proj_in_channels"],
        width=width,
        ffn=int(width * config["mlp_ratio"]),
        per_token_time=True,
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=vae,
        from_positive=0.0,
    )


class Adapter(wan.Adapter):
    """As Cosmos2_5_PredictBasePipeline does, without its guards; latents as Wan's."""

    sampling = Denoiser.sampling
    known_time = 1e-4  # of frames that are known

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        super().__init__(transformer, dit, beside)
        self.padding = transformer.config.concat_padding_mask
        transformer.register_to_config(concat_padding_mask=False)  # diffusers takes torchvision to make it: zeros

    def set_timesteps(self, scheduler, steps, shape):
        super().set_timesteps(scheduler, steps, shape)
        scheduler.timesteps = scheduler.sigmas[: len(scheduler.timesteps)].to(self.device)  # it reads the noise level

    def beside(self, known):
        return Beside((known.free == 0).to(known.cells), free=known.free)

    def times(self, x, t):
        """Of every latent frame, [B, 1, T, 1, 1]; one is as free as its freest token."""
        latest = t.unflatten(1, (x.shape[2] // self.patch[0], -1)).amax(2)
        return latest.where(latest > 0, self.known_time)[:, None, :, None, None].expand(len(x), *[-1] * 4)

    def predict(self, x, t, text, branch):
        return self.denoised(x, self.times(x, t), text.embeddings)

    def denoised(self, x, times, context, **more):
        from torch.nn.functional import pad

        return self.transformer(
            hidden_states=pad(x, [0] * 7 + [int(self.padding)]).to(self.dtype),
            timestep=times,
            encoder_hidden_states=context,
            return_dict=False,
            **more,
        )[0].float()
