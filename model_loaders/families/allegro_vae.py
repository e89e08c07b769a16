"""Allegro's VAE (AutoencoderKLAllegro): four frames a latent frame, also the first, and only in tiles of its own.

Our grids hold the first frame alone: it is shown three times more to the encoder, and so often the decoder's
beginning is left away. Tiles have to fill a clip, or what they leave stays black: the rest is filled up by repeating.
"""

from collections.abc import Iterator

EARLIER, TILE_FRAMES = 3, 24


def facts(config: dict, folder):
    from ..vae import VAEFacts

    return VAEFacts(
        family="Allegro",
        channels=config["latent_channels"],
        time_factor=int(config["temporal_compression_ratio"]),
        space_factor=2 ** (len(config["block_out_channels"]) - 1),
        width=config["block_out_channels"][0],
        patch=1,
        whole=TILE_FRAMES,
        tile=config["sample_size"],
        maps=8,
        always_tiled=True,
    )


def filled(x, tile, stride):
    """x [1, C, n, h, w] with its ends repeated until tiles fill it."""
    from torch.nn.functional import pad

    more = [
        max(length - size, -(size - length) % step)
        for size, length, step in zip(x.shape[2:], tile, stride, strict=True)
    ]
    return pad(x, [0, more[2], 0, more[1], 0, more[0]], mode="replicate") if any(more) else x


def decode_chunks(vae, latent) -> Iterator:
    """latent [1, C, T, H, W], raw → one chunk [1, 3, F, height, width] in -1..1."""
    vae.use_tiling = True
    time, space = int(vae.config.temporal_compression_ratio), vae.spatial_compression_ratio
    frames, height, width = (n * factor for n, factor in zip(latent.shape[2:], (time, space, space), strict=True))
    tile, stride = (
        [n // factor for n, factor in zip(sizes, (time, space, space), strict=True)]
        for sizes in (vae.kernel, vae.stride)
    )
    made = vae.decode(filled(latent, tile, stride), return_dict=False)[0].transpose(1, 2)
    yield made[:, :, EARLIER:frames, :height, :width]


def encode_chunks(vae, clips) -> Iterator:
    """clips [1, 3, n, height, width] in -1..1 → raw latents [1, C, 1, H, W], the mean of the distribution."""
    import torch

    vae.use_tiling = True
    clip = torch.cat(list(clips), dim=2)
    clip = torch.cat([clip[:, :, :1]] * EARLIER + [clip], dim=2)
    time, space = int(vae.config.temporal_compression_ratio), vae.spatial_compression_ratio
    frames, height, width = (n // factor for n, factor in zip(clip.shape[2:], (time, space, space), strict=True))
    latent = vae.encode(filled(clip, vae.kernel, vae.stride)).latent_dist.mode()
    yield from latent[:, :, :frames, :height, :width].split(1, dim=2)
