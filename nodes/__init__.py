"""The shelves of the menu. Each file lists its own nodes in `NODES`; this one puts the shelves together."""

from importlib import import_module

SHELVES = (
    *("load", "lora", "prompt", "grid", "canvas", "follow", "recut", "upsample", "story"),
    *("sample", "decode", "media", "inspect", "plan"),
)

NODES = [node for shelf in SHELVES for node in import_module(f".{shelf}", __name__).NODES]
NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {node.__name__: node.TITLE for node in NODES}
