"""A text encoder and its tokenizer as the wires carry them: facts at once, weights when first asked for."""

import re
from dataclasses import dataclass, field
from functools import cached_property

from . import fingerprints, memory, tokenizers
from .checkpoint import CheckpointError
from .component import Component
from .single_file import Source


@dataclass(frozen=True)
class TextFacts:
    family: str
    width: int
    tokens: int = 512  # that the transformer sees of a prompt, padding included
    ffn: int = 0  # width of its inner layers
    heads: int = 0
    neighbours: tuple[str, ...] = ()  # folders of the pipeline whose weights it loads too
    lacks: dict[str, str] = field(default_factory=dict)  # what some transformer reads that it hasn't → what has it


AUTO, KEEP, RELEASE = AFTERWARDS = ("auto", "keep", "release")
SECOND = "text_encoder_2"  # the second encoder, by its folder in a pipeline
LARGE = 0.25  # of the device's memory: an encoder that takes more is released on auto


class TextEncoder(Component):
    kind = fingerprints.TEXT
    config: TextFacts

    def __init__(self, path, dtype="auto", device="auto", afterwards: str = AUTO):
        """afterwards: whether its weights stay when the prompts are read."""
        super().__init__(path, dtype, device)
        self.afterwards = afterwards

    def ensure_tokenizers(self):
        """Raises CheckpointError, which says what belongs where, for what the prompt couldn't be read with."""
        second = self.neighbour(SECOND) if SECOND in self.config.neighbours else None
        tokenizers.ensure((self.source, "tokenizer"), *([(second, "tokenizer_2")] if second else []))

    def rest(self) -> int:
        """The prompts are read: the weights are given back where that was asked for, or on auto where they take much
        of the device (in ComfyUI, which moves them away by itself, never). Returns the bytes given back."""
        made = [self.module, *self.neighbours.values()] if type(self).module.made(self) else []
        size = sum(p.nbytes for module in made for p in module.parameters())
        if self.afterwards == AUTO:
            go = made and not memory.in_books() and size > LARGE * memory.total_bytes(self.place[1])
        else:
            go = made and self.afterwards == RELEASE
        if not go:
            return 0
        made.clear()
        self.neighbours.clear()
        memory.give_back(self)
        return size

    @cached_property
    def again(self) -> "TextEncoder":
        """The same with no weights yet: what a prompt on a wire holds to be read by once more."""
        return memory.twin(self)

    @memory.present
    def module(self):
        return self.load(self.source)

    @property
    def neighbours(self) -> dict:
        return memory.held_by(self).setdefault("neighbours", {})

    def beside(self, name: str, source=None):
        """A neighbour in the same pipeline, a second encoder, loaded; None where it isn't there. source: this one."""
        key = source.name if source else name
        if key not in self.neighbours and (source := source or self.neighbour(name)):
            self.neighbours[key] = memory.beside(self.load, source)
        module = self.neighbours.get(key)
        return module and memory.bring(module)

    @cached_property
    def tokenizer(self):
        """From the folder itself or, in a pipeline, from tokenizer/ beside it; of a single file, see tokenizers.py."""
        return _fitting(tokenizers.tokenizer_of(self.source), self.source)

    @cached_property
    def second_tokenizer(self):
        """Of the second encoder."""
        second = self.neighbour(SECOND)
        return _fitting(tokenizers.tokenizer_of(second, "tokenizer_2"), second)

    def encode(self, text: str, negative: bool = False, *picture):
        """Embeddings [1, L, D], and by name what else a transformer may read of the prompt, for CONDITIONING.

        picture: a PIL image, for encoders that read one with the prompt; these hand out how, as `with_picture`.
        """
        import torch

        with torch.no_grad():
            return self.family.encode(self, text, negative, *picture)

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


def _fitting(tokenizer, source: Source):
    """The tokenizer, where the encoder has a place for each of its words: for a word beyond its table a CPU says no
    more than that, and a GPU stops working for the whole process."""
    config = source.config.get("text_config", source.config)
    words, table = max(tokenizer.vocab_size, (tokenizer.pad_token_id or 0) + 1), config.get("vocab_size")
    if table is not None and words > table:
        raise CheckpointError(
            f"{source.name} has the tokenizer of another model: it has {words} words, the encoder's table {table}; the "
            "tokenizer that was published with this encoder would be right"
        )
    return tokenizer
