"""Spacetime: Sora's verbs as nodes, for every open video diffusion transformer.

This folder is the package: ComfyUI loads it from `custom_nodes/`, pip installs it as `spacetime_nodes`.
Nothing here imports torch; the nodes do, when they first run.
"""

WEB_DIRECTORY = "./web"

if __package__:  # pytest may import this file as a plain module of its root folder, where relative imports can't work
    from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

    __all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]
