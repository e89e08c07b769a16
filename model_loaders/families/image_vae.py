"""The image VAEs of Stable Diffusion (AutoencoderKL, AutoencoderKLTemporalDecoder), which Latte makes its frames with:
a latent frame is a frame."""

from collections.abc import Iterator

TEMPORAL, AT_ONCE = "AutoencoderKLTemporalDecoder", 14  # frames that it sees together


def facts(config: dict, folder):
    from ..vae import VAEFacts

    return VAEFacts(
        family="image",
        channels=config["latent_channels"],
        time_factor=1,
        space_factor=2 ** (len(config["block_out_channels"]) - 1),
        width=config["block_out_channels"][0],
        patch=1,
        chunk=AT_ONCE if config["_class_name"] == TEMPORAL else 1,
        maps=8,
    )


def decode_chunks(vae, latent) -> Iterator:
    """latent [1, C, T, H, W], raw → chunks [1, 3, n, height, width] in -1..1."""
    together = type(vae).__name__ == TEMPORAL
    for part in latent.split(AT_ONCE if together else 1, dim=2):
        frames = part[0].transpose(0, 1)  # n C H W
        told = {"num_frames": len(frames)} if together else {}
        yield vae.decode(frames, return_dict=False, **told)[0].transpose(0, 1)[None]


def encode_chunks(vae, clips) -> Iterator:
    """clips [1, 3, n, height, width] in -1..1 → raw latents [1, C, 1, H, W], the mean of the distribution."""
    for clip in clips:
        yield vae.encode(clip[0].transpose(0, 1)).latent_dist.mode().transpose(0, 1)[None]
