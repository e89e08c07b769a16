"""A text encoder's tokenizer is found where it is published, within a repackaged file, and in ComfyUI itself."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import sentencepiece
import torch
from safetensors.torch import save_file
from spacetime_nodes.model_loaders import fingerprints, tokenizers
from spacetime_nodes.model_loaders.checkpoint import CheckpointError
from spacetime_nodes.model_loaders.single_file import locate
from tiny_files import byte_pairs, spiece

SENTENCES = ("red circle moves left", "  two   spaces ", "Ünïcode ﬁ ½ Ａ", "strange字 words", "", "a\tb\nc")


def test_the_tokenizer_of_a_published_t5_is_a_sentencepiece_model_alone(tmp_path):
    (tmp_path / "spiece.model").write_bytes(spiece())
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 226, "extra_ids": 0}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer, reference = tokenizers.in_folder(tmp_path), sentencepiece.SentencePieceProcessor(model_proto=spiece())
    for text in SENTENCES:
        assert tokenizer(text).input_ids == [*reference.encode(text), 1]
    assert tokenizer.model_max_length == 226
    (tmp_path / "spiece.model").write_bytes(spiece()[:50])
    with pytest.raises(CheckpointError, match="can't be read: it is cut short"):
        tokenizers.in_folder(tmp_path)


def test_the_tokenizer_within_a_repackaged_t5_reads_as_sentencepiece_does(tmp_path):
    block = {"encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight": torch.zeros(32, 64)}
    path = tmp_path / "umt5.safetensors"
    embedded = torch.frombuffer(bytearray(spiece()), dtype=torch.uint8)
    save_file({**block, "shared.weight": torch.zeros(8, 4096), "spiece_model": embedded}, path)
    source = locate(path, fingerprints.TEXT)
    tokenizer, reference = tokenizers.tokenizer_of(source), sentencepiece.SentencePieceProcessor(model_proto=spiece())
    for text in SENTENCES:
        assert tokenizer(text).input_ids == [*reference.encode(text), 1]
    padded = tokenizer(["red"], padding="max_length", max_length=12)
    assert padded.input_ids[0][-1] == 0 and sum(padded.attention_mask[0]) == len(reference.encode("red")) + 1
    assert tokenizer.model_max_length == 512
    save_file({**block, "shared.weight": torch.zeros(8, 4096), "spiece_model": embedded[:50].clone()}, path)
    with pytest.raises(CheckpointError, match="the tokenizer in umt5.safetensors can't be read: it is cut short"):
        tokenizers.tokenizer_of(locate(path, fingerprints.TEXT))
    save_file({**block, "shared.weight": torch.zeros(8, 4096)}, path)
    with pytest.raises(CheckpointError, match="put tokenizer.json .* of google/umt5-xxl into .*umt5$"):
        tokenizers.tokenizer_of(locate(path, fingerprints.TEXT))


def test_the_tokenizer_within_a_repackaged_gemma_reads_as_sentencepiece_does(tmp_path):
    path, embedded = tmp_path / "gemma.safetensors", torch.frombuffer(bytearray(byte_pairs()), dtype=torch.uint8)
    layer = "model.layers.0."
    block = {"model.embed_tokens.weight": torch.zeros(8, 3840), f"{layer}self_attn.q_norm.weight": torch.zeros(8),
             f"{layer}pre_feedforward_layernorm.weight": torch.zeros(8),
             f"{layer}self_attn.q_proj.weight": torch.zeros(8, 8)}  # fmt: skip
    save_file({**block, "spiece_model": embedded}, path)
    source = locate(path, fingerprints.TEXT)
    assert source.identity.family == "Gemma 3"
    tokenizer, reference = (
        tokenizers.tokenizer_of(source),
        sentencepiece.SentencePieceProcessor(model_proto=byte_pairs()),
    )
    written = Path(__file__).read_text().splitlines()[:60]
    for text in (*SENTENCES, "1234 5678 😀", "<unused0>x<start_of_turn>user", "a\n\n\nb     c", *written):
        assert tokenizer(text).input_ids == [2, *reference.encode(text)], text
    tokenizer.padding_side = "left"
    assert tokenizer(["red"], padding="max_length", max_length=12).input_ids[0][0] == 0
    save_file({**block, "spiece_model": torch.frombuffer(bytearray(spiece()), dtype=torch.uint8)[:50].clone()}, path)
    with pytest.raises(CheckpointError, match="the tokenizer in gemma.safetensors can't be read: it is cut short"):
        tokenizers.tokenizer_of(locate(path, fingerprints.TEXT))


T5 = {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": torch.zeros(32, 64),
      "encoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(4096, 4096),
      "shared.weight": torch.zeros(8, 4096)}  # fmt: skip


def brought_by_comfyui(comfy: Path) -> None:
    """The T5 tokenizer of this ComfyUI folder."""
    folder = comfy / "text_encoders" / "t5_tokenizer"
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(spiece())


@pytest.mark.parametrize("where", ["the models folder's", "the one that runs"])
def test_a_file_without_one_takes_comfyuis(where, tmp_path, monkeypatch):
    comfyui = tmp_path / "ComfyUI"
    path = (comfyui if where == "the models folder's" else tmp_path) / "models" / "text_encoders" / "t5xxl.safetensors"
    path.parent.mkdir(parents=True)
    save_file(T5, path)
    source = locate(path, fingerprints.TEXT)
    with pytest.raises(
        CheckpointError, match="t5xxl.safetensors comes without a tokenizer: put spiece.model .* of google/t5-v1_1-xxl"
    ):
        tokenizers.tokenizer_of(source)
    brought_by_comfyui(comfyui / "comfy")
    if where == "the one that runs":
        module = SimpleNamespace(__file__=str(comfyui / "comfy" / "model_management.py"))
        monkeypatch.setitem(sys.modules, "comfy.model_management", module)
    reference = sentencepiece.SentencePieceProcessor(model_proto=spiece())
    assert tokenizers.tokenizer_of(source)("red circle").input_ids == [*reference.encode("red circle"), 1]
    own = path.with_suffix("")
    shutil.copytree(comfyui / "comfy" / "text_encoders" / "t5_tokenizer", own)
    (own / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 7}))
    assert tokenizers.tokenizer_of(source).model_max_length == 7, "the user's own, beside the file, comes first"
