"""Wan 2.1 and 2.2 (WanTransformer3DModel): text-to-video, image-to-video, first-last frame, TI2V, the two experts of
A14B; and pocket, which has their shape."""

from functools import cached_property

from ...spacetime.model import Denoiser
from ..dit import DiTFacts
from ..folders import keep_beside, sibling_json
from ..memory import bring
from ..once import once
from .wan_vae import check_statistics, statistics

# what Wan's pipelines ship, for a transformer that comes without one
DEFAULT_SCHEDULER = {
    "_class_name": "UniPCMultistepScheduler",
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 3.0,
}

# latent cells: 81 frames at up to 1280×720 (Wan 2.1, A14B) and 121 at 1280×704 (TI2V-5B, whose VAE folds 16×16 pixels)
TRAINED = {16: (21, 160, 160), 48: (31, 80, 80)}
TRAINED_STEPS = 1000  # of time: a boundary between experts is a share of them
BESIDE = "beside x, as pixels with the rest in gray"
KEEP_TEXT = 64e6  # bytes; pocket's prompts take 2 MB, a 14B model's would take over a GB for a gain of 1 %


def facts(config: dict, folder) -> DiTFacts:
    pipeline = sibling_json(folder, "model_index.json")
    if config.get("image_dim"):
        keep_beside(folder, "sees the image through CLIP", "image_encoder", "image_processor")
    boundary = (pipeline.get("boundary_ratio") or 0) * TRAINED_STEPS
    if boundary:  # else the low noise would tell, halfway through
        keep_beside(folder, "is the first of two experts", "transformer_2")
    channels = config["out_channels"]
    width = config["num_attention_heads"] * config["attention_head_dim"]
    patch, positions = tuple(config["patch_size"]), config["rope_max_seq_len"]
    vae = sibling_json(folder, "vae", "config.json")
    check_statistics(vae, channels)  # what a transformer without its VAE lacks is told before weights are read
    return DiTFacts(
        family="Wan",
        channels=channels,
        patch=patch,
        max_cells=tuple(positions * side for side in patch),
        trained_cells=tuple(
            sibling_json(folder, "trained.json").get("latent_cells") or TRAINED.get(channels, TRAINED[16])
        ),
        text_width=config["text_dim"],
        width=width,
        ffn=config["ffn_dim"],
        per_token_time=pipeline.get("expand_timesteps", channels == 48),
        scheduler=sibling_json(folder, "scheduler", "scheduler_config.json") or DEFAULT_SCHEDULER,
        vae=vae,
        known_by=BESIDE if config["in_channels"] != channels else "",
        pipeline=pipeline,
        boundary=boundary,
        neighbours=(
            *(("transformer_2",) if boundary else ()),
            *(("image_encoder",) if config.get("image_dim") else ()),
        ),
    )


class Adapter(Denoiser):
    """As WanPipeline does: two passes for guidance, noise in float32."""

    at_work = None  # the expert that denoises

    def __init__(self, transformer, dit: DiTFacts, beside=None):
        import torch

        self.transformer, self.neighbour = transformer, beside
        self.boundary = dit.boundary
        self.device = transformer.device
        self.dtype = transformer.dtype
        self.per_token_time = dit.per_token_time
        self.patch, self.width = dit.patch, dit.width
        mean, std = statistics(dit.vae)
        self.mean = torch.tensor(mean, device=self.device).view(1, -1, 1, 1, 1)
        self.inverse_std = 1.0 / torch.tensor(std, device=self.device).view(1, -1, 1, 1, 1)

    def normalise(self, latent):
        return (latent - self.mean) * self.inverse_std

    def denormalise(self, x):
        return x / self.inverse_std + self.mean  # not x * std: the bits WanPipeline decodes

    @cached_property
    def experts(self):
        """For high noise and for low; one for all but A14B."""
        return [self.transformer, *([self.neighbour("transformer_2")] if self.boundary else [])]

    def expert(self, t):
        """The one for this noise level, on its device: ComfyUI has no room for both on every GPU."""
        expert = self.experts[-1] if self.boundary and t < self.boundary else self.transformer
        if self.boundary and expert is not self.at_work:
            self.at_work = bring(expert)
        return expert

    def sampling(self, texts):
        """The time embedding serves both passes of a step; the prompts' keys and values, where small, all steps."""
        shared, self.at_work = [], None
        tokens = sum(text.embeddings.shape[:2].numel() for text in texts)
        for expert in self.experts:
            embedder, blocks = expert.condition_embedder, expert.blocks
            shared += [embedder.timesteps_proj, embedder.time_embedder]
            if self.dtype.itemsize == 4:  # in half precision the embedding is cast anew in every pass: another tensor
                shared += [embedder.act_fn, embedder.time_proj]
            if 3 * len(blocks) * tokens * self.width * self.dtype.itemsize < KEEP_TEXT and not embedder.image_embedder:
                shared.append(embedder.text_embedder)
                for block in blocks:
                    shared += [block.attn2.to_k, block.attn2.to_v, block.attn2.norm_k]
        return once(shared, len(texts))

    def beside(self, known):
        from . import wan_image

        config = self.transformer.config
        if config.in_channels == config.out_channels:
            return None
        return wan_image.beside(self, known, config.in_channels - 2 * config.out_channels)

    def predict(self, x, t, text, branch):
        expert = self.expert(t)
        image = text.more.get("image")  # [B, 1 or 2, N, D]
        with expert.cache_context(branch):
            return expert(
                hidden_states=x.to(self.dtype),
                timestep=t.expand(x.shape[0], *t.shape[1:]),
                encoder_hidden_states=text.embeddings,
                encoder_hidden_states_image=None if image is None else image.flatten(0, 1),
                return_dict=False,
            )[0]
