"""The shelf of files: what the graph made is saved, whole, with the graph inside."""

from ..media.formats import FORMATS


class SpacetimeSaveVideo:
    TITLE = "Save Video (Spacetime)"
    CATEGORY = "Spacetime/media"
    DESCRIPTION = (
        "Saves a video into the output folder while it is still being decoded, so its length never fills the memory. "
        "The graph is stored in the file: drop it into the editor, or give it to `spacetime run`, to get it back. "
        "A video of one frame becomes a PNG."
    )
    FUNCTION = "run"
    DRY_RUN = "plan"
    OUTPUT_NODE = True
    RETURN_TYPES = ()
    OUTPUT_TOOLTIPS = ()

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "video": ("VIDEO", {"tooltip": "The video to save. Any VIDEO will do, also one from another pack."}),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "spacetime/clip",
                        "tooltip": "Folder and name inside the output folder; a number is added. May hold %width%, "
                        "%height%, %date:yyyy-MM-dd% and %SpacetimeSample.seed% (node class or title, dot, input).",
                    },
                ),
                "format": (
                    list(FORMATS),
                    {
                        "default": next(iter(FORMATS)),
                        "tooltip": "mp4 plays everywhere; VP9 and AV1 are smaller and slower to make; gif and webp "
                        "loop in a web page; png sequence is lossless, one file per frame.",
                    },
                ),
                "quality": (
                    "INT",
                    {
                        "default": 80,
                        "min": 0,
                        "max": 100,
                        "step": 1,
                        "display": "slider",
                        "tooltip": "100 is the best picture and the largest file; at 80 it is hard to tell from the "
                        "original. A png sequence is always lossless.",
                    },
                ),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def plan(self, video, filename_prefix, format, quality, prompt=None, extra_pnginfo=None):
        from ..media import names

        names.check_prefix(filename_prefix, prompt)
        return {}

    def run(self, video, filename_prefix, format, quality, prompt=None, extra_pnginfo=None):
        from ..media import names, write
        from ..media.video import as_stream
        from .runtime import SEQUENCE, notice, output_dir, progress

        if format not in FORMATS:
            raise ValueError(f"format {format!r} isn't one of {', '.join(FORMATS)}")
        video = as_stream(video)
        width, height = video.get_dimensions()
        subfolder, stem = names.split_prefix(names.fill_tokens(filename_prefix, width, height, prompt))
        output = output_dir()
        frame_count = video.get_frame_count()
        bar = progress(frame_count)
        path = write.save_numbered(
            output / subfolder,
            stem,
            video.frames(),
            width=width,
            height=height,
            fps=video.get_frame_rate(),
            frame_count=frame_count,
            format=format,
            quality=quality,
            metadata=graph_metadata(prompt, extra_pnginfo),
            audio=video.get_audio(),
            on_frame=bar.update,
            notice=notice,
        )
        ui = {}
        if path.is_dir():
            subfolder = "/".join(filter(None, (subfolder, path.name)))
            frames = sorted(one.name for one in path.iterdir())
            ui["text"] = [f"{len(frames)} frames in {path}"]
            # for programs; an editor would draw them all
            ui[SEQUENCE] = [{"filename": one, "subfolder": subfolder, "type": "output"} for one in frames[1:]]
            path = path / frames[0]
        ui["images"] = [{"filename": path.name, "subfolder": subfolder, "type": "output"}]
        if path.suffix in (".mp4", ".webm"):
            ui["animated"] = [True]
        return {"ui": ui}


def graph_metadata(prompt: dict | None, extra_pnginfo: dict | None) -> dict:
    """What ComfyUI embeds in its own files, unless the user has told it not to."""
    import sys

    cli_args = sys.modules.get("comfy.cli_args")
    if cli_args is not None and cli_args.args.disable_metadata:
        return {}
    return {**(extra_pnginfo or {}), **({"prompt": prompt} if prompt is not None else {})}


NODES = [SpacetimeSaveVideo]
