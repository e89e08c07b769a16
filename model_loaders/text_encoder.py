"""A text encoder and its tokenizer as the wires carry them: facts at once, weights when first asked for."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import registry, weights
from .checkpoint import CheckpointError, read_json
from .dit import class_name
from .folders import sibling_json


@dataclass(frozen=True)
class TextFacts:
    family: str
    width: int


class TextEncoder:
    def __init__(self, folder: Path, dtype: str = "auto", device: str = "auto"):
        self.folder, self.dtype, self.device = Path(folder), dtype, device
        self.neighbours = {}
        self.json = read_json(self.folder / "config.json")
        self.family = registry.family("text encoder", class_name(self.json, self.folder), self.folder)
        try:
            self.config: TextFacts = self.family.facts(self.json, self.folder)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{self.folder}/config.json lacks or garbles {error}") from None

    @cached_property
    def module(self):
        return self._module(self.folder)

    def beside(self, name: str):
        """A neighbour in the same pipeline folder, a second encoder, loaded; None where it isn't there."""
        folder = self.folder.parent / name
        if name not in self.neighbours and (folder / "config.json").is_file():
            self.neighbours[name] = self._module(folder)
        return self.neighbours.get(name)

    def _module(self, folder: Path):
        config = read_json(folder / "config.json")
        device = weights.pick_device(self.device)
        dtype = weights.pick_dtype(self.dtype, device)
        return weights.build(registry.maker(class_name(config, folder), config), folder, dtype, device)

    @cached_property
    def pipeline(self) -> str:
        """The class of the pipeline it came in, '' when it came alone: one encoder is read in several ways."""
        return sibling_json(self.folder, "model_index.json").get("_class_name", "")

    @cached_property
    def tokenizer(self):
        """From the folder itself or, in a pipeline, from tokenizer/ beside it."""
        return self.tokenizer_of((self.folder, self.folder.parent / "tokenizer"))

    def tokenizer_of(self, folders):
        from transformers import AutoTokenizer

        for folder in folders:
            if any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model", "tokenizer_config.json")):
                try:
                    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
                except Exception as error:  # transformers raises many kinds
                    raise CheckpointError(
                        f"the tokenizer in {folder} can't be read: {str(error).splitlines()[0]}"
                    ) from None
        raise CheckpointError(f"{self.folder} has no tokenizer (looked for tokenizer.json there and in ../tokenizer)")

    def encode(self, text: str, negative: bool = False):
        """Embeddings [1, L, D], and by name what else a transformer may read of the prompt, for CONDITIONING."""
        import torch

        with torch.no_grad():
            return self.family.encode(self, text, negative)

    def unread(self, text: str) -> tuple[list[str], int]:
        """Words the tokenizer doesn't know, and how many tokens lie beyond its length."""
        tokenizer, text = self.tokenizer, self.family.clean(text)
        ids = tokenizer(text, verbose=False).input_ids
        words, unknown = list(dict.fromkeys(re.findall(r"[\w'-]+", text))), tokenizer.unk_token_id
        if unknown is None or unknown not in ids or not words:
            strange = []
        else:
            read = tokenizer(words, add_special_tokens=False, verbose=False).input_ids
            strange = [word for word, tokens in zip(words, read, strict=True) if unknown in tokens]
        return strange, max(0, len(ids) - self.family.most_tokens(self))

    def known_words(self) -> list[str]:
        return sorted(word for word in self.tokenizer.get_vocab() if word.isalpha())
