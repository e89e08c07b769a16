"""What the keys of a LoRA file mean: which layer each is about, and which part of its change it holds. Names only.

The spellings are those of diffusers and PEFT, of kohya's and musubi's trainers (dots flattened to underscores), of the
models' own repositories and ComfyUI ("diffusion_model." before the original names), and of LyCORIS (LoHa, LoKr).
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from .checkpoint import TensorInfo
from .fingerprints import DIT
from .keymaps import COMFY_HUNYUAN, CUTS, STAGES, SWAPS, renamed

DOWN, UP, BIAS, ALPHA, MAGNITUDE, DIFF, DIFF_B = "down", "up", "bias", "alpha", "magnitude", "diff", "diff_b"
HADA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b")
# how a key ends → the part it holds
ENDS = {
    **{f"{dot}{name}{end}": part for part, names in ((DOWN, ("lora_A", "lora_down", "lora.down")),
                                                     (UP, ("lora_B", "lora_up", "lora.up")))
       for name in names for dot in "._" for end in (".weight", ".default.weight", "")},
    **{f".{name}{end}": BIAS for name in ("lora_B", "lora_up") for end in (".bias", ".default.bias")},
    **{f".{name}{end}": MAGNITUDE for name in ("dora_scale", "lora_magnitude_vector")
       for end in ("", ".weight", ".default.weight", ".default")},
    **{f".{name}": name for name in (*HADA, *LOKR)},
    ".alpha": ALPHA, ".diff": DIFF, ".diff_b": DIFF_B, ".w_norm": DIFF, ".b_norm": DIFF_B,
}  # fmt: skip
ENDING = re.compile("(" + "|".join(map(re.escape, sorted(ENDS, key=len, reverse=True))) + ")$")
# ways to change a layer that aren't known here, by what their keys hold
OTHER_KINDS = {
    "lora_mid": "a LoCon with a Tucker core",
    "hada_t1": "a LoHa with a Tucker core",
    "lokr_t2": "a LoKr with a Tucker core",
    "oft_": "an OFT adapter",
    "boft_": "a BOFT adapter",
    "vera_lambda": "a VeRA adapter",
    "ia3_l": "an IA3 adapter",
}
BEFORE = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.", "module.", "unet.")
FLATTENED = ("lora_unet_", "lora_transformer_", "lycoris_")
OF_TEXT = re.compile(
    r"^(base_model\.model\.)?(lora_te\d?_|text_encoders?\b|text_encoder_\d|text_model\.|te\d?\.|clip_)"
)

# whose a LoRA is, by the layers it names (dots and underscores alike): pattern → family
FAMILIES = (
    (r"^blocks_\d+_((self|cross)_attn_([qkvo]|[kv]_img)|ffn_[02])$", "Wan"),
    (r"^blocks_\d+_(attn[12]_(to_|add_)|ffn_net)", "Wan"),
    (r"audio_to_video_attn|^transformer_blocks_\d+_audio_", "LTX-2"),
    (r"img_(mod_lin|mlp_[02])$|^single_blocks_\d+_modulation_lin$", "Flux"),
    (r"^(double_blocks_\d+_(img|txt)_attn|single_blocks_\d+_linear)|individual_token_refiner", "HunyuanVideo"),
    (r"^single_transformer_blocks_\d+_", "HunyuanVideo"),
    (r"^(transformer_)?blocks_\d+_attn1?_(qkv_[xy]|proj_[xy])", "Mochi"),
    (r"^transformer_blocks_\d+_attn1_add_[qkv]_proj", "Mochi"),
    (r"^transformer_blocks_\d+_(attn_to_|img_mlp|txt_mlp)", "image model"),
    (r"^joint_blocks_", "Stable Diffusion 3"),
    (r"^(input|output|down|up|middle|mid)_block", "Stable Diffusion"),
    (r"^transformer_blocks_\d+_attn2_", "LTX"),
    (r"^transformer_blocks_\d+_attn1_to_", "CogVideoX"),
)
WIDTHS = {  # family → width of its tokens → family and size: some name their layers alike
    "Wan": {5120: ("Wan", "14B"), 1536: ("Wan", "1.3B"), 3072: ("Wan", "5B"), 192: ("Wan", "pocket")},
    "LTX": {2048: ("LTX", "2B"), 4096: ("LTX", "13B"), 2240: ("Sana-Video", "2B"), 1152: ("image model", "")},
    "CogVideoX": {1920: ("CogVideoX", "2B"), 3072: ("CogVideoX", "5B")},
}
# the last double and the last single one; HunyuanVideo, whose names and widths are the same, has more
FLUX_BLOCKS = (18, 37)


@dataclass(frozen=True)
class Layer:
    name: str  # as the file calls it, without what stands before
    flat: bool  # with underscores for dots
    keys: dict[str, str] = field(repr=False)  # part → the file's key
    parts: dict[str, TensorInfo] = field(default_factory=dict, repr=False)


def is_lora(header: dict) -> bool:
    """A LoRA or one of its kin: most of its keys end as theirs do."""
    return 2 * sum(1 for key in header if ENDING.search(key) or other_kind(key)) > len(header)


def other_kind(key: str) -> str:
    return next((name for mark, name in OTHER_KINDS.items() if f".{mark}" in key), "")


def layers(header: dict[str, TensorInfo]) -> tuple[list[Layer], list[str]]:
    """The layers of a transformer that a file changes, and the keys that are about anything else."""
    found: dict[tuple[str, bool], dict[str, str]] = {}
    others = []
    for key in header:
        end = ENDING.search(key)
        if not end or OF_TEXT.match(key):
            others.append(key)
            continue
        parts = found.setdefault(bare(key[: end.start()]), {})
        parts.setdefault(ENDS[end.group()], key)
        if parts[ENDS[end.group()]] != key:
            others.append(key)
    made = [Layer(*name, keys, {part: header[key] for part, key in keys.items()}) for name, keys in found.items()]
    return made, others


def bare(name: str) -> tuple[str, bool]:
    """A layer's name without what stands before it, and whether its dots are flattened."""
    while stood := next((one for one in BEFORE if name.startswith(one)), None):
        name = name.removeprefix(stood)
    for one in FLATTENED:
        if name.startswith(one):
            return name.removeprefix(one).lstrip("_"), True
    return name, False


