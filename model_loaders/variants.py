"""Which variant of its family a model file is, how it is built and what belongs to it. Data; identify.py reads it.

VARIANTS, the first line that fits wins: name, conditions on the measures of fingerprints.py, config folder. What stands
after a comma in a name is a remark.
"""

from typing import NamedTuple

from .fingerprints import CONNECTORS, CONTROLNET, DIT, TEXT, UPSAMPLER, VAE, VISION


class Variant(NamedTuple):
    name: str
    when: dict = {}  # noqa: RUF012 - measure → value, or `named`: a pattern that the file's name holds
    config: str = ""  # in model_loaders/configs


UNUSUAL = ", of unusual size"  # it has the layers of its family, but no published model's widths
# of two experts; high quality and low VRAM are said of other files
EXPERT = r"{0}.?noise|[-_.]{0}(?=[-_.](?!quality|detail|motion|res|def|fps|v?ram|mem|steps?))|[-_]{1}\b"
HIGH, LOW = {"named": EXPERT.format("high", "hn")}, {"named": EXPERT.format("low", "ln")}
WAN_21, WAN_22 = {"named": r"wan.?v?2[._-]?1"}, {"named": r"wan.?v?2[._-]?2"}
W14, W13, LTX_2B = {"width": 5120}, {"width": 1536}, {"width": 2048, "layers": 28}
IN_TIME = {"rows": 1024, "rank": 5}
SEES_15 = {"channels": 65}  # 32 of the video, 32 of the picture, a mask
T2V, CLIP_I2V, I2V = {"channels": 16}, {"channels": 36, "clip": True}, {"channels": 36, "clip": False}
VARIANTS = {
    (DIT, "Wan"): (
        Variant("2.2 Animate 14B", {"pose": True, **W14}, "wan-2.2-animate-14b"),
        Variant(f"2.2 Animate{UNUSUAL}", {"pose": True}, "wan-2.2-animate-14b"),
        Variant("2.2 S2V 14B", {"speech": True}),
        Variant("HuMo", {"humo": True}),
        Variant("Fun camera control", {"control": True}),
        Variant("Fun control", {"reference": True}),
        Variant("Fun control", {"channels": 48, "out": 64}),
        Variant("VACE 1.3B", {"vace": True, **W13}, "wan-2.1-vace-1.3b"),
        Variant("2.2 VACE Fun A14B, the high-noise expert", {"vace": True, **HIGH}, "wan-2.2-vace-fun-a14b"),
        Variant("2.2 VACE Fun A14B, the low-noise expert", {"vace": True, **LOW}, "wan-2.2-vace-fun-a14b"),
        Variant("2.2 VACE Fun A14B, one of two experts", {"vace": True, **W14, **WAN_22}, "wan-2.1-vace-14b"),
        Variant("VACE 14B", {"vace": True, **W14}, "wan-2.1-vace-14b"),
        Variant(f"VACE{UNUSUAL}", {"vace": True}, "wan-2.1-vace-1.3b"),
        Variant("SkyReels-V2 DF 1.3B", {"fps": True}, "skyreels-v2-df-1.3b"),
        Variant("SkyReels-V2 DF 14B", {**W14, **T2V, "named": r"skyreels.*df"}, "skyreels-v2-df-14b"),
        Variant("SkyReels-V2 T2V 14B", {**W14, **T2V, "named": r"skyreels"}, "wan-2.1-t2v-14b"),
        Variant("2.1 T2V 1.3B", {**W13, **T2V}, "wan-2.1-t2v-1.3b"),
        Variant("2.1 T2V 14B", {**W14, **T2V, **WAN_21}, "wan-2.1-t2v-14b"),
        Variant("2.2 T2V A14B, the high-noise expert", {**T2V, **HIGH}, "wan-2.2-t2v-a14b"),
        Variant("2.2 T2V A14B, the low-noise expert", {**T2V, **LOW}, "wan-2.2-t2v-a14b"),
        Variant("2.2 T2V A14B, one of two experts", {**W14, **T2V, **WAN_22}, "wan-2.1-t2v-14b"),
        Variant("2.1 T2V 14B, or one of 2.2's two experts", {**W14, **T2V}, "wan-2.1-t2v-14b"),
        Variant("2.1 FLF2V 14B", {"ends": True, **W14}, "wan-2.1-flf2v-14b"),
        Variant("SkyReels-V2 I2V 1.3B", {**W13, **CLIP_I2V, "named": r"skyreels"}, "wan-2.1-i2v-1.3b"),
        Variant("2.1 Fun InP 1.3B", {**W13, **CLIP_I2V, "named": r"fun"}, "wan-2.1-i2v-1.3b"),
        Variant("2.1 I2V 1.3B", {**W13, **CLIP_I2V}, "wan-2.1-i2v-1.3b"),
        Variant("SkyReels-V2 I2V 14B", {**W14, **CLIP_I2V, "named": r"skyreels.*(540|480)"}, "wan-2.1-i2v-14b-480p"),
        Variant("SkyReels-V2 I2V 14B", {**W14, **CLIP_I2V, "named": r"skyreels"}, "wan-2.1-i2v-14b-720p"),
        Variant("2.1 I2V 14B 480p", {**W14, **CLIP_I2V, "named": r"480"}, "wan-2.1-i2v-14b-480p"),
        Variant("2.1 I2V 14B 720p", {**W14, **CLIP_I2V, "named": r"720"}, "wan-2.1-i2v-14b-720p"),
        Variant("2.1 I2V 14B", {**W14, **CLIP_I2V}, "wan-2.1-i2v-14b-720p"),
        Variant("2.2 I2V A14B, the high-noise expert", {**I2V, **HIGH}, "wan-2.2-i2v-a14b"),
        Variant("2.2 I2V A14B, the low-noise expert", {**I2V, **LOW}, "wan-2.2-i2v-a14b"),
        Variant("2.2 I2V A14B, one of two experts", {**W14, **I2V}, "wan-2.2-i2v-a14b-alone"),
        Variant("2.2 TI2V 5B", {"width": 3072, "channels": 48}, "wan-2.2-ti2v-5b"),
        Variant("pocket", {"width": 192, **T2V}),
        Variant(f"2.2 TI2V{UNUSUAL}", {"channels": 48}, "wan-2.2-ti2v-5b"),
        Variant(f"I2V{UNUSUAL}", CLIP_I2V, "wan-2.1-i2v-14b-480p"),
        Variant(f"T2V{UNUSUAL}", T2V, "wan-2.1-t2v-1.3b"),
    ),
    (DIT, "LTX"): (
        Variant("0.9.7 to 0.9.8 13B", {"width": 4096, "layers": 48}, "ltx-13b"),
        Variant("0.9.5 to 0.9.8 2B", {**LTX_2B, "named": r"0[._]?9[._]?[5-8]"}, "ltx-2b-0.9.5"),
        Variant("0.9.1 2B", {**LTX_2B, "named": r"0[._]?9[._]?1"}, "ltx-2b-0.9.1"),
        Variant("0.9.0 2B", {**LTX_2B, "named": r"0[._]?9[._]?0|0\.9\.(?!\d)"}, "ltx-2b-0.9.0"),
        Variant("2B", LTX_2B, "ltx-2b-0.9.5"),
        Variant(UNUSUAL, {"named": r"0[._]?9[._]?[01]|0\.9\.(?!\d)"}, "ltx-2b-0.9.0"),
        Variant(UNUSUAL, {}, "ltx-2b-0.9.5"),
    ),
    (DIT, "LTX-2"): (Variant("19B", {"reads": True}, "ltx-2-19b"), Variant("2.3 22B", {}, "ltx-2.3-22b")),
    (DIT, "HunyuanVideo"): (
        Variant("FramePack F1 I2V", {"pack": True, "named": r"(?<![a-z0-9])f1(?![a-z0-9])"}, "framepack-f1-i2v"),
        Variant("FramePack I2V", {"pack": True}, "framepack-i2v"),
        Variant("I2V", {"channels": 33}, "hunyuan-video-i2v"),
        Variant("SkyReels-V1 I2V", {"channels": 32}),
        Variant("I2V v2", {"channels": 16, "guidance": True, "named": r"i2v|image.?to.?video"}, "hunyuan-video-i2v-v2"),
        Variant("T2V", {"channels": 16, "guidance": True}, "hunyuan-video-t2v"),
        Variant("T2V without embedded guidance", {"channels": 16}, "hunyuan-video-t2v-cfg"),
    ),
    (DIT, "HunyuanVideo 1.5"): (
        Variant("super-resolution", {"channels": 98}),
        Variant("I2V 480p, step-distilled", {**SEES_15, "steps": True}, "hunyuan-video-1.5-i2v-480p-step-distilled"),
        Variant("I2V 720p", {**SEES_15, "named": r"720.*i2v|i2v.*720"}, "hunyuan-video-1.5-i2v-720p"),
        Variant("I2V 480p", {**SEES_15, "named": r"i2v"}, "hunyuan-video-1.5-i2v-480p"),
        Variant("T2V 720p", {**SEES_15, "named": r"720"}, "hunyuan-video-1.5-t2v-720p"),
        Variant("T2V 480p", {**SEES_15, "named": r"t2v"}, "hunyuan-video-1.5-t2v-480p"),
        Variant("T2V or I2V", SEES_15, "hunyuan-video-1.5-t2v-480p"),
    ),
    (DIT, "CogVideoX"): (
        Variant("1.5 5B Fun Control", {"rank": 2, "channels": 256, "named": "control|pose"}),
        Variant("1.5 5B I2V", {"rank": 2, "channels": 256}),
        Variant("1.5 5B T2V", {"rank": 2}),
        Variant("5B Fun Control", {"width": 3072, "channels": 32, "named": "control|pose"}),
        Variant("5B I2V", {"width": 3072, "channels": 32}),
        Variant("2B Fun Control", {"width": 1920, "channels": 32}),
        Variant("5B T2V", {"width": 3072, "channels": 16}),
        Variant("2B T2V", {"width": 1920, "channels": 16}),
        Variant(UNUSUAL),
    ),
    (DIT, "EasyAnimate"): (
        Variant("5.1 T2V", {"channels": 16}),
        Variant("5.1 InP", {"channels": 33}),
        Variant("5.1 Control", {"channels": 48}),
    ),
    (DIT, "Sana-Video"): (
        Variant("2B 480p", {"width": 2240, "channels": 16}),
        Variant("2B 720p", {"width": 2240}),
    ),
    (DIT, "Cosmos"): (
        Variant("2.5 Transfer 2B", {"pictures": True, "width": 2048}),
        Variant(f"2.5 Transfer{UNUSUAL}", {"pictures": True}),
        Variant("2.5 2B", {"reason": True, "width": 2048}, "cosmos-predict2.5-2b"),
        Variant("2.5 14B", {"reason": True, "width": 5120}, "cosmos-predict2.5-14b"),
        Variant(f"2.5{UNUSUAL}", {"reason": True}, "cosmos-predict2.5-2b"),
        Variant("1 T2W 7B", {"first": True, "width": 4096, "patch": 68}),
        Variant("1 V2W 7B", {"first": True, "width": 4096, "patch": 72}),
        Variant("1 T2W 14B", {"first": True, "patch": 68}),
        Variant("1 V2W 14B", {"first": True, "patch": 72}),
        Variant("2 T2I 2B", {"width": 2048, "patch": 68}),
        Variant("2 V2W 2B", {"width": 2048, "patch": 72}),
        Variant("2 T2I 14B", {"width": 5120, "patch": 68}),
        Variant("2 V2W 14B", {"width": 5120, "patch": 72}),
    ),
    (CONTROLNET, "Cosmos"): (Variant("2.5 Transfer"),),
    (VAE, "Wan"): (
        Variant("pocket", {"channels": 16, "width": 16}),
        Variant("2.1", {"channels": 16}, "wan-2.1-vae"),
        Variant("2.2 5B", {"channels": 48}, "wan-2.2-ti2v-5b"),
    ),
    (VAE, "LTX"): (
        Variant("0.9.5 to 0.9.8", {"encoder": 2048, "timed": True}, "ltx-2b-0.9.5"),
        Variant("2.0", {"encoder": 2048}, "ltx-2-19b"),
        Variant("2.3", {"encoder": 1024}, "ltx-2.3-22b"),
        Variant("0.9.1", {"encoder": 512, "timed": True}, "ltx-2b-0.9.1"),
        Variant("0.9.0", {"encoder": 512}, "ltx-2b-0.9.0"),
        Variant(f"0.9.1{UNUSUAL}", {"timed": True}, "ltx-2b-0.9.1"),
        Variant(f"0.9.0{UNUSUAL}", {}, "ltx-2b-0.9.0"),
    ),
    (UPSAMPLER, "LTX"): (
        Variant("0.9.7 to 0.9.8 spatial x2", {"width": 512, "rows": 2048, "rank": 4}),
        Variant("2.0 spatial x2", {"width": 1024, "rational": 4096}),
        Variant("2.3 spatial x2", {"width": 1024, "rows": 4096, "rank": 4}),
        Variant("2.3 spatial x1.5", {"width": 1024, "rational": 9216}),
        Variant("0.9.7 temporal x2", {**IN_TIME, "named": r"ltxv|0[._]?9"}),
        Variant("2.3 temporal x2", {**IN_TIME, "named": r"2[._]3"}),
        Variant("2.0 temporal x2", {**IN_TIME, "named": r"ltx.?2"}),
        Variant("temporal x2", IN_TIME),
        Variant(UNUSUAL),
    ),
    (VAE, "HunyuanVideo"): (Variant("", {}, "hunyuan-video-t2v"),),
    (VAE, "HunyuanVideo 1.5"): (Variant("", {}, "hunyuan-video-1.5-t2v-480p"),),
    (VAE, "image"): (Variant("Stable Diffusion", {"channels": 4}), Variant("16-channel", {"channels": 16})),
    (TEXT, "UMT5"): (
        Variant("XXL", {"width": 4096}, "umt5-xxl"),
        Variant("pocket", {"width": 64}),
        Variant(UNUSUAL, {}, "umt5-xxl"),
    ),
    (TEXT, "T5"): (
        Variant("XXL", {"width": 4096}, "t5-xxl"),
        Variant("ByT5 small (glyphs)", {"width": 1472}, "byt5-small-glyph"),
        Variant(UNUSUAL, {}, "t5-xxl"),
    ),
    (TEXT, "CLIP"): (
        Variant("L", {"width": 768}, "clip-l"),
        Variant("G", {"width": 1280}),
        Variant("H", {"width": 1024}),
        Variant(UNUSUAL, {}, "clip-l"),
    ),
    (VISION, "CLIP"): (
        Variant("L of LLaVA", {"projector": True}, "llava-llama-3-8b"),
        Variant("H of LAION", {"width": 1280, "named": r"laion|ip.?adapter"}),  # alike, but not what Wan sees through
        Variant("H", {"width": 1280}, "clip-vision-h"),
        Variant("L", {"width": 1024}),
        Variant("SigLIP", {"width": 1152}, "siglip-384"),
    ),
    (TEXT, "Llama"): (
        Variant("3 8B of LLaVA", {"width": 4096, "words": 128320}, "llava-llama-3-8b"),
        Variant("3 8B", {"width": 4096, "words": 128256}),
        Variant(UNUSUAL, {}, "llava-llama-3-8b"),
    ),
    (TEXT, "Qwen2"): (Variant("VL 7B", {"width": 3584}), Variant(f"VL{UNUSUAL}")),
    (TEXT, "Qwen2.5"): (
        Variant("VL 7B", {"width": 3584}, "qwen-2.5-vl-7b"),
        Variant("VL 3B", {"width": 2048}),
        Variant(UNUSUAL, {}, "qwen-2.5-vl-7b"),
    ),
    (TEXT, "Gemma 3"): (
        Variant("12B", {"width": 3840}, "gemma-3-12b"),
        Variant("4B", {"width": 2560}),
        Variant(UNUSUAL, {}, "gemma-3-12b"),
    ),
    (CONNECTORS, "LTX-2"): (Variant("2.3 22B", {"each": True}, "ltx-2.3-22b"), Variant("19B", {}, "ltx-2-19b")),
    (TEXT, "Gemma 2"): (Variant("2B", {"width": 2304}),),
}

