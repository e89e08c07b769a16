"""UMT5 as Wan reads it: padded to the tokenizer's length, then everything past the words set to zero."""

MAX_TOKENS = 512


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    return TextFacts(family="UMT5", width=config["d_model"])


def encode(model, tokenizer, text: str):
    """Embeddings [1, L, D] and their mask [1, L]. L is the tokenizer's length, at most 512, as WanPipeline pads."""
    import torch

    length = min(tokenizer.model_max_length, MAX_TOKENS)
    tokens = tokenizer(
        [text], padding="max_length", max_length=length, truncation=True, add_special_tokens=True, return_tensors="pt"
    )
    mask = tokens.attention_mask
    hidden = model(tokens.input_ids.to(model.device), mask.to(model.device)).last_hidden_state
    words = int(mask.gt(0).sum())
    return torch.cat([hidden[:, :words], hidden.new_zeros(1, length - words, hidden.shape[2])], dim=1), mask
