"""Qwen2.5-VL as Cosmos-Predict2.5 reads with it: the prompt in a chat, its padding read too, and the outputs of all
layers side by side, each made even."""

MAX_TOKENS = 512
SYSTEM = "You are a helpful assistant who will provide prompts to an image generator."


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    reading = config.get("text_config", config)
    return TextFacts(family="Qwen2.5-VL", width=reading["hidden_size"] * reading["num_hidden_layers"])


def clean(text: str) -> str:
    return text


def most_tokens(encoder) -> int:
    return MAX_TOKENS - len(tokens(encoder, ""))


def tokens(encoder, text: str, **padding) -> list[int]:
    said = (("system", SYSTEM), ("user", text))
    chat = [{"role": role, "content": [{"type": "text", "text": words}]} for role, words in said]
    return encoder.tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True, **padding)["input_ids"]


def encode(encoder, text: str, negative: bool):
    """Embeddings [1, L, layers · D]."""
    import torch

    ids = tokens(encoder, text, max_length=MAX_TOKENS, truncation=True, padding="max_length")
    model = encoder.module
    layers = model(torch.tensor([ids], device=model.device), output_hidden_states=True, use_cache=False).hidden_states
    even = [(x - x.mean(dim=-1, keepdim=True)) / (x.std(dim=-1, keepdim=True) + 1e-8) for x in layers[1:]]
    return torch.cat(even, dim=-1), {}
