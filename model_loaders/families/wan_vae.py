"""Wan's causal video VAE (AutoencoderKLWan), also pocket's: decoded one latent frame at a time."""

from collections.abc import Iterator

from ..checkpoint import CheckpointError, read_json
from ..single_file import CONFIGS


def facts(config: dict, folder):
    from ..vae import VAEFacts

    return VAEFacts(
        family="Wan",
        channels=config["z_dim"],
        time_factor=config.get("scale_factor_temporal") or 4,
        space_factor=config.get("scale_factor_spatial") or 8,
        width=config.get("decoder_base_dim") or config["base_dim"],
        patch=config.get("patch_size") or 1,
        maps=26 if config.get("is_residual") else 16,
    )


def statistics(vae_config: dict) -> tuple[list[float], list[float]]:
    """latents_mean and latents_std from a VAE's config; without one, those of the published 16-channel VAE."""
    config = vae_config or read_json(CONFIGS / "wan-2.1-vae" / "vae" / "config.json")
    return config["latents_mean"], config["latents_std"]


def check_statistics(vae_config: dict, channels: int) -> None:
    """Raises CheckpointError where a transformer of so many channels lacks its VAE's latents_mean and latents_std."""
    published = 16
    for name in ("latents_mean", "latents_std"):
        found = len(vae_config[name]) if vae_config else published
        if found != channels:
            raise CheckpointError(
                f"the transformer has {channels} channels, its VAE's {name} {found}; keep it beside its vae/ folder"
            )


def decode_chunks(vae, latent) -> Iterator:
    """latent [1, C, T, H, W], raw → chunks [1, 3, n, height, width] in -1..1: n = 1 for the first latent frame, then 4.

    The same arithmetic as vae.decode, whose convolutions remember two frames each (feat_cache). Here that memory is
    this stream's own: the video never stands whole anywhere, and two streams don't disturb each other.
    """
    import torch
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, unpatchify

    cache = [None] * sum(isinstance(module, WanCausalConv3d) for module in vae.decoder.modules())
    latent = vae.post_quant_conv(latent)
    for i in range(latent.shape[2]):
        chunk = vae.decoder(latent[:, :, i : i + 1], feat_cache=cache, feat_idx=[0], first_chunk=i == 0)
        if vae.config.patch_size is not None:
            chunk = unpatchify(chunk, patch_size=vae.config.patch_size)
        yield torch.clamp(chunk, min=-1.0, max=1.0)


def encode_chunks(vae, clips) -> Iterator:
    """clips: [1, 3, n, height, width] in -1..1, one frame first and then four a time → raw latents [1, C, 1, H, W].

    The same arithmetic as vae.encode, and of its distribution the mode; here the cache is this stream's own.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, patchify

    cache = [None] * sum(isinstance(module, WanCausalConv3d) for module in vae.encoder.modules())
    for clip in clips:
        if vae.config.patch_size is not None:
            clip = patchify(clip, patch_size=vae.config.patch_size)
        yield vae.quant_conv(vae.encoder(clip, feat_cache=cache, feat_idx=[0])).chunk(2, dim=1)[0]
