"""Gemma 2 as Sana-Video reads with it: in small letters, what should be seen after an instruction to describe it."""

import inspect

MAX_TOKENS = 300


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    return TextFacts(
        family="Gemma 2",
        width=config["hidden_size"],
        tokens=MAX_TOKENS,
        ffn=config["intermediate_size"],
        heads=config["num_attention_heads"],
    )


def clean(text: str) -> str:
    return text.lower().strip()


def most_tokens(encoder) -> int:
    return MAX_TOKENS


def encode(encoder, text: str, negative: bool):
    """Embeddings [1, L, D] and their mask [1, L]: the first token and the last 299, so the instruction is left out."""
    from diffusers import SanaVideoPipeline

    tokenizer = encoder.tokenizer
    tokenizer.padding_side = "right"
    asked = inspect.signature(SanaVideoPipeline.__call__).parameters["complex_human_instruction"].default
    instruction = "" if negative else "\n".join(asked)
    length = MAX_TOKENS + (0 if negative else len(tokenizer.encode(instruction)) - 2)
    tokens = tokenizer(
        [instruction + clean(text)], padding="max_length", max_length=length, truncation=True, add_special_tokens=True,
        return_tensors="pt",
    ).to(encoder.module.device)  # fmt: skip
    hidden = encoder.module(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
    kept = slice(None) if negative else [0, *range(1 - MAX_TOKENS, 0)]
    return hidden[:, kept], {"attention_mask": tokens.attention_mask[:, kept]}
