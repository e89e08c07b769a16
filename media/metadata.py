"""The graph that a saved file carries. Needs neither torch nor the frames."""

import json
import os

KEYS = ("workflow", "prompt")


def read_graph(path: str | os.PathLike) -> dict:
    """{"workflow": …, "prompt": …} as parsed JSON, each only where the file has it."""
    from .sniff import IMAGES, local_file, sniff

    path = local_file(path)
    kind = sniff(path)
    texts = {key.lower(): text for key, text in (_image_texts if kind in IMAGES else _stream_texts)(path, kind).items()}
    found = {key: _parse(texts[key], key, path) for key in KEYS if key in texts}
    if not found and "comment" in texts:  # our gif, and Video Helper Suite's files, hold both in one comment
        try:
            both = json.loads(texts["comment"])
        except ValueError:
            return {}
        if isinstance(both, dict):
            found = {
                key: _parse(both[key], key, path) if isinstance(both[key], str) else both[key]
                for key in KEYS
                if both.get(key)
            }
    return found


def _parse(text: str, key: str, path) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the {key} stored in {path.name} is no valid JSON ({error})") from error


def _stream_texts(path, kind: str) -> dict[str, str]:
    from .read import open_container

    with open_container(path, kind) as container:
        return dict(container.metadata)


def _image_texts(path, kind: str) -> dict[str, str]:
    from PIL import Image

    from .sniff import MediaError

    try:
        with Image.open(path, formats=[kind.upper()]) as image:
            texts = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
            if isinstance(image.info.get("comment"), bytes):
                texts["comment"] = image.info["comment"].decode(errors="replace")
            for value in image.getexif().values():  # "workflow:{…}", as ComfyUI writes webp
                if isinstance(value, str) and ":" in value:
                    name, _, text = value.partition(":")
                    texts[name] = text.rstrip("\0")
            return texts
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"{path.name} is damaged ({str(error).splitlines()[0]})") from error
