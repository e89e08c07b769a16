"""A language model in a local transformers folder writes one text. Its weights are read for that and let go again.

Nothing is fetched and nothing in the folder is run: safetensors only, no pickles, no code of the model's own.
"""

from collections.abc import Callable
from pathlib import Path

from .checkpoint import CheckpointError, read_header, read_json, weight_files
from .devices import own_random, pick_device, pick_dtype
from .folders import all_folders
from .memory import settle

NONE = "none"
MAX_NEW_TOKENS = 400
ROOM = 32  # tokens left for an answer, at least
SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 50}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "tokenizer_config.json")


def choices(roots: list[Path]) -> list[str]:
    """What a menu offers: `NONE`, then the folders of the user's `roots` that may be language models."""
    return [NONE, *sorted(name for name, path in all_folders(roots).items() if (path / "config.json").is_file())]


def find(name: str, roots: list[Path]) -> Path:
    found = all_folders(roots)
    if name == NONE:
        raise FileNotFoundError(f"no language model is chosen; put a transformers folder into {roots[0]} and choose it")
    if name not in found:
        raise FileNotFoundError(f"language model {name[:80]!r} isn't there; it should lie in {roots[0]}")
    return found[name]


def write(folder: Path, instruction: str, prompt: str, seed: int, check: Callable[[], None]) -> str:
    """The model's answer. Same folder, words and seed, same text. `check` is called for every token; it may raise."""
    import torch

    model, tokenizer = _load(folder, check)
    tokens = _tokens(tokenizer, instruction, prompt, folder)
    ids, mask = (tokens[name].to(model.device) for name in ("input_ids", "attention_mask"))  # [1, L]
    length = ids.shape[1]
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or length + MAX_NEW_TOKENS
    if length + ROOM > limit:
        raise ValueError(f"the prompt and its instruction are {length} tokens; {folder.name} reads {limit - ROOM}")

    def look_up(written, scores, **kwargs):
        check()
        return torch.zeros(len(written), dtype=torch.bool, device=written.device)

    with torch.no_grad(), own_random(model.device):  # whoever draws after us draws as without us
        torch.manual_seed(seed)
        written = model.generate(
            input_ids=ids,
            attention_mask=mask,
            **SAMPLING,
            max_new_tokens=min(MAX_NEW_TOKENS, limit - length),
            stopping_criteria=[look_up],
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        )  # [1, L + new]
    return tokenizer.decode(written[0, length:], skip_special_tokens=True)


def _load(folder: Path, check: Callable[[], None]):
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise CheckpointError(f"{folder}/config.json has no model_type: it isn't a transformers language model")
    for file in weight_files(folder):
        read_header(file)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise CheckpointError(f"{folder} has no tokenizer (looked for {', '.join(TOKENIZER_FILES)})")
    check()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = pick_device("auto")
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        model, told = AutoModelForCausalLM.from_pretrained(
            folder, **local, use_safetensors=True, dtype=pick_dtype("auto", device), output_loading_info=True
        )
    except Exception as error:  # transformers raises many kinds
        raise CheckpointError(f"{folder} can't be loaded as a language model: {_first_line(error)}") from None
    if missing := sorted(told["missing_keys"]):
        raise CheckpointError(f"{folder} lacks {len(missing)} of its config's tensors ({missing[0]!r}); get it again")
    check()
    return settle(model, device).eval(), tokenizer


def _tokens(tokenizer, instruction: str, prompt: str, folder: Path):
    """By the model's own chat template; a model without one goes on with a plain text."""
    system = [{"role": "system", "content": instruction}] if instruction.strip() else []
    whole = f"{instruction}\n\n{prompt}".strip()
    kinds = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
    if not tokenizer.chat_template:
        return tokenizer(f"{whole}\n\nCaption:", return_tensors="pt")
    failures = []
    for messages in ([*system, {"role": "user", "content": prompt}], [{"role": "user", "content": whole}]):
        try:
            return tokenizer.apply_chat_template(messages, **kinds)
        except Exception as error:  # a template's own; some take no system message
            failures.append(error)
    raise CheckpointError(f"the chat template of {folder} fails: {_first_line(failures[-1])}")


def _first_line(error: Exception) -> str:
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    own_code = "trust_remote_code" in str(error)
    return "it needs code of its own, and no model's code is ever run" if own_code else text[:300]
