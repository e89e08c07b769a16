"""A text encoder and its tokenizer as the wires carry them: facts at once, weights when first asked for."""

import html
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import memory, registry, weights
from .checkpoint import CheckpointError, read_json
from .dit import class_name


@dataclass(frozen=True)
class TextFacts:
    family: str
    width: int


class TextEncoder:
    def __init__(self, folder: Path, dtype: str = "auto", device: str = "auto"):
        self.folder, self.dtype, self.device = Path(folder), dtype, device
        self.json = read_json(self.folder / "config.json")
        self.family = registry.family("text encoder", class_name(self.json, self.folder), self.folder)
        try:
            self.config: TextFacts = self.family.facts(self.json, self.folder)
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{self.folder}/config.json lacks or garbles {error}") from None

    @memory.present
    def module(self):
        device = weights.pick_device(self.device)
        dtype = weights.pick_dtype(self.dtype, device)
        model = registry.model_class("text encoder", class_name(self.json, self.folder))
        return weights.build(lambda: model(model.config_class.from_dict(self.json)), self.folder, dtype, device)

    @cached_property
    def tokenizer(self):
        """From the folder itself or, in a pipeline, from tokenizer/ beside it."""
        from transformers import AutoTokenizer

        for folder in (self.folder, self.folder.parent / "tokenizer"):
            if any((folder / name).is_file() for name in ("tokenizer.json", "spiece.model", "tokenizer_config.json")):
                try:
                    return AutoTokenizer.from_pretrained(folder, local_files_only=True)
                except Exception as error:  # transformers raises many kinds
                    raise CheckpointError(
                        f"the tokenizer in {folder} can't be read: {str(error).splitlines()[0]}"
                    ) from None
        raise CheckpointError(f"{self.folder} has no tokenizer (looked for tokenizer.json there and in ../tokenizer)")

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
