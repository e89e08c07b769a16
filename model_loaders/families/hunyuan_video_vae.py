"""HunyuanVideo's VAE (AutoencoderKLHunyuanVideo): longer clips in overlapping stretches of time, as diffusers does."""

from collections.abc import Iterator


def facts(config: dict, folder):
    from ..vae import VAEFacts

    return VAEFacts(
        family="HunyuanVideo",
        channels=config["latent_channels"],
        time_factor=config["temporal_compression_ratio"],
        space_factor=config["spatial_compression_ratio"],
        width=config["block_out_channels"][0],
        patch=1,
        whole=16,  # a stretch of time, as diffusers cuts longer clips
        tile=256,
        maps=12,
    )


def decode_chunks(vae, latent) -> Iterator:
    """latent [1, C, T, H, W], raw → one chunk [1, 3, F, height, width] in -1..1."""
    yield vae.decode(latent, return_dict=False)[0]


def encode_chunks(vae, clips) -> Iterator:
    """clips [1, 3, n, height, width] in -1..1 → raw latents [1, C, 1, H, W], the mean of the distribution."""
    import torch

    yield from vae.encode(torch.cat(list(clips), dim=2)).latent_dist.mode().split(1, dim=2)
