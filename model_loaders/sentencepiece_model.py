"""A SentencePiece model, as bytes, as a tokenizer of transformers: without the packages sentencepiece and protobuf.

The message is google/sentencepiece's sentencepiece_model.proto: pieces (1: text 1, score 2), normalizer_spec (3: the
table of characters 2). The tokenizer is put together as transformers does for T5.
"""

import struct
from collections.abc import Iterator

SPACE = "▁"


def tokenizer_from(model: bytes, longest: int):
    """A transformers tokenizer that pads with <pad> and ends with </s>, as T5 and UMT5 do. Raises ValueError."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces, table = _read(model)
    words = [piece for piece, _ in pieces]
    if not {"<pad>", "</s>", "<unk>"} <= set(words):
        raise ValueError("it has no <pad>, </s> and <unk>")
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=words.index("<unk>")))
    tidy = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), SPACE)]
    tokenizer.normalizer = normalizers.Sequence([*([normalizers.Precompiled(table)] if table else []), *tidy])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    end = [("</s>", words.index("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=end)
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=longest, **special)


def _read(model: bytes) -> tuple[list[tuple[str, float]], bytes]:
    """The pieces with their scores, and the table that makes characters alike."""
    pieces, table = [], b""
    for field, value in _fields(model):
        if field == 1 and isinstance(value, bytes):
            piece = dict(_fields(value))
            pieces.append((piece[1].decode("utf-8"), piece.get(2, 0.0)))
        elif field == 3 and isinstance(value, bytes):
            table = dict(_fields(value)).get(2, b"")
    return pieces, table


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int | float]]:
    """The fields of a protobuf message: whole numbers, floats and everything that has a length."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("it is cut short or no SentencePiece model")
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        length = {1: 8, 5: 4}.get(kind) or (varint() if kind == 2 else None)
        if length is None or at + length > len(data):
            raise ValueError("it is cut short or no SentencePiece model")
        value, at = data[at : at + length], at + length
        yield key >> 3, struct.unpack("<f", value)[0] if kind == 5 else value
