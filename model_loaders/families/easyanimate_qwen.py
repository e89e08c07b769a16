"""Qwen2-VL as EasyAnimate reads with it: the prompt as a message to it, padded to one length."""

MAX_TOKENS = 256


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    return TextFacts(family="Qwen2-VL", width=config.get("text_config", config)["hidden_size"])


def clean(text: str) -> str:
    return text


def most_tokens(encoder) -> int:
    return MAX_TOKENS


def encode(encoder, text: str, negative: bool):
    """Embeddings [1, L, D] and their mask [1, L], which the transformer doesn't ask for."""
    from types import SimpleNamespace

    from diffusers import EasyAnimatePipeline

    parts = SimpleNamespace(
        text_encoder=encoder.module, tokenizer=encoder.tokenizer, enable_text_attention_mask=True
    )  # fmt: skip
    embeddings, _, mask, _ = EasyAnimatePipeline.encode_prompt(parts, text, do_classifier_free_guidance=False)
    return embeddings, {"attention_mask": mask}
