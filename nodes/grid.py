"""The grid: how large and how long, with nothing known yet."""

from math import prod

from ..model_loaders.component import check_pair
from ..model_loaders.devices import gpu_bytes, one_memory, value_bytes
from ..spacetime import cost
from ..spacetime.grid import ASPECTS, CUSTOM, Admits, plan
from ..spacetime.windows import choose
from . import runtime

MAX_SIDE = 16384


class SpacetimeGrid:
    TITLE = "Spacetime Grid"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "An empty video to fill: a grid of latent cells in space and time. Snaps to what the model and its VAE admit, "
        "and says what it snapped, how many tokens that makes and how much memory they take. One frame is an image."
    )
    RETURN_TYPES = ("LATENT", "INT", "INT", "INT")
    RETURN_NAMES = ("latent", "width", "height", "frames")
    OUTPUT_TOOLTIPS = (
        "The empty grid, for the sampler.",
        "Width in pixels, snapped.",
        "Height in pixels, snapped.",
        "Number of frames, snapped.",
    )
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "dit": ("SPACETIME_DIT", {"tooltip": "From Load DiT: how it cuts the grid into tokens."}),
                "vae": (
                    "SPACETIME_VAE",
                    {"tooltip": "From Load VAE: how many pixels and frames one latent cell holds."},
                ),
                "aspect": (
                    [*ASPECTS, CUSTOM],
                    {"default": "1:1", "tooltip": "Width to height. custom takes width and height below."},
                ),
                "size": (
                    "INT",
                    {
                        "default": 64,
                        "min": 16,
                        "max": MAX_SIDE,
                        "step": 8,
                        "tooltip": "The short side in pixels. pocket: 48 to 128. Wan: 480, 720.",
                    },
                ),
                "width": (
                    "INT",
                    {
                        "default": 64,
                        "min": 16,
                        "max": MAX_SIDE,
                        "step": 8,
                        "tooltip": "Width in pixels, with aspect custom.",
                    },
                ),
                "height": (
                    "INT",
                    {
                        "default": 64,
                        "min": 16,
                        "max": MAX_SIDE,
                        "step": 8,
                        "tooltip": "Height in pixels, with aspect custom.",
                    },
                ),
                "seconds": (
                    "FLOAT",
                    {
                        "default": 2.0,
                        "min": 0.0,
                        "max": 600.0,
                        "step": 0.1,
                        "tooltip": "Length. Used while frames is 0.",
                    },
                ),
                "fps": (
                    "FLOAT",
                    {
                        "default": 8.0,
                        "min": 0.1,
                        "max": 240.0,
                        "step": 0.1,
                        "round": 0.001,
                        "tooltip": "Frames per second. pocket was trained at 8, Wan at 16 or 24.",
                    },
                ),
                "frames": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 16384,
                        "tooltip": "Exact number of frames; 1 makes an image; 0 takes seconds × fps.",
                    },
                ),
                "batch_size": (
                    "INT",
                    {"default": 1, "min": 1, "max": 64, "tooltip": "How many videos at once, each from its own noise."},
                ),
            }
        }

    def run(self, dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size=1):
        from ..spacetime.canvas import empty
        from .footage import encoder_of

        grid, report = self._plan(dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size)
        for line in grid.snapped:
            runtime.notice(line)
        size = f"{grid.width}×{grid.height}, {grid.frames} frames, {grid.seconds:.2f} s"
        text = f"{size}\n{grid.tokens:,} tokens, about {report['memory']}"
        latent = {**empty(grid), "encoder": encoder_of(vae)}  # some models see even an empty canvas as pixels
        return runtime.shown("\n".join([text, *grid.snapped]), latent, grid.width, grid.height, grid.frames)

    def plan(self, dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size=1):
        if dit is None or vae is None:  # from a node that only the run itself can tell about
            return (None,) * len(self.RETURN_TYPES)
        grid, report = self._plan(dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size)
        latent = {key: report[key] for key in ("shape", "frames", "width", "height", "fps", "tokens")}
        latent["vae"] = vae
        return {"result": (latent, grid.width, grid.height, grid.frames), "report": report}

    def _plan(self, dit, vae, aspect, size, width, height, seconds, fps, frames, batch_size):
        model, autoencoder = dit.config, vae.config
        check_pair(dit, vae.identity)
        if model.channels != autoencoder.channels:
            raise ValueError(
                f"this DiT denoises {model.channels} channels, the VAE has {autoencoder.channels}: load the DiT's own"
            )
        admits = Admits(
            autoencoder.channels, autoencoder.time_factor, autoencoder.space_factor, model.patch, model.max_cells
        )
        grid = plan(
            admits,
            aspect=aspect,
            size=size,
            width=width,
            height=height,
            seconds=seconds,
            fps=fps,
            frames=frames,
            batch_size=batch_size,
        )
        value, precise = (value_bytes(one.dtype, one.device, one.precise) for one in (dit, vae))
        seen = choose(grid.shape[2:], model.trained_cells, model.patch, model.per_token_time, order=model.order)
        tokens = int(seen.tokens(grid.shape[2:], model.patch) * (1 + model.past))
        sampling = cost.sampling_bytes(grid.shape, tokens, model.width, model.ffn, value, model.per_token_time)
        decoding = vae.planned_bytes(grid.height, grid.width, grid.frames)
        what = f"{grid.width}×{grid.height}×{grid.frames}"
        cost.refuse_if_impossible(2 * 4 * prod(grid.shape), what)  # the canvas and its noise, wherever it is sampled
        for one, count in ((dit, sampling), (vae, decoding)):
            cost.refuse_if_impossible(count, what, 0 if one_memory(one.device) else gpu_bytes())
        weights = dit.weight_bytes + vae.weight_bytes
        needed = weights + max(sampling, decoding)
        report = {
            **{"width": grid.width, "height": grid.height, "frames": grid.frames},
            **{"fps": grid.fps, "seconds": grid.seconds, "shape": list(grid.shape), "tokens": grid.tokens},
            **{"snapped": list(grid.snapped), "memory": cost.readable(needed), "memory_bytes": needed},
            "seen in": seen.described(grid.shape[2:]),
            **{"weights_bytes": weights, "sampling_bytes": sampling, "decoding_bytes": decoding},
        }
        return grid, report


NODES = [SpacetimeGrid]