def family(layers: list[Layer]) -> tuple[str, str]:
    """Whose layers these are and of which size: ("Wan", "14B"); "" where it can't be told."""
    names = [layer.name.replace(".", "_") for layer in layers]
    found = next((who for mark, who in FAMILIES if any(re.search(mark, one) for one in names)), "")
    blocks = tuple(
        max((int(n) for one in names for n in re.findall(mark, one)), default=-1)
        for mark in (r"^(?:double_blocks|transformer_blocks)_(\d+)_", r"^single_(?:transformer_)?blocks_(\d+)_")
    )
    if found == "HunyuanVideo" and blocks == FLUX_BLOCKS:
        found = "Flux"
    if found == "Flux" and any(block > last for block, last in zip(blocks, FLUX_BLOCKS, strict=True)):
        found = "HunyuanVideo"  # as ComfyUI calls its layers
    return WIDTHS.get(found, {}).get(width(layers), (found, ""))


def width(layers: list[Layer]) -> int:
    """How wide most of the layers' inputs are: as wide as the model's tokens. 0 where it can't be told."""
    found = [one.parts[part].shape for one in layers for part in (DOWN, HADA[1]) if part in one.parts]
    widths = Counter(shape[1] for shape in found if len(shape) > 1)
    return max(widths, key=widths.get, default=0)


class Names:
    """From the names of layers in LoRA files to those of one transformer's tensors.

    diffusers has converters for this (loaders/lora_conversion_utils.py), but they need the weights, which here aren't
    read yet; HunyuanVideo's knows one width only, Wan's drops changes of norms and takes no file that lacks a block,
    and the others' flattened names have none. So the package's own key maps do it, and tests compare the two.
    """

    def __init__(self, tensors, map_family: str):
        self.tensors = set(tensors)
        self.stages = STAGES.get((DIT, map_family, "", "original"), ())
        self.cuts, self.swap = CUTS.get((DIT, map_family), {}), SWAPS.get((DIT, map_family))
        patterns = [*(pattern for stage in self.stages for pattern in stage), *self.cuts]
        spelt = " ".join([*self.tensors, *(re.sub(r"\\[a-z]|\[.*?\]", ".", pattern) for pattern in patterns)])
        words = sorted(set(re.findall(r"[A-Za-z][A-Za-z0-9]*(?:_[A-Za-z0-9]+)+", spelt)), key=len, reverse=True)
        self.word = re.compile("|".join([*(rf"{word}(?=_|$)" for word in words), "[^_]+"]))

    def of(self, layer: Layer) -> tuple[list[str], bool]:
        """The transformer's layers that one of a file's is made of, in the order of its rows, [] where it has none; and
        whether its halves change places."""
        name = ".".join(self.word.findall(layer.name)) if layer.flat else layer.name
        if self._there(name):
            return [name], False
        for one in (name, renamed(name, (COMFY_HUNYUAN,))):
            for end in (".weight", ""):  # some are tensors, not layers: Wan's modulation
                found = [key.removesuffix(".weight") for key in self._renamed(one + end)]
                if all(map(self._there, found)):
                    return found, bool(self.swap and re.search(self.swap, one))
        return [], False

    def _there(self, name: str) -> bool:
        return not self.tensors.isdisjoint((name, f"{name}.weight", f"{name}.bias"))

    def _renamed(self, key: str) -> list[str]:
        for pattern, parts in self.cuts.items():
            if match := re.search(pattern, key):
                whole = (key[: match.start()], key[match.end() :])
                return [renamed(part.rstrip("*").join(whole), self.stages) for part in parts]
        return [renamed(key, self.stages)]
