"""UMT5 as Wan reads it: padded to the tokenizer's length, then everything past the words set to zero."""

import html
import re

from ..folders import sibling_json

MAX_TOKENS = 512


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    tokenizer = sibling_json(folder, "tokenizer", "tokenizer_config.json")
    return TextFacts(
        family="UMT5",
        width=config["d_model"],
        tokens=min(tokenizer.get("model_max_length") or MAX_TOKENS, MAX_TOKENS),
        ffn=config["d_ff"],
        heads=config["num_heads"],
    )


def clean(text: str) -> str:
    """As WanPipeline cleans a prompt: mended Unicode, HTML entities read, white space made single."""
    import ftfy

    return re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(text))).strip()).strip()


def most_tokens(encoder) -> int:
    return min(encoder.tokenizer.model_max_length, MAX_TOKENS)


def encode(encoder, text: str, negative: bool):
    """Embeddings [1, L, D] and their mask [1, L]. L is the tokenizer's length, at most 512, as WanPipeline pads."""
    import torch

    model, length = encoder.module, most_tokens(encoder)
    tokens = encoder.tokenizer(
        [clean(text)],
        padding="max_length",
        max_length=length,
        truncation=True,
        add_special_tokens=True,
        return_tensors="pt",
    )
    mask = tokens.attention_mask
    hidden = model(tokens.input_ids.to(model.device), mask.to(model.device)).last_hidden_state
    words = int(mask.gt(0).sum())
    zeros = hidden.new_zeros(1, length - words, hidden.shape[2])
    return torch.cat([hidden[:, :words], zeros], dim=1), {"attention_mask": mask}
