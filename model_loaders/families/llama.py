"""Llama and CLIP as HunyuanVideo reads with them: the prompt in a template that asks for a description, three layers
before the last, and from CLIP one vector for all of it."""

from ..folders import keep_beside

TEMPLATE = (
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>"
)
TEMPLATE_TOKENS = 95  # of it before the prompt
MAX_TOKENS, CLIP_TOKENS = 256, 77
LAYER = -3  # of the hidden states
LLAVA = (
    "it sees pictures with LLaVA: HunyuanVideo-I2V's folder as text encoder, or, for a single file, "
    "llava_llama3_vision.safetensors in models/clip_vision"
)


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    keep_beside(folder, "is read with CLIP L", "text_encoder_2")
    return TextFacts(
        family="Llama",
        width=config["hidden_size"],
        tokens=MAX_TOKENS,
        ffn=config["intermediate_size"],
        heads=config["num_attention_heads"],
        neighbours=("text_encoder_2",),
        lacks={"picture_tokens": LLAVA},
    )


def clean(text: str) -> str:
    return text


def most_tokens(encoder) -> int:
    return MAX_TOKENS


def encode(encoder, text: str, negative: bool):
    """Embeddings [1, L, D], their mask [1, L], and CLIP's pooled output [1, D']."""
    tokens = encoder.tokenizer(
        [TEMPLATE.format(text)], max_length=MAX_TOKENS + TEMPLATE_TOKENS, padding="max_length", truncation=True,
        return_tensors="pt", return_attention_mask=True,
    ).to(encoder.module.device)  # fmt: skip
    model = getattr(encoder.module, "language_model", encoder.module)  # LLaVA's reads alike
    hidden = model(
        input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True
    ).hidden_states[LAYER]
    return hidden[:, TEMPLATE_TOKENS:], {
        "attention_mask": tokens.attention_mask[:, TEMPLATE_TOKENS:],
        **pooled(encoder, text),
    }


def pooled(encoder, text: str) -> dict:
    """CLIP's pooled output [1, D'], by its name."""
    clip = encoder.beside("text_encoder_2")
    ids = encoder.second_tokenizer(
        [text], padding="max_length", max_length=CLIP_TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return {"pooled_output": clip(ids.to(clip.device), output_hidden_states=False).pooler_output}
