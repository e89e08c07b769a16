"""Gemma 3 as LTX-2 reads with it: every layer's output through the connectors, which make of it what the picture is
told and what the sound is told."""

from .. import partners
from ..folders import keep_beside

MAX_TOKENS = 1024


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    keep_beside(folder, "is read through LTX-2's connectors", "connectors")
    width = config.get("text_config", config)["hidden_size"]
    return TextFacts(family="Gemma 3", width=width, neighbours=("connectors",))


def clean(text: str) -> str:
    return text.strip()


def most_tokens(encoder) -> int:
    return MAX_TOKENS


def encode(encoder, text: str, negative: bool):
    """Embeddings [1, L, D], their mask [1, L], and for the sound [1, L, D']. Of a file that lies beside the connectors
    of several models, as `readings` also what the others make of the prompt, by the width of their embeddings."""
    hidden, mask = read(encoder, text)
    embeddings, more = connected(encoder.beside("connectors"), hidden, mask)
    others = partners.others(encoder.source, "connectors")
    if not others:
        return embeddings, more
    made = [connected(encoder.beside("connectors", source), hidden, mask) for source in others]
    return embeddings, {**more, "readings": (embeddings, {one[0].shape[2]: one for one in made})}


def read(encoder, text: str):
    """What all layers say [1, L, D · layers], and the mask [1, L]."""
    import torch

    tokenizer, model = encoder.tokenizer, encoder.module
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokens = tokenizer(
        [clean(text)], padding="max_length", max_length=MAX_TOKENS, truncation=True, add_special_tokens=True,
        return_tensors="pt",
    ).to(model.device)  # fmt: skip
    layers = model(tokens.input_ids, tokens.attention_mask, output_hidden_states=True, use_cache=False).hidden_states
    return torch.stack(layers, dim=-1).flatten(2, 3), tokens.attention_mask


def connected(connectors, hidden, mask):
    picture, sound, mask = connectors(hidden, mask, padding_side="left")
    return picture, {"attention_mask": mask, "sound_embeddings": sound}
