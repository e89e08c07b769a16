"""SkyReels-V2 (SkyReelsV2Transformer3DModel): Wan's shape; the diffusion-forcing ones take a time for every latent
frame, so whole frames can be known clean."""

from contextlib import contextmanager
from dataclasses import replace

from . import wan

SLOW = 16  # frames per second; the model tells this rate from all others


def facts(config: dict, folder):
    own = wan.facts(config, folder)
    forcing = "DiffusionForcing" in own.pipeline.get("_class_name", "") or config.get("inject_sample_info", False)
    block = config.get("num_frame_per_block", 1) if forcing else 0
    return replace(own, family="SkyReels-V2", per_token_time=forcing, known_noise=20 if forcing else 0, forcing=block)


class Adapter(wan.Adapter):
    """As SkyReelsV2Pipeline and SkyReelsV2DiffusionForcingPipeline do."""

    @contextmanager
    def causal(self, block):
        own = self.transformer.config.num_frame_per_block
        self.transformer._set_ar_attention(block)
        try:
            yield
        finally:  # others hold the same transformer
            self.transformer._set_ar_attention(own)

    def grained(self, known, free, t, share, generator):
        """As the pipeline's addnoise_condition: of which the model is told as their time."""
        return (1 - share) * known + share * self.noise(known.shape, generator), 1000 * share

    def predict(self, x, t, text, branch):
        if not self.per_token_time:
            return super().predict(x, t, text, branch)
        latest = t.unflatten(1, (x.shape[2] // self.patch[0], -1)).amax(2)  # a frame is as free as its freest token
        with self.transformer.cache_context(branch):
            return self.transformer(
                hidden_states=x.to(self.dtype),
                timestep=latest.expand(len(x), -1),
                encoder_hidden_states=text.embeddings,
                enable_diffusion_forcing=True,
                fps=[0 if text.more.get("fps") == SLOW else 1],  # for all: diffusers 0.42 adds up several amiss
                return_dict=False,
            )[0]
