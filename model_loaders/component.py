"""What the three loaders hand out has in common: where it lies, its family's facts at once, weights when asked for."""

from functools import cached_property
from math import prod
from pathlib import Path

from . import devices, partners, registry, weights
from .checkpoint import CheckpointError, read_json
from .folders import sibling_json
from .identify import Identity, identify_folder, strange
from .settings import check_sizes, class_of, facts
from .single_file import Source, files, locate, pieces

PROCESSOR_FOLDERS = ("image_processor", "feature_extractor")  # of pipelines


class Component:
    kind: str  # fingerprints.DIT, VAE or TEXT
    precise = False  # float32 on a GPU too, where the dtype is auto

    def __init__(self, path: Path, dtype: str = "auto", device: str = "auto"):
        self.source = partners.whole(locate(path, self.kind))
        self.folder, self.json = self.source.folder, self.source.config
        self.dtype, self.device = dtype, device
        self.family = registry.family(self.kind, self.source.class_name, self.source.name, self.json)
        self.config = facts(self.family, self.source)
        beside = (self.neighbour(name) for name in getattr(self.config, "neighbours", ()))
        self.kin = [self.source, *filter(None, beside)]  # with the neighbours that it loads too
        for source in self.kin[1:]:
            check_sizes(source)

    @cached_property
    def weight_bytes(self) -> int:
        """Memory that its weights will take on their device, by their headers; what it loads beside them included."""
        value = devices.value_bytes(self.dtype, self.device, self.precise)
        return sum(value * prod(piece.shape) for source in self.kin for piece in pieces(source).values())

    @cached_property
    def file_bytes(self) -> int:
        return sum(path.stat().st_size for source in self.kin for path in files(source))

    @cached_property
    def identity(self) -> Identity:
        """What its weights are, whatever their files or folders are called."""
        return self.source.identity or identify_folder(self.folder)

    def neighbour(self, name: str) -> Source | None:
        """Another part of its pipeline, by the name of its folder there."""
        return partners.beside(self.source, name)

    @cached_property
    def pipeline(self) -> str:
        """The class of the pipeline it came in, or of a single file that it is made for; '' where none is known."""
        return class_of(sibling_json(self.folder, "model_index.json")) or ""

    @property
    def place(self):
        """(number format, device), as torch knows them."""
        device = devices.pick_device(self.device)
        return devices.pick_dtype(self.dtype, device, self.precise), device

    def load(self, source: Source, **more):
        """The module of this source, or of a neighbour, as the user chose dtype and device."""
        return weights.build(registry.maker(source.class_name, source.config), source, *self.place, **more)


def check_pair(dit: Component, other: Identity):
    """Raises ValueError where a VAE or a text encoder is another transformer's. Their sizes may agree all the same: the
    latents of a dozen models have 16 channels, and mean other things."""
    if wanted := strange(dit.identity, other):
        raise ValueError(f"{other.title} doesn't fit {dit.identity.title}; {wanted} would be right")


def picture_processor(folder: Path):
    """What makes a picture ready for an image encoder, from its folder in a pipeline.

    By Pillow: where torchvision is installed, as it is in ComfyUI, transformers would resize by that, to other bits.
    """
    import transformers

    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder.parent} has no {folder.name}/preprocessor_config.json, which it sees pictures by"
        )
    name = str(read_json(path).get("image_processor_type", "CLIPImageProcessor")).removesuffix("Fast")
    if name not in registry.PICTURE_PROCESSORS:
        raise CheckpointError(f"{path} is for {name!r}; known here: {', '.join(registry.PICTURE_PROCESSORS)}")
    by_pillow = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)  # before transformers 5
    return by_pillow.from_pretrained(folder, local_files_only=True)
