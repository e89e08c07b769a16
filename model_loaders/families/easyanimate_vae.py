"""EasyAnimate's causal video VAE (AutoencoderKLMagvit): streamed as diffusers itself does, by latent frames."""

from collections.abc import Iterator


def facts(config: dict, folder):
    from ..vae import VAEFacts

    widths = config["block_out_channels"]
    return VAEFacts(
        family="EasyAnimate",
        channels=config["latent_channels"],
        time_factor=2 ** (len(widths) - 2),
        space_factor=2 ** (len(widths) - 1),
        width=widths[0],
        patch=1,
        maps=31,
    )


def decode_chunks(vae, latent) -> Iterator:
    """latent [1, C, T, H, W], raw → chunks [1, 3, n, height, width] in -1..1, n = 1 at first, then 4."""
    return remembering(vae, vae.decoder, vae.post_quant_conv(latent).split(1, dim=2))


def encode_chunks(vae, clips) -> Iterator:
    """clips: [1, 3, n, height, width] in -1..1, one frame first and then four a time → raw latents [1, C, 1, H, W], the
    mean of the distribution."""
    for moments in remembering(vae, vae.encoder, clips):
        yield vae.quant_conv(moments).chunk(2, dim=1)[0]


def remembering(vae, run, parts) -> Iterator:
    """Each part through `run`. Its layers keep the last frames of the part before in themselves: what they keep is this
    stream's own, so that two streams don't disturb each other."""
    layers = [layer for layer in vae.modules() if hasattr(layer, "prev_features")]
    kept = [None] * len(layers)
    for part in parts:
        for layer, features in zip(layers, kept, strict=True):
            layer.prev_features = features
        done = run(part)
        kept = [layer.prev_features for layer in layers]
        vae._clear_conv_cache()
        yield done
