"""A SentencePiece model, as bytes, as a tokenizer of transformers: without the packages sentencepiece and protobuf.

The message is google/sentencepiece's sentencepiece_model.proto: pieces (1: text 1, score 2, kind 3), trainer_spec (2:
what kind of model 3), normalizer_spec (3: the table of characters 2). A unigram model is put together as transformers
does for T5, one of byte pairs as for Gemma.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

SPACE = "▁"
BYTE_PAIRS = 2  # trainer_spec.model_type
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4  # kinds of pieces


class Piece(NamedTuple):
    text: str
    score: float
    kind: int


class Model(NamedTuple):
    pieces: list[Piece]
    kind: int
    table: bytes  # makes characters alike


def tokenizer_from(model: bytes, longest: int):
    """A transformers tokenizer that pads with <pad>; T5's and UMT5's ends with </s>, Gemma's begins with <bos>.
    Raises ValueError."""
    from transformers import PreTrainedTokenizerFast

    read = _read(model)
    end, build = ("<eos>", _byte_pairs) if read.kind == BYTE_PAIRS else ("</s>", _unigrams)
    needed = {"<pad>", end, "<unk>"} | ({"<bos>"} if read.kind == BYTE_PAIRS else set())
    if not needed <= {piece.text for piece in read.pieces}:
        raise ValueError(f"it has no {', '.join(sorted(needed))}")
    special = {"pad_token": "<pad>", "eos_token": end, "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=build(read), model_max_length=longest, **special)


def _unigrams(model: Model):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    words = [piece.text for piece in model.pieces]
    tokenizer = Tokenizer(models.Unigram([piece[:2] for piece in model.pieces], unk_id=words.index("<unk>")))
    tidy = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), SPACE)]
    tokenizer.normalizer = normalizers.Sequence(
        [*([normalizers.Precompiled(model.table)] if model.table else []), *tidy]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always")
    end = [("</s>", words.index("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=end)
    return tokenizer


def _byte_pairs(model: Model):
    """Two neighbours merge where their text is a piece, of all such pairs the one of the best score first."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    ids = {piece.text: i for i, piece in enumerate(model.pieces)}
    parts = {piece.text for piece in model.pieces if piece.kind == NORMAL}
    merges = [
        (text[:at], text[at:])
        for text, _, kind in sorted(model.pieces, key=lambda piece: -piece.score)
        if kind == NORMAL
        for at in range(1, len(text))
        if text[:at] in parts and text[at:] in parts
    ]
    tokenizer = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    begin = [("<bos>", ids["<bos>"])]
    tokenizer.post_processor = processors.TemplateProcessing(single=["<bos>", "$A"], special_tokens=begin)
    whole = [piece for piece in model.pieces if piece.kind in (CONTROL, USER_DEFINED)]
    tokenizer.add_tokens(
        [AddedToken(text, normalized=kind == USER_DEFINED, special=kind == CONTROL) for text, _, kind in whole]
    )
    return tokenizer


def _read(model: bytes) -> Model:
    pieces, kind, table = [], 1, b""
    for field, value in _fields(model):
        if not isinstance(value, bytes):
            continue
        if field == 1:
            piece = dict(_fields(value))
            pieces.append(Piece(piece[1].decode("utf-8"), piece.get(2, 0.0), piece.get(3, NORMAL)))
        elif field == 2:
            kind = dict(_fields(value)).get(3, 1)
        elif field == 3:
            table = dict(_fields(value)).get(2, b"")
    return Model(pieces, kind, table)


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
