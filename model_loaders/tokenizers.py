"""The tokenizer of a text encoder: in its folder, beside it, as ComfyUI's repackaged ones carry it in its file, or in
ComfyUI itself, which brings most of them."""

import sys
from pathlib import Path

from .checkpoint import CheckpointError, read_header, read_json
from .sentencepiece_model import tokenizer_from
from .single_file import Source

SETTINGS = "tokenizer_config.json"
VOCABULARIES = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.json")
EMBEDDED = "spiece_model"  # a tensor of bytes: a SentencePiece model
LONGEST = {"UMT5": 512, "T5": 512, "Gemma 3": 131072}  # tokens
# family of the text encoder → the files of its tokenizer, where they are published; T5's repository has no
# tokenizer.json, and what asks Qwen2.5 in a chat needs that chat's template, a file of its own there
JSON, PIECE = f"tokenizer.json and {SETTINGS}", f"spiece.model and {SETTINGS}"
PUBLISHED = {
    "UMT5": (JSON, "google/umt5-xxl"),
    "T5": (PIECE, "google/t5-v1_1-xxl"),
    "ByT5": ("the files", "hunyuanvideo-community/HunyuanVideo-1.5-480p_t2v's folder tokenizer_2/"),
    "CLIP": (JSON, "openai/clip-vit-large-patch14"),
    "Gemma 3": (JSON, "Lightricks/LTX-2 (its folder tokenizer/)"),
    "Llama": (JSON, "hunyuanvideo-community/HunyuanVideo (its folder tokenizer/)"),
    "Qwen2.5": ("the files", "hunyuanvideo-community/HunyuanVideo-1.5-480p_t2v (its folder tokenizer/)"),
}
# family of the text encoder → where ComfyUI has it, in its folder comfy/; the same files as those published
IN_COMFYUI = {
    "T5": "text_encoders/t5_tokenizer",
    "ByT5": "text_encoders/byt5_tokenizer",
    "CLIP": "sd1_tokenizer",
    "Llama": "text_encoders/llama_tokenizer",
    "Qwen2.5": "text_encoders/qwen25_tokenizer",
}


def tokenizer_of(source: Source, name: str = "tokenizer"):
    """name: of its folder in a pipeline."""
    place = find(source, name)
    return in_folder(place) if place.is_dir() else _embedded(place, LONGEST[source.identity.family])


def ensure(*wanted: tuple[Source, str]):
    """Raises CheckpointError where tokenizers are missing, of all of them. wanted: what tokenizer_of will be asked."""
    missing = []
    for source, name in wanted:
        try:
            find(source, name)
        except CheckpointError as error:
            missing.append(str(error))
    if missing:
        raise CheckpointError("; ".join(missing))


def find(source: Source, name: str = "tokenizer") -> Path:
    """The folder of its tokenizer, or the file of its weights that carries it."""
    if source.file is None:
        for folder in (source.folder, source.folder.parent / name):
            if _holds_one(folder):
                return folder
        raise CheckpointError(f"{source.folder} has no tokenizer (looked for tokenizer.json there and in ../{name})")
    own, shared = source.file.with_suffix(""), source.file.parent / name
    for folder in (own, own / name, shared):
        if _holds_one(folder):
            return folder
    family = source.identity.family
    if family in LONGEST and EMBEDDED in read_header(source.file):
        return source.file
    family = "ByT5" if "ByT5" in source.identity.variant else family
    for folder in _in_comfyui(source.file, family):
        if _holds_one(folder):
            return folder
    which, published = PUBLISHED.get(family, (JSON, "its model's repository"))
    raise CheckpointError(f"{source.name} comes without a tokenizer: put {which} of {published} into {own}")


def _holds_one(folder: Path) -> bool:
    """Settings alone are half of one, but for ByT5's, whose words are bytes."""
    if any((folder / name).is_file() for name in VOCABULARIES):
        return True
    settings = folder / SETTINGS
    return settings.is_file() and read_json(settings).get("tokenizer_class") == "ByT5Tokenizer"


def _in_comfyui(file: Path, family: str) -> list[Path]:
    """Where the ComfyUI that runs us, or the one whose models folder holds the file, would have this tokenizer."""
    if family not in IN_COMFYUI:
        return []
    running = getattr(sys.modules.get("comfy.model_management"), "__file__", None)
    comfy = [*([Path(running).parent] if running else []), *(above / "comfy" for above in file.absolute().parents)]
    return [folder / IN_COMFYUI[family] for folder in comfy]


def in_folder(folder: Path):
    """Raises CheckpointError where the folder holds none that can be read.

    T5's are published as SentencePiece models alone (CogVideoX, LTX), for which transformers would need a package more.
    """
    from transformers import AutoTokenizer

    piece = folder / "spiece.model"
    try:
        if piece.is_file() and not (folder / "tokenizer.json").is_file():
            settings = folder / SETTINGS
            told = read_json(settings) if settings.is_file() else {}
            return tokenizer_from(piece.read_bytes(), min(told.get("model_max_length", LONGEST["T5"]), LONGEST["T5"]))
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises many kinds
        raise CheckpointError(f"the tokenizer in {folder} can't be read: {str(error).splitlines()[0]}") from None


def _embedded(path: Path, longest: int):
    info = read_header(path)[EMBEDDED]
    if info.dtype not in ("U8", "I8") or len(info.shape) != 1:
        raise CheckpointError(f"{path.name}: its tokenizer ({EMBEDDED}) isn't a row of bytes")
    with path.open("rb") as file:
        file.seek(info.begin)
        model = file.read(info.shape[0])
    try:
        return tokenizer_from(model, longest)
    except Exception as error:  # tokenizers raises its own
        raise CheckpointError(f"the tokenizer in {path.name} can't be read: {str(error).splitlines()[0]}") from None
