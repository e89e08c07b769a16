"""Qwen2.5-VL and ByT5 as HunyuanVideo 1.5 reads with them: the prompt after a message that asks for a description, and
letter by letter what stands in quotes, which is to be written in the picture."""

from ..folders import keep_beside

MAX_TOKENS = 1000


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    keep_beside(folder, "is read with ByT5", "text_encoder_2")
    return TextFacts(family="Qwen2.5-VL", width=config["hidden_size"], neighbours=("text_encoder_2",))


def clean(text: str) -> str:
    return text


def most_tokens(encoder) -> int:
    return MAX_TOKENS


def encode(encoder, text: str, negative: bool):
    """Embeddings [1, L, D] and their mask [1, L]; as embeddings_2 and mask_2 [1, 256, D'] those of the letters."""
    from diffusers import HunyuanVideo15Pipeline as Pipeline

    letters = encoder.beside("text_encoder_2")
    device = encoder.module.device
    embeddings, mask = Pipeline._get_mllm_prompt_embeds(encoder.module, encoder.tokenizer, text, device)
    embeddings_2, mask_2 = Pipeline._get_byt5_prompt_embeds(encoder.second_tokenizer, letters, text, device)
    return embeddings, {"attention_mask": mask, "embeddings_2": embeddings_2, "attention_mask_2": mask_2}
