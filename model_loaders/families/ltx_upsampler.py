"""What enlarges LTX-Video's and LTX-2's latents (LTXLatentUpsamplerModel, LTX2LatentUpsamplerModel): height and width
times 2 or 1.5, or twice as many frames. It works on latents as the VAE gives them, not normalised."""

from itertools import product

from ..checkpoint import CheckpointError
from ..upsampler_config import FRACTIONS
from .ltx_vae import statistics


def facts(config: dict, folder):
    from ..upsampler import UpsamplerFacts

    rational = config.get("use_rational_resampler", config["_class_name"] == "LTX2LatentUpsamplerModel")
    temporal, spatial = config.get("temporal_upsample", False), config.get("spatial_upsample", True)
    scale = config.get("rational_spatial_scale", 2.0) if rational and not temporal else 2.0
    if scale not in FRACTIONS:
        raise CheckpointError(f"{folder} enlarges by {scale}; known here: {', '.join(map(str, FRACTIONS))}")
    return UpsamplerFacts(
        family="LTX-Video",
        channels=config.get("in_channels", 128),
        width=config["mid_channels"],
        space=FRACTIONS[scale] if spatial else (1, 1),
        temporal=temporal,
    )


def upsample(module, vae, latent, adain: float, compression: float):
    """latent [B, C, T, H, W], normalised → the same enlarged, as LTXLatentUpsamplePipeline and LTX-2's do it.

    adain: how far every channel gets back the mean and the contrast it had (Huang & Belongie 2017); compression: how
    far large values are drawn in.
    """
    import torch

    mean, std, scale = statistics(vae)
    small = (latent.float() * std / scale + mean).to(module.device, module.dtype)
    x = module(small)
    if adain > 0:
        as_before = x.clone()
        for one in product(*map(range, x.shape[:2])):
            (wanted, middle), (found, own) = torch.std_mean(small[one]), torch.std_mean(x[one])
            as_before[one] = ((x[one] - own) / found) * wanted + middle
        x = torch.lerp(x, as_before, adain)
    if compression > 0:
        strength = 0.75 * compression
        x = x * (1.0 - 0.8 * strength * torch.sigmoid(4.0 * strength * (x.abs() - 1.0)))
    mean, std = mean.to(x.device, x.dtype), std.to(x.device, x.dtype)
    return ((x - mean) * scale / std).float()
