"""What the keys of a LoRA file mean: which layer each is about, and which part of its change it holds. Names only.

The spellings are those of diffusers and PEFT, of kohya's and musubi's trainers (dots flattened to underscores), of the
models' own repositories and ComfyUI ("diffusion_model." before the original names), and of LyCORIS (LoHa, LoKr).
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from math import prod

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
    (r"audio_to_video_attn|^transformer_blocks_\d+_(audio_|attn[12]_to_gate_logits)", "LTX-2"),
    (r"img_(mod_lin|mlp_[02])$|^single_blocks_\d+_modulation_lin$", "Flux"),
    (r"^(double_blocks_\d+_(img|txt)_attn|single_blocks_\d+_linear)|individual_token_refiner", "HunyuanVideo"),
    (r"^single_transformer_blocks_\d+_", "HunyuanVideo"),
    (r"^(transformer_)?blocks_\d+_attn1?_(qkv_[xy]|proj_[xy])", "Mochi"),
    (r"^transformer_blocks_\d+_attn1_add_[qkv]_proj", "Mochi"),
    (r"^transformer_blocks_\d+_(img_mlp|txt_mlp)", "image model"),
    (r"^joint_blocks_", "Stable Diffusion 3"),
    (r"^(input|output|down|up|middle|mid)_block", "Stable Diffusion"),
)
WIDTHS = {  # family → width of its tokens → family and size: some name their layers alike
    "Wan": {5120: ("Wan", "14B"), 1536: ("Wan", "1.3B"), 3072: ("Wan", "5B"), 192: ("Wan", "pocket")},
    **dict.fromkeys(("HunyuanVideo", "Flux"), {2048: ("HunyuanVideo 1.5", "")}),
}
# whose blocks are all called transformer_blocks, with attn, or with attn1 and perhaps attn2:
# (family and size, their attention, width of its tokens, of what attn2 reads, 0 where there is none, blocks)
ALIKE = (
    (("HunyuanVideo", ""), "attn", 3072, 0, 20),
    (("HunyuanVideo 1.5", ""), "attn", 2048, 0, 54),
    *((("image model", ""), "attn", *one) for one in ((3072, 0, 19), (3072, 0, 60), (1536, 1536, 24), (2432, 0, 38))),
    (("CogVideoX", "2B"), "attn1", 1920, 0, 30),
    (("CogVideoX", "5B"), "attn1", 3072, 0, 42),
    (("Mochi", ""), "attn1", 3072, 0, 48),
    (("LTX", "2B"), "attn1", 2048, 2048, 28),
    (("Cosmos", "2B"), "attn1", 2048, 1024, 28),
    (("LTX", "13B"), "attn1", 4096, 4096, 48),
    (("LTX-2", ""), "attn1", 4096, 4096, 48),
    (("Cosmos", "14B"), "attn1", 5120, 1024, 36),
    (("Sana-Video", "2B"), "attn1", 2240, 2240, 20),
    (("image model", ""), "attn1", 1152, 1152, 28),
)
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
    """Whose layers these are and of which size: ("Wan", "14B"); ("LTX 2B or Cosmos 2B", "") where it is one of two;
    "" where it can't be told."""
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
    return WIDTHS.get(found, {}).get(width(layers), (found, "")) if found else _alike(layers, names)


def _alike(layers: list[Layer], names: list[str]) -> tuple[str, str]:
    """Whose they are by their widths and the number of blocks, where several call them the same."""
    mark = r"transformer_blocks_(\d+)_(attn2_to_[kv]$|attn[12]?_)"
    found = [(one, *match.groups()) for one, name in zip(layers, names, strict=True) if (match := re.match(mark, name))]
    tokens, text = (width([one for one, _, at in found if ("attn2_to" in at) == of]) for of in (False, True))
    attention = "attn" if any(at == "attn_" for _, _, at in found) else "attn1"
    last = max((int(block) for _, block, _ in found), default=-1)
    fitting = [
        (who, count)
        for who, *kind, reads, count in ALIKE
        if kind == [attention, tokens] and (text or reads) == reads and last < count
    ]
    whole = [one for one in fitting if one[1] == last + 1]  # most LoRAs are of every block
    named = list(dict.fromkeys(who for who, _ in (whole if len(whole) == 1 else fitting)))
    return named[0] if len(named) == 1 else (" or ".join(" ".join(who).strip() for who in named), "")


def width(layers: list[Layer]) -> int:
    """How wide most of the layers' inputs are: as wide as the model's tokens. 0 where it can't be told."""
    found = [one.parts[part].shape for one in layers for part in (DOWN, HADA[1]) if part in one.parts]
    widths = Counter(shape[1] for shape in found if len(shape) > 1)
    widths.update(kronecker(one)[1] for one in layers if not one.parts.keys().isdisjoint(LOKR))
    return max(widths, key=widths.get, default=0)


def lokr_factors(parts) -> list[str]:
    """Which parts of a LoKr are multiplied: each side is whole, or a product of two."""
    sides = (LOKR[:3], LOKR[3:])
    return [part for whole, *pair in sides for part in ([whole] if whole in parts or not {*pair} & {*parts} else pair)]


def kronecker(layer: Layer) -> tuple[int, int]:
    """(rows, columns) of a LoKr; 0 where it lacks a part."""
    shapes, rows, columns = {part: info.shape for part, info in layer.parts.items()}, 1, 1
    for full, first, second in (LOKR[:3], LOKR[3:]):
        rows *= (shapes.get(full) or shapes.get(first) or (0,))[0]
        columns *= prod((shapes.get(full) or shapes.get(second) or (0, 0))[1:])
    return rows, columns


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
