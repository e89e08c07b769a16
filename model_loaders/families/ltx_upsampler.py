"""What enlarges LTX-Video's and LTX-2's latents (LTXLatentUpsamplerModel, LTX2LatentUpsamplerModel): height and width
times 2 or 1.5, or twice as many frames. It works on latents as the VAE gives them, not normalised."""

from itertools import product
from math import isqrt

from ..checkpoint import CheckpointError, read_header, read_metadata
from .ltx_vae import statistics

FRACTIONS = {0.75: (3, 4), 1.5: (3, 2), 2.0: (2, 1), 4.0: (4, 1)}  # scale → enlarged by, and then made smaller by
SCALES = {2: 2.0, 3: 1.5, 4: 4.0}  # enlarged by → the scale, where the file doesn't say


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


def config_of(path) -> dict:
    """How a single file's module is built, from the shapes of its tensors. It is named as in diffusers' folders."""
    header = read_header(path)
    names = ("initial_conv", "upsampler.conv", "upsampler.0")
    sizes = {name: header[f"{name}.weight"].shape for name in names if f"{name}.weight" in header}
    if "initial_conv" not in sizes or len(sizes) != 2 or any(len(size) < 4 or 0 in size for size in sizes.values()):
        raise CheckpointError(f"{path.name} is damaged: the first layer or the one that enlarges isn't as it should be")
    (first, made), rational = sizes.values(), "upsampler.conv" in sizes
    blocks = {key.split(".")[1] for key in header if key.startswith("res_blocks.")}
    config = {"_class_name": "LTX2LatentUpsamplerModel", "in_channels": first[1], "mid_channels": first[0],
              "num_blocks_per_stage": len(blocks), "dims": len(first) - 2}  # fmt: skip
    if rational:
        by = isqrt(made[0] // first[0])
        scale = _said(path) if by == FRACTIONS[0.75][0] else None
        return {**config, "use_rational_resampler": True, "rational_spatial_scale": scale or SCALES.get(by, by)}
    both, temporal = made[0] == 8 * first[0], len(made) == 5
    return {**config, "use_rational_resampler": False, "spatial_upsample": both or not temporal,
            "temporal_upsample": temporal}  # fmt: skip


def _said(path) -> float | None:
    """The scale by the settings that LTX-2's files carry: 3/4 and 3/2 are alike in shape."""
    import json

    try:
        return float(json.loads(read_metadata(path)["config"])["spatial_scale"])
    except (KeyError, TypeError, ValueError):
        return None


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
