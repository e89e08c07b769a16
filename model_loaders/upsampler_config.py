"""How LTX's and LTX-2's latent upsamplers are built, told by a single file alone."""

import json
from math import isqrt

from .checkpoint import CheckpointError, read_header, read_metadata

FRACTIONS = {0.75: (3, 4), 1.5: (3, 2), 2.0: (2, 1), 4.0: (4, 1)}  # scale → enlarged by, and then made smaller by
SCALES = {2: 2.0, 3: 1.5, 4: 4.0}  # enlarged by → the scale, where the file doesn't say


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
    try:
        return float(json.loads(read_metadata(path)["config"])["spatial_scale"])
    except (KeyError, TypeError, ValueError):
        return None
