"""CogVideoX's causal video VAE (AutoencoderKLCogVideoX): two latent frames at a time, as it was trained."""

from collections.abc import Iterator


def facts(config: dict, folder):
    from ..vae import VAEFacts

    return VAEFacts(
        family="CogVideoX",
        channels=config["latent_channels"],
        time_factor=int(config["temporal_compression_ratio"]),
        space_factor=2 ** (len(config["block_out_channels"]) - 1),
        width=config["block_out_channels"][0],
        patch=1,
        chunk=9,  # two latent frames, and what is odd with the first
        maps=25,
    )


def decode_chunks(vae, latent) -> Iterator:
    """latent [1, C, T, H, W], raw → chunks [1, 3, n, height, width] in -1..1; the first one takes what is odd.

    The same slices as vae.decode, whose group norms see a slice at a time, with a cache of this stream's own.
    """
    step, frames = vae.num_latent_frames_batch_size, latent.shape[2]
    ends = range(frames % step + step, frames + 1, step) if frames >= step else [frames]
    start, cache = 0, None
    for end in ends:
        part = latent[:, :, start:end]
        if vae.post_quant_conv is not None:
            part = vae.post_quant_conv(part)
        chunk, cache = vae.decoder(part, conv_cache=cache)
        yield chunk
        start = end


def encode_chunks(vae, clips) -> Iterator:
    """clips [1, 3, n, height, width] in -1..1 → raw latents [1, C, 1, H, W], the mean of the distribution.

    How vae.encode slices a clip follows from its length, so that is waited for.
    """
    import torch

    yield from vae.encode(torch.cat(list(clips), dim=2)).latent_dist.mode().split(1, dim=2)
