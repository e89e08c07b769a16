"""A diffusion transformer as the wires carry it: its facts at once, its weights when it is first asked for."""

from dataclasses import dataclass, field
from functools import cached_property

from . import fingerprints, memory
from .checkpoint import read_json
from .component import Component, picture_processor
from .single_file import neighbour


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
    per_token_time: bool  # it takes a timestep for every token: known cells are clean to it
    scheduler: dict = field(repr=False)  # diffusers scheduler config
    vae: dict = field(repr=False)  # config of the VAE it was trained on, {} when it came alone
    reads: tuple[str, ...] = ()  # what of CONDITIONING it reads beside the embeddings
    embedded_guidance: bool = False  # it was told the guidance in training: one pass a step, no negative prompt
    from_positive: float | None = None  # how its guidance is written, see spacetime.guidance.make_guider
    known_by: str = ""  # how known cells reach it, in words, where neither token time nor noise alone does it
    audio_vae: dict = field(default_factory=dict, repr=False)  # config of the one beside it, for models that make sound
    pipeline: dict = field(default_factory=dict, repr=False)  # model_index.json of the pipeline it came in


class DiT(Component):
    kind = fingerprints.DIT
    config: DiTFacts

    @memory.present
    def adapter(self):
        """A loaded spacetime.model.Denoiser."""
        return self.family.Adapter(self.load(self.source), self.config, self.beside)

    def beside(self, name: str):
        """A neighbour in the same pipeline folder, loaded: a second expert, an image encoder, what prepares for it."""
        folder = self.folder.parent / name
        if (folder / "preprocessor_config.json").is_file():
            return picture_processor(folder)
        return self.load(neighbour(folder))

    @cached_property
    def latent_rgb(self) -> dict | None:
        """For previews, raw latents → RGB in 0..1: {"weight": [C][3], "bias": [3]}; None where the VAE ships none."""
        path = self.folder.parent / "vae" / "latent_rgb.json"
        return read_json(path) if path.is_file() else None
