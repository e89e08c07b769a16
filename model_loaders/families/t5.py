"""T5 as LTX-Video, CogVideoX, Mochi and others read it: padded to one length, mostly with the padding read as words."""

from functools import partial

from ..folders import sibling_json
from ..registry import T5_READS
from ..settings import class_of

MAX_TOKENS = 512


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    tokenizer = sibling_json(folder, "tokenizer", "tokenizer_config.json")
    pipeline = class_of(sibling_json(folder, "model_index.json"))
    tokens = min(tokenizer.get("model_max_length") or MAX_TOKENS, MAX_TOKENS)
    return TextFacts(
        family="T5",
        width=config["d_model"],
        tokens=T5_READS.get(pipeline, (tokens, False))[0],
        ffn=config["d_ff"],
        heads=config["num_heads"],
    )


def clean(text: str) -> str:
    return text


def most_tokens(encoder) -> int:
    return way(encoder)[0]


def way(encoder) -> tuple[int, bool, bool, bool]:
    """One encoder is read at several lengths, with or without its padding: the pipeline it came in says which."""
    alone = min(encoder.tokenizer.model_max_length, MAX_TOKENS), False, False
    zeros = sibling_json(encoder.folder, "model_index.json").get("force_zeros_for_empty_prompt")
    return (*T5_READS.get(encoder.pipeline, alone)[:3], bool(zeros))


def encode(encoder, text: str, negative: bool):
    """Embeddings [1, L, D] and their mask [1, L]; as `readings` these embeddings and, by pipeline, what other
    transformers read in their place: made already where the encoder came alone, and so may serve any of them, else a
    function that makes it."""
    own = way(encoder)
    embeddings, more = read(encoder, text, *own)
    others = {name: one for name, one in T5_READS.items() if name != encoder.pipeline and one != own}
    if encoder.pipeline:
        readings = {name: partial(read, encoder.again, text, *one) for name, one in others.items()}
    else:
        others = {name: (*one[:3], one[3] and not text) for name, one in others.items()}
        made = {one: read(encoder, text, *one) for one in set(others.values())}
        readings = {name: made[one] for name, one in others.items()}
    return embeddings, {**more, "readings": (embeddings, readings)}


def read(encoder, text: str, length: int, masked: bool, small: bool, zeros: bool):
    model, text = encoder.module, text.lower().strip() if small else text
    tokens = encoder.tokenizer(
        [text], padding="max_length", max_length=length, truncation=True, add_special_tokens=True, return_tensors="pt"
    )
    ids, mask = (part.to(model.device) for part in (tokens.input_ids, tokens.attention_mask.bool()))
    if zeros and not text:  # the original Mochi reads no token of an empty prompt
        ids, mask = ids.zero_(), mask.zero_()
    return model(ids, attention_mask=mask if masked else None)[0], {"attention_mask": mask}
