"""Mochi's VAE (AutoencoderKLMochi): six frames a latent frame, a clip at once."""

from .hunyuan_video_vae import decode_chunks, encode_chunks

__all__ = ["decode_chunks", "encode_chunks", "facts", "statistics"]


def facts(config: dict, folder):
    from math import prod

    from ..vae import VAEFacts

    return VAEFacts(
        family="Mochi",
        channels=config["latent_channels"],
        time_factor=prod(config["temporal_expansions"]),
        space_factor=prod(config["spatial_expansions"]),
        width=config["decoder_block_out_channels"][0],
        patch=1,
        whole=10**6,  # all of them
        tile=256,
        maps=9,  # its convolutions over 2 GB go in parts that are put together again
    )


def statistics(config: dict, device):
    """Mean and standard deviation [1, C, 1, 1, 1] and the scale; of the published VAE where there is no config."""
    import inspect

    import torch

    if not config:
        from diffusers import AutoencoderKLMochi

        config = {name: p.default for name, p in inspect.signature(AutoencoderKLMochi.__init__).parameters.items()}
    both = (torch.tensor(config[name], device=device) for name in ("latents_mean", "latents_std"))
    return *(each.view(1, -1, 1, 1, 1) for each in both), config["scaling_factor"]
