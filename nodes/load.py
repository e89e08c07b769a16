"""The three loaders. They return at once; weights are read when a node first needs them."""

from ..model_loaders import offload, text_encoder, vae
from ..model_loaders.devices import DEVICES, one_memory
from ..model_loaders.folders import CHECKPOINTS, SUBFOLDERS, choices, resolve
from ..model_loaders.weights import DTYPES
from ..spacetime.cost import readable
from . import runtime

DTYPE = (
    list(DTYPES),
    {
        "default": "auto",
        "tooltip": "Number format of the weights. auto: float32 on a CPU, bfloat16 on a GPU (a VAE stays float32).",
    },
)
WHERE = "Where it runs. auto: the GPU (cuda: NVIDIA or AMD, xpu: Intel, mps: Apple), else the CPU."
DEVICE = (list(DEVICES), {"default": "auto", "tooltip": WHERE})

MEMORY_TIP = (
    "Where the weights stay. fits: all on the device. block or leaf offload: in the computer's memory, brought to the "
    "GPU block by block or layer by layer. disk offload: on the disk. auto: the fastest that fits, and says which."
)
WEIGHTS_TIP = (
    "How they are kept. as dtype: in that number format; GGUF's stay quantised. fp8: a byte each, a little less exact. "
    "int8: a byte each, by the package optimum-quanto."
)
TILING_TIP = (
    "Encodes and decodes in tiles, which takes less memory and is never quite the same. auto: only where the whole "
    "picture, or for LTX, HunyuanVideo and Mochi the whole clip, wouldn't fit."
)
AFTER_TIP = (
    "keep its weights for the next prompt, or release them for the DiT. auto: releases an encoder that takes more than "
    "a quarter of the device's memory."
)


def roots() -> dict:
    return {kind: runtime.model_folders(kind) for kind in (*SUBFOLDERS, CHECKPOINTS)}


def model_choice(kind: str, tip: str) -> tuple:
    """A menu of models. `model_folder` is no option of the editor's: it tells where a missing one belongs."""
    return (choices(kind, roots()), {"model_folder": kind, "tooltip": tip})


class SpacetimeLoadDiT:
    TITLE = "Load DiT"
    CATEGORY = "Spacetime/load"
    DESCRIPTION = (
        "A video diffusion transformer, the model that denoises. Swap the loaders to change the model: the graph stays."
    )
    RETURN_TYPES = ("SPACETIME_DIT",)
    RETURN_NAMES = ("dit",)
    OUTPUT_TOOLTIPS = ("The transformer, for the grid and the sampler.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        tip = (
            "pocket is built in. Others: single files and diffusers folders in models/diffusion_models, checkpoints "
            "that hold one, pipelines in any model folder. `spacetime models` tells what each file is."
        )
        return {
            "required": {
                "model_name": model_choice("diffusion_models", tip),
                "dtype": DTYPE,
                "device": DEVICE,
            },
            "optional": {  # appended later: API graphs saved without them go on running
                "memory": (list(offload.MEMORY), {"default": offload.AUTO, "tooltip": MEMORY_TIP}),
                "weights": (list(offload.WEIGHTS), {"default": offload.AS_DTYPE, "tooltip": WEIGHTS_TIP}),
            },
        }

    def run(self, model_name, dtype="auto", device="auto", memory=offload.AUTO, weights=offload.AS_DTYPE):
        from ..model_loaders.dit import DiT

        path = resolve("diffusion_models", model_name, roots())
        more = {"scratch": runtime.temp_dir(), "tell": runtime.notice}
        return (DiT(path, dtype, device, memory, weights, **more),)

    def plan(self, model_name, dtype="auto", device="auto", memory=offload.AUTO, weights=offload.AS_DTYPE):
        (dit,) = self.run(model_name, dtype, device, memory, weights)
        found, way = dit.footprints(dit.memory), dit.memory
        if way == offload.AUTO:
            other = offload.DISK if one_memory(dit.device) else offload.BLOCK
            part = readable(dit.together(dit.footprints(other)))
            way = f"auto (all on the device, or {other} with {part} at a time)"
        whole, held, disk = sum(one.weights for one in found), dit.together(found), sum(one.disk for one in found)
        report = {
            "weights": readable(whole),
            "memory": way,
            "at a time": "" if held == whole else f"{readable(held)} of them",
            "on disk": readable(disk) if disk else "",
            "device_bytes": held,
        }
        return {"result": (dit,), "report": report}


class SpacetimeLoadVAE:
    TITLE = "Load VAE"
    CATEGORY = "Spacetime/load"
    DESCRIPTION = "The autoencoder between pixels and latents. It has to be the one the DiT was trained with."
    RETURN_TYPES = ("SPACETIME_VAE",)
    RETURN_NAMES = ("vae",)
    OUTPUT_TOOLTIPS = ("The VAE, for the grid and for decoding.",)
    FUNCTION = "run"
    DRY_RUN = "run"

    @classmethod
    def INPUT_TYPES(cls):
        tip = (
            "pocket is built in. Others: single files and diffusers folders in models/vae, checkpoints that hold one, "
            "pipelines in any model folder."
        )
        return {
            "required": {"vae_name": model_choice("vae", tip), "dtype": DTYPE, "device": DEVICE},
            "optional": {"tiling": (list(vae.TILING), {"default": vae.AUTO, "tooltip": TILING_TIP})},  # appended later
        }

    def run(self, vae_name, dtype="auto", device="auto", tiling=vae.AUTO):
        more = {"tell": runtime.notice, "scratch": runtime.temp_dir(), "alive": runtime.check_interrupted}
        return (vae.VAE(resolve("vae", vae_name, roots()), dtype, device, tiling, **more),)


class SpacetimeLoadTextEncoder:
    TITLE = "Load Text Encoder"
    CATEGORY = "Spacetime/load"
    DESCRIPTION = "Reads prompts. It has to be the one the DiT was trained with."
    RETURN_TYPES = ("SPACETIME_TEXT_ENCODER",)
    RETURN_NAMES = ("text_encoder",)
    OUTPUT_TOOLTIPS = ("The text encoder and its tokenizer, for Encode Prompt.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        tip = (
            "pocket is built in. Others: single files and transformers folders in models/text_encoders, pipelines in "
            "any model folder."
        )
        return {
            "required": {
                "text_encoder_name": model_choice("text_encoders", tip),
                "dtype": DTYPE,
                "device": DEVICE,
            },
            "optional": {  # appended later
                "after_encoding": (list(text_encoder.AFTERWARDS), {"default": text_encoder.AUTO, "tooltip": AFTER_TIP})
            },
        }

    def run(self, text_encoder_name, dtype="auto", device="auto", after_encoding=text_encoder.AUTO):
        path = resolve("text_encoders", text_encoder_name, roots())
        encoder = text_encoder.TextEncoder(path, dtype, device, after_encoding)
        encoder.ensure_tokenizers()  # not only when all else is loaded
        return (encoder,)

    def plan(self, text_encoder_name, dtype="auto", device="auto", after_encoding=text_encoder.AUTO):
        (encoder,) = self.run(text_encoder_name, dtype, device, after_encoding)
        size = encoder.weight_bytes
        report = {"weights": readable(size), "after encoding": encoder.afterwards, "weights_bytes": size}
        return {"result": (encoder,), "report": report}


NODES = [SpacetimeLoadDiT, SpacetimeLoadVAE, SpacetimeLoadTextEncoder]