# Those that are also published distilled, for few steps without guidance. Only a file's name tells; the remark on it.
DISTILLS, DISTILLED, DISTILLING = "distil", ", distilled", ((DIT, "LTX"), (DIT, "LTX-2"))

# What may be wired to a transformer: the VAE whose latents it denoises, the text encoders it was trained with.
UMT5, T5, HUNYUAN15 = ("UMT5 XXL",), ("T5 XXL",), ("Qwen2.5 VL 7B", "T5 ByT5 small (glyphs)")
PARTNERS = {
    "Wan": ("Wan 2.1", UMT5),
    "Wan 2.2 TI2V": ("Wan 2.2 5B", UMT5),
    "Wan pocket": ("Wan pocket", ("UMT5 pocket",)),
    "LTX": ("LTX 0.9", T5),
    "LTX-2 19B": ("LTX 2.0", ("Gemma 3 12B",)),
    "LTX-2 2.3": ("LTX 2.3", ("Gemma 3 12B",)),
    "HunyuanVideo": ("HunyuanVideo", ("Llama 3 8B of LLaVA", "CLIP L")),
    "HunyuanVideo 1.5": ("HunyuanVideo 1.5", HUNYUAN15),
    "CogVideoX": ("CogVideoX", T5),
    "Mochi": ("Mochi", T5),
    "Latte": ("image Stable Diffusion", T5),
    "Allegro": ("Allegro", T5),
    "EasyAnimate": ("EasyAnimate", ("Qwen2 VL 7B",)),
    "Sana-Video 2B 480p": ("Wan 2.1", ("Gemma 2 2B",)),
    "Sana-Video 2B 720p": ("LTX 2.0", ("Gemma 2 2B",)),
    "Cosmos 1": ("Cosmos 1", T5),
    "Cosmos 2 ": ("Wan 2.1", T5),
    "Cosmos 2.5": ("Wan 2.1", ("Qwen2.5 VL 7B",)),
}
# whose latents an upsampler enlarges: the beginning of its name → that of the VAE's
UPSAMPLES = {"LTX 0.9": "LTX 0.9.5", "LTX 2.0": "LTX 2.0", "LTX 2.3": "LTX 2.3"}
# What runs as a diffusers folder though no config for its single files ships, as the beginning of name and component.
# What has no config and isn't listed isn't run.
AS_FOLDER = (
    *("CogVideoX", "Mochi", "Latte", "Allegro", "Sana-Video", "EasyAnimate", "Cosmos 2.5 Transfer"),
    *("Wan pocket", "UMT5 pocket", "Gemma 2 2B", "Qwen2 VL", "image Stable Diffusion VAE"),
)
