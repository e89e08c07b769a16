"""The few nodes of ComfyUI itself that shared graphs rely on, under their own names and with their own inputs.

They exist only where ComfyUI doesn't: `spacetime run` knows them, the package never registers them.
"""

import sys
from pathlib import Path

from ..nodes import runtime
from ..nodes.media import graph_metadata

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tiff"}
VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp"}


def input_files(suffixes: set[str]) -> list[str]:
    folder = runtime.input_dir()
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file())


def annotated(name: str) -> Path:
    """'clip.png', 'clip.png [output]' or 'clip.png [temp]' → the file, which must lie in that folder."""
    folders = {"[output]": runtime.output_dir, "[temp]": runtime.temp_dir, "[input]": runtime.input_dir}
    mark = next((mark for mark in folders if name.endswith(mark)), "[input]")
    return runtime.file_in(folders[mark](), name.removesuffix(mark).strip())


def modified(name: str) -> list:
    facts = annotated(name).stat()
    return [facts.st_mtime_ns, facts.st_size]


class LoadImage:
    TITLE = "Load Image"
    CATEGORY = "image"
    DESCRIPTION = "A picture from the input folder: its pixels, and its transparency as a mask."
    RETURN_TYPES = ("IMAGE", "MASK")
    OUTPUT_TOOLTIPS = ("The picture; every frame of an animated one.", "1 where it is transparent.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "A file in the input folder."
        return {"required": {"image": (input_files(IMAGE_SUFFIXES), {"image_upload": True, "tooltip": tip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, image):
        return image is None or bool(annotated(image))

    @classmethod
    def IS_CHANGED(cls, image):
        return modified(image)

    def run(self, image):
        import numpy as np
        import torch
        from PIL import Image, ImageOps, ImageSequence

        images, masks, size = [], [], None
        with Image.open(annotated(image), formats=("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")) as file:
            for frame in ImageSequence.Iterator(file):
                frame = ImageOps.exif_transpose(frame)
                if size is not None and frame.size != size:
                    continue
                size = frame.size
                if frame.mode.startswith("I"):  # 16-bit gray
                    frame = Image.fromarray((np.asarray(frame) / 257).round().astype(np.uint8))
                rgba = np.asarray(frame.convert("RGBA"), dtype=np.float32) / 255
                images.append(torch.from_numpy(rgba[..., :3].copy()))
                transparent = "A" in frame.getbands() or "transparency" in frame.info
                masks.append(torch.from_numpy(1 - rgba[..., 3]) if transparent else torch.zeros(64, 64))
        return (torch.stack(images), torch.stack(masks))


class SaveImage:
    TITLE = "Save Image"
    CATEGORY = "image"
    DESCRIPTION = "Saves pictures as PNG into the output folder, with the graph inside."
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    DRY_RUN = "plan"
    FOLDER = "output"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The pictures to save."}),
                "filename_prefix": (
                    "STRING",
                    {"default": "ComfyUI", "tooltip": "Folder and beginning of the name, inside the output folder."},
                ),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def plan(self, images=None, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None):
        from ..media import names

        names.check_prefix(filename_prefix, prompt)
        return {}

    def run(self, images, filename_prefix="ComfyUI", prompt=None, extra_pnginfo=None):
        from ..media import names, write

        root = runtime.output_dir() if self.FOLDER == "output" else runtime.temp_dir()
        height, width = images.shape[1:3]
        prefix = names.fill_tokens(filename_prefix, width, height, prompt)
        metadata = graph_metadata(prompt, extra_pnginfo)
        saved = []
        for number, image in enumerate(images):
            subfolder, stem = names.split_prefix(prefix.replace("%batch_num%", str(number)))
            path = write.save_numbered(
                root / subfolder,
                stem,
                [image[None]],
                width=width,
                height=height,
                fps=1,
                frame_count=1,
                metadata=metadata,
            )
            saved.append({"filename": path.name, "subfolder": subfolder, "type": self.FOLDER})
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    TITLE = "Preview Image"
    DESCRIPTION = "Shows pictures without keeping them."
    FOLDER = "temp"

    @classmethod
    def INPUT_TYPES(cls):
        types = super().INPUT_TYPES()
        return {"required": {"images": types["required"]["images"]}, "hidden": types["hidden"]}

    def run(self, images, prompt=None, extra_pnginfo=None):
        return super().run(images, runtime.SHOWN, prompt, extra_pnginfo)


class LoadVideo:
    TITLE = "Load Video"
    CATEGORY = "image/video"
    DESCRIPTION = "A video from the input folder, read frame by frame when it is needed."
    RETURN_TYPES = ("VIDEO",)
    OUTPUT_TOOLTIPS = ("The video.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "A file in the input folder."
        return {"required": {"file": (input_files(VIDEO_SUFFIXES), {"video_upload": True, "tooltip": tip})}}

    @classmethod
    def VALIDATE_INPUTS(cls, file):
        return file is None or bool(annotated(file))

    @classmethod
    def IS_CHANGED(cls, file):
        return modified(file)

    def run(self, file):
        from ..media.video import FileVideo

        return (FileVideo(annotated(file)),)


class SaveVideo:
    TITLE = "Save Video"
    CATEGORY = "image/video"
    DESCRIPTION = "Saves a video as mp4 into the output folder, with the graph inside."
    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "video": ("VIDEO", {"tooltip": "The video to save."}),
                "filename_prefix": (
                    "STRING",
                    {
                        "default": "video/ComfyUI",
                        "tooltip": "Folder and beginning of the name, inside the output folder.",
                    },
                ),
                "format": (["auto", "mp4"], {"default": "auto", "tooltip": "The container."}),
                "codec": (["auto", "h264"], {"default": "auto", "tooltip": "The codec."}),
            },
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    def plan(self, video=None, filename_prefix="", prompt=None, **others):
        from ..media import names

        names.check_prefix(filename_prefix, prompt)
        return {}

    def run(self, video, filename_prefix, format="auto", codec="auto", prompt=None, extra_pnginfo=None):
        from ..nodes.media import SpacetimeSaveVideo

        return SpacetimeSaveVideo().run(video, filename_prefix, "mp4 (H.264)", 80, prompt, extra_pnginfo)


class CreateVideo:
    TITLE = "Create Video"
    CATEGORY = "image/video"
    DESCRIPTION = "Pictures, one after another, as a video."
    RETURN_TYPES = ("VIDEO",)
    OUTPUT_TOOLTIPS = ("The video.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The frames."}),
                "fps": (
                    "FLOAT",
                    {"default": 30.0, "min": 1.0, "max": 120.0, "step": 1.0, "tooltip": "Frames per second."},
                ),
            },
            "optional": {"audio": ("AUDIO", {"tooltip": "Sound to go with it."})},
        }

    def run(self, images, fps, audio=None):
        from fractions import Fraction

        from ..media.video import StreamVideo

        count, height, width = images.shape[:3]
        pictures = images[..., :3]
        rate = Fraction(fps).limit_denominator(1001)
        return (
            StreamVideo(
                lambda: iter(pictures.split(1)), width=width, height=height, frame_count=count, fps=rate, audio=audio
            ),
        )


class GetVideoComponents:
    TITLE = "Get Video Components"
    CATEGORY = "image/video"
    DESCRIPTION = "A video's frames, sound and rate. All frames are in memory then."
    RETURN_TYPES = ("IMAGE", "AUDIO", "FLOAT")
    RETURN_NAMES = ("images", "audio", "fps")
    OUTPUT_TOOLTIPS = ("Every frame.", "The sound, if there is any.", "Frames per second.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"video": ("VIDEO", {"tooltip": "The video to take apart."})}}

    def run(self, video):
        parts = video.get_components()
        return (parts.images, parts.audio, float(parts.frame_rate))


class _Primitive:
    """A value as a node, so that several inputs can share it."""

    CATEGORY = "utils/primitive"
    DESCRIPTION = "A value that several inputs can share."
    OUTPUT_TOOLTIPS = ("The value.",)
    FUNCTION = "run"
    DRY_RUN = "run"
    OPTIONS: dict = {}

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": (cls.RETURN_TYPES[0], {"tooltip": "The value.", **cls.OPTIONS})}}

    def run(self, value):
        return (value,)


class PrimitiveInt(_Primitive):
    TITLE = "Int"
    RETURN_TYPES = ("INT",)
    OPTIONS = {"min": -sys.maxsize, "max": sys.maxsize, "control_after_generate": True}


class PrimitiveFloat(_Primitive):
    TITLE = "Float"
    RETURN_TYPES = ("FLOAT",)
    OPTIONS = {"min": -float(sys.maxsize), "max": float(sys.maxsize)}


class PrimitiveString(_Primitive):
    TITLE = "String"
    RETURN_TYPES = ("STRING",)


class PrimitiveStringMultiline(_Primitive):
    TITLE = "String (Multiline)"
    RETURN_TYPES = ("STRING",)
    OPTIONS = {"multiline": True}


class PrimitiveBoolean(_Primitive):
    TITLE = "Boolean"
    RETURN_TYPES = ("BOOLEAN",)


NODES = [
    LoadImage,
    SaveImage,
    PreviewImage,
    LoadVideo,
    SaveVideo,
    CreateVideo,
    GetVideoComponents,
    PrimitiveInt,
    PrimitiveFloat,
    PrimitiveString,
    PrimitiveStringMultiline,
    PrimitiveBoolean,
]
