"""What a video can be saved as. Pure Python: the save node lists it before any codec is loaded."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One choice of the save node."""

    suffix: str
    container: str | None = None
    codec: str | None = None
    pix_fmt: str = "yuv420p"
    audio: str | None = None


FORMATS = {
    "mp4 (H.264)": Format(".mp4", "mp4", "libx264", audio="aac"),
    "webm (VP9)": Format(".webm", "webm", "libvpx-vp9", audio="libopus"),
    "webm (AV1)": Format(".webm", "webm", "libsvtav1", "yuv420p10le", audio="libopus"),
    "gif": Format(".gif", "gif", "gif", "pal8"),
    "webp": Format(".webp", "webp", "libwebp_anim", "bgra"),
    "png sequence": Format(""),
}
PNG = Format(".png")


def codec_options(format: str, quality: int) -> dict[str, str]:
    """Quality 0–100 in the codec's own measure; 80 is hard to tell from the source, 50 is a small file."""
    quality = min(max(int(quality), 0), 100)
    return {
        # mbtree: x264 looks at memory it never wrote there, so the same frames would give different files
        "mp4 (H.264)": {"crf": f"{45 - 0.35 * quality:.0f}", "preset": "medium", "mbtree": "0"},
        "webm (VP9)": {"crf": f"{60 - 0.47 * quality:.0f}", "b": "0", "cpu-used": "3", "row-mt": "1"},
        "webm (AV1)": {"crf": f"{60 - 0.47 * quality:.0f}", "preset": "7"},
        "gif": {"max_colors": f"{16 + 240 * quality // 100}"},  # an option of its palette
        "webp": {"quality": str(quality), "compression_level": "4"},
    }[format]
