"""What the three loaders hand out has in common: where it lies, its family's facts at once, weights when asked for."""

from pathlib import Path

from . import registry, weights
from .single_file import Source, facts, locate


class Component:
    kind: str  # fingerprints.DIT, VAE or TEXT
    precise = False  # float32 on a GPU too, where the dtype is auto

    def __init__(self, path: Path, dtype: str = "auto", device: str = "auto"):
        self.source = locate(path, self.kind)
        self.folder, self.json = self.source.folder, self.source.config
        self.dtype, self.device = dtype, device
        self.family = registry.family(self.kind, self.source.class_name, self.source.name)
        self.config = facts(self.family, self.source)

    def load(self, source: Source):
        """The module of this source, or of a neighbour, as the user chose dtype and device."""
        device = weights.pick_device(self.device)
        dtype = weights.pick_dtype(self.dtype, device, self.precise)
        return weights.build(registry.maker(source.class_name, source.config), source, dtype, device)
