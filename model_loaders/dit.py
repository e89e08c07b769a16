"""A diffusion transformer as the wires carry it: its facts at once, its weights when it is first asked for."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from . import memory, registry, weights
from .checkpoint import CheckpointError, read_json


@dataclass(frozen=True)
class DiTFacts:
    family: str
    channels: int  # of the latents it denoises
    patch: tuple[int, int, int]  # latent cells per token, (t, h, w)
    max_cells: tuple[int, int, int]  # the longest latent grid it has positions for, (T, H, W)
    trained_cells: tuple[int, int, int]  # the longest, tallest and widest it was trained on; beyond, it sees windows
    text_width: int
    width: int  # of a token inside
    ffn: int
    per_token_time: bool
    scheduler: dict = field(repr=False)  # diffusers scheduler config
    vae: dict = field(repr=False)  # config of the VAE it was trained on, {} when it came alone


class DiT:
    def __init__(self, folder: Path, dtype: str = "auto", device: str = "auto"):
        self.folder, self.dtype, self.device = Path(folder), dtype, device
        self.json = read_json(self.folder / "config.json")
        self.family = registry.family("transformer", class_name(self.json, self.folder), self.folder)
        try:
            self.config: DiTFacts = self.family.facts(self.json, self.folder)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{self.folder}/config.json lacks or garbles {error}") from None

    @memory.present
    def adapter(self):
        """A loaded spacetime.model.Denoiser."""
        device = weights.pick_device(self.device)
        dtype = weights.pick_dtype(self.dtype, device)
        transformer = registry.model_class("transformer", self.json["_class_name"])
        module = weights.build(lambda: transformer.from_config(self.json), self.folder, dtype, device)
        return self.family.Adapter(module, self.config)

    @cached_property
    def latent_rgb(self) -> dict | None:
        """For previews, raw latents → RGB in 0..1: {"weight": [C][3], "bias": [3]}; None where the VAE ships none."""
        path = self.folder.parent / "vae" / "latent_rgb.json"
        return read_json(path) if path.is_file() else None


def class_name(config: dict, folder: Path) -> str:
    """The class a config names: diffusers' `_class_name`, transformers' first of `architectures`."""
    name = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
    if not isinstance(name, str):
        raise CheckpointError(
            f"{folder}/config.json names no class; it should be the config.json of a diffusers or transformers model"
        )
    return name
