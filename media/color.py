"""Colour: between RGB pictures and the YUV that video files hold, with every matrix and range said aloud.

libswscale's default matrix is BT.601 and its default range a guess; leaving either to chance shifts the colours at
each load and save. What we write is BT.709, limited range, tagged so; what we read is converted as it is tagged, and
untagged files as players show them (BT.709 from 720 lines up, else BT.601).
"""

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

# AVCOL_* numbers of ITU-T H.273
BT709, UNSPECIFIED = 1, 2
BT2020_PRIMARIES, PQ, HLG = 9, 16, 18
LIMITED, FULL = 1, 2

_MATRICES = {  # H.273 matrix coefficients → swscale's tables
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: 9,  # BT.2020, a name only newer PyAV has
    10: 9,
}
# Bicubic, accurate rounding, full horizontal chroma in and out. swscale's fast path darkens by 1/255 a generation.
# As a number: PyAV names these flags only since 18.
_EXACT = 0x4 | 0x40000 | 0x2000 | 0x4000


def to_yuv(picture: np.ndarray, pix_fmt: str) -> av.VideoFrame:
    """uint8 RGB [height, width, 3] → a BT.709 limited-range frame."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
        format=pix_fmt,
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=_EXACT,
    )
    frame.colorspace, frame.color_range = BT709, LIMITED
    return frame


def tag(codec_context) -> None:
    """Say in the stream what `to_yuv` made of the pixels."""
    codec_context.colorspace = BT709
    codec_context.color_primaries = BT709
    codec_context.color_trc = BT709
    codec_context.color_range = LIMITED


def is_hdr(codec_context) -> bool:
    return int(codec_context.color_trc) in (PQ, HLG)


def to_rgb(frame: av.VideoFrame, hdr_transfer: int | None = None) -> np.ndarray:
    """A decoded frame → uint8 RGB [height, width, 3]; HDR is brought to BT.709 brightness and gamut."""
    if frame.format.is_rgb or frame.format.name.startswith(("gray", "pal8", "mono", "ya")):
        return _over_black(frame)
    matrix = _MATRICES.get(int(frame.colorspace)) or (Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601)
    full = int(frame.color_range) == FULL or frame.format.name.startswith("yuvj")
    rgb = frame.reformat(
        format="rgb48le" if hdr_transfer else "rgb24",
        src_colorspace=matrix,
        dst_colorspace=matrix,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_EXACT,
    ).to_ndarray()
    return tone_map(rgb, hdr_transfer) if hdr_transfer else rgb


def _over_black(frame: av.VideoFrame) -> np.ndarray:
    """Transparent pixels of a gif, png or webp stand on black, as they do in a player."""
    rgba = frame.reformat(format="rgba").to_ndarray().astype(np.uint16)
    return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)


_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
_REFERENCE_WHITE, _PEAK = 203.0, 1000.0  # cd/m², ITU-R BT.2408: graphics white, and the mastering peak we assume


def tone_map(rgb: np.ndarray, transfer: int) -> np.ndarray:
    """uint16 BT.2020 PQ or HLG → uint8 BT.709: light above reference white rolls off (Reinhard et al. 2002, eq. 4)."""
    signal = rgb.astype(np.float32) / 65535
    if transfer == PQ:  # SMPTE ST 2084
        m1, m2, c1, c2, c3 = 0.1593017578, 78.84375, 0.8359375, 18.8515625, 18.6875
        power = signal ** (1 / m2)
        light = 10000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    else:  # ARIB STD-B67, inverse OETF and the system gamma of a 1000 cd/m² display
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        luminance = scene @ np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
        light = _PEAK * scene * np.maximum(luminance, 1e-6)[..., None] ** 0.2
    light = np.maximum((light / _REFERENCE_WHITE) @ _BT2020_TO_BT709.T, 0)
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    white = _PEAK / _REFERENCE_WHITE
    mapped = np.where(brightest > 0, brightest * (1 + brightest / white**2) / (1 + brightest), 0)
    sdr = np.clip(light * mapped / brightest, 0, 1)
    return (255 * sdr ** (1 / 2.4) + 0.5).astype(np.uint8)
