"""HunyuanVideo 1.5's VAE (AutoencoderKLHunyuanVideo15): a whole clip at once, whose middle looks over all of it."""

from . import hunyuan_video_vae
from .hunyuan_video_vae import decode_chunks, encode_chunks  # noqa: F401 (the same calls)


def facts(config: dict, folder):
    from dataclasses import replace

    own = hunyuan_video_vae.facts(config, folder)
    return replace(own, family="HunyuanVideo 1.5", whole=10**6, maps=8)  # all of them
