"""Tiny models of every architecture with random weights, as diffusers' pipelines: name → a function that makes one."""

from . import (  # noqa: F401 (each brings its models)
    cogvideox,
    cosmos,
    easyanimate,
    hunyuan_video,
    hunyuan_video15,
    latte,
    ltx,
    ltx2,
    mochi,
    sana_video,
    wan,
)
from .registry import MODELS

__all__ = ["MODELS"]
