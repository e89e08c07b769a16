"""A text encoder and its tokenizer as the wires carry them: facts at once, weights when first asked for."""

import html
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import fingerprints, registry, tokenizers, weights
from .dit import class_name
from .single_file import facts, locate


@dataclass(frozen=True)
class TextFacts:
    family: str
    width: int


class TextEncoder:
    def __init__(self, path: Path, dtype: str = "auto", device: str = "auto"):
        self.source = locate(path, fingerprints.TEXT)
        self.folder, self.json = self.source.folder, self.source.config
        self.dtype, self.device = dtype, device
        self.family = registry.family("text encoder", class_name(self.json, self.folder), self.source.name)
        self.config: TextFacts = facts(self.family, self.source)

    @cached_property
    def module(self):
        device = weights.pick_device(self.device)
        dtype = weights.pick_dtype(self.dtype, device)
        model = registry.model_class("text encoder", class_name(self.json, self.folder))
        return weights.build(lambda: model(model.config_class.from_dict(self.json)), self.source, dtype, device)

    @cached_property
    def tokenizer(self):
        """From the folder itself or, in a pipeline, from tokenizer/ beside it; of a single file, see tokenizers.py."""
        return tokenizers.tokenizer_of(self.source)

    def encode(self, text: str):
        """Embeddings [1, L, D] and their mask [1, L]."""
        import torch

        with torch.no_grad():
            return self.family.encode(self.module, self.tokenizer, clean(text))

    def unread(self, text: str) -> tuple[list[str], int]:
        """Words the tokenizer doesn't know, and how many tokens lie beyond its length."""
        tokenizer, text = self.tokenizer, clean(text)
        ids = tokenizer(text, verbose=False).input_ids
        words, unknown = list(dict.fromkeys(re.findall(r"[\w'-]+", text))), tokenizer.unk_token_id
        if unknown is None or unknown not in ids or not words:
            strange = []
        else:
            read = tokenizer(words, add_special_tokens=False, verbose=False).input_ids
            strange = [word for word, tokens in zip(words, read, strict=True) if unknown in tokens]
        return strange, max(0, len(ids) - min(tokenizer.model_max_length, self.family.MAX_TOKENS))

    def known_words(self) -> list[str]:
        return sorted(word for word in self.tokenizer.get_vocab() if word.isalpha())


def clean(text: str) -> str:
    """As WanPipeline cleans a prompt: mended Unicode, HTML entities read, white space made single."""
    import ftfy

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text))).strip()).strip()
