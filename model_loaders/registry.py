"""Which class name in a config belongs to which file in families/. A new family is one file there and one line here.

A transformer's family file offers `facts(config, folder) -> DiTFacts` (no torch) and `Adapter(transformer, facts)`,
which keeps the protocol `spacetime.model.Denoiser`. A VAE's offers `facts(config, folder) -> VAEFacts` and
`decode_chunks(vae, latent)`; a text encoder's `facts(config, folder) -> TextFacts`, `encode` and `MAX_TOKENS`.
"""

from importlib import import_module
from types import ModuleType

from .checkpoint import CheckpointError

# class in config.json -> (module that defines the class, file in families/)
TRANSFORMERS = {"WanTransformer3DModel": ("diffusers.models.transformers.transformer_wan", "wan")}
VAES = {"AutoencoderKLWan": ("diffusers.models.autoencoders.autoencoder_kl_wan", "wan_vae")}
TEXT_ENCODERS = {"UMT5EncoderModel": ("transformers", "umt5")}

SHELVES = {"transformer": TRANSFORMERS, "VAE": VAES, "text encoder": TEXT_ENCODERS}


def family(shelf: str, class_name: str, folder) -> ModuleType:
    known = SHELVES[shelf]
    if class_name in known:
        return import_module(f".families.{known[class_name][1]}", __package__)
    for other, names in SHELVES.items():
        if class_name in names:
            raise CheckpointError(f"{folder} is a {other} ({class_name}), not a {shelf}; use Load {LOADERS[other]}")
    raise CheckpointError(f"{folder} is of class {class_name!r}; this version knows these {shelf}s: {', '.join(known)}")


LOADERS = {"transformer": "DiT", "VAE": "VAE", "text encoder": "Text Encoder"}


def model_class(shelf: str, class_name: str) -> type:
    return getattr(import_module(SHELVES[shelf][class_name][0]), class_name)
