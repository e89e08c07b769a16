"""The three loaders. They return at once; weights are read when a node first needs them."""

from ..model_loaders.folders import CHECKPOINTS, SUBFOLDERS, choices, resolve
from ..model_loaders.weights import DEVICES, DTYPES
from . import runtime

DTYPE = (
    list(DTYPES),
    {
        "default": "auto",
        "tooltip": "Number format of the weights. auto: float32 on a CPU, bfloat16 on a GPU (a VAE stays float32).",
    },
)
DEVICE = (list(DEVICES), {"default": "auto", "tooltip": "Where it runs. auto: CUDA, else Apple's MPS, else the CPU."})


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
    DRY_RUN = "run"

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
            }
        }

    def run(self, model_name, dtype="auto", device="auto"):
        from ..model_loaders.dit import DiT

        return (DiT(resolve("diffusion_models", model_name, roots()), dtype, device),)


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
        }

    def run(self, vae_name, dtype="auto", device="auto"):
        from ..model_loaders.vae import VAE

        return (VAE(resolve("vae", vae_name, roots()), dtype, device),)


class SpacetimeLoadTextEncoder:
    TITLE = "Load Text Encoder"
    CATEGORY = "Spacetime/load"
    DESCRIPTION = "Reads prompts. It has to be the one the DiT was trained with."
    RETURN_TYPES = ("SPACETIME_TEXT_ENCODER",)
    RETURN_NAMES = ("text_encoder",)
    OUTPUT_TOOLTIPS = ("The text encoder and its tokenizer, for Encode Prompt.",)
    FUNCTION = "run"
    DRY_RUN = "run"

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
            }
        }

    def run(self, text_encoder_name, dtype="auto", device="auto"):
        from ..model_loaders.text_encoder import TextEncoder

        return (TextEncoder(resolve("text_encoders", text_encoder_name, roots()), dtype, device),)


NODES = [SpacetimeLoadDiT, SpacetimeLoadVAE, SpacetimeLoadTextEncoder]
