"""LTX-Video's VAE (AutoencoderKLLTXVideo): its decoder looks ahead, so a clip is decoded whole.

Its statistics are in its weights, not its config, so latents are normalised here, as ComfyUI's LTX nodes carry them.
"""

from collections.abc import Iterator

from ..devices import own_random

DECODE_TIME, DECODE_NOISE, DECODE_SEED = 0.05, 0.025, 0  # 0.9.1 and later denoise a last bit while decoding


def facts(config: dict, folder):
    from ..vae import VAEFacts

    stages, patch = sum(config["spatio_temporal_scaling"]), config["patch_size"]
    return VAEFacts(
        family="LTX-Video",
        channels=config["latent_channels"],
        time_factor=config.get("temporal_compression_ratio") or config["patch_size_t"] * 2**stages,
        space_factor=config.get("spatial_compression_ratio") or patch * 2**stages,
        width=config["block_out_channels"][0],
        patch=patch,
        whole=10**6,  # all of them
        tile=512,
        maps=7,
    )


def statistics(vae):
    mean, std = (each.view(1, -1, 1, 1, 1) for each in (vae.latents_mean, vae.latents_std))
    return mean.float(), std.float(), vae.config.scaling_factor


def decode_chunks(vae, latent) -> Iterator:
    """latent [1, C, T, H, W], normalised → one chunk [1, 3, F, height, width] in -1..1."""
    import torch

    mean, std, scale = statistics(vae)
    z, time = latent.float() * std / scale + mean, None
    if vae.config.timestep_conditioning:
        generator = torch.Generator("cpu").manual_seed(DECODE_SEED)
        noise = torch.randn(z.shape, generator=generator).to(z)
        z, time = (1 - DECODE_NOISE) * z + DECODE_NOISE * noise, torch.tensor([DECODE_TIME]).to(vae.device, vae.dtype)
    with own_random(vae.device):
        torch.manual_seed(DECODE_SEED)  # the decoder of 0.9.1 adds noise within, from the common source
        video = vae.decode(z.to(vae.dtype), time, return_dict=False)[0]
    yield video


def encode_chunks(vae, clips) -> Iterator:
    """clips [1, 3, n, height, width] in -1..1 → normalised latents [1, C, 1, H, W], the mean of the distribution."""
    import torch

    mean, std, scale = statistics(vae)
    z = vae.encode(torch.cat(list(clips), dim=2)).latent_dist.mode().float()
    yield from ((z - mean) * scale / std).split(1, dim=2)
