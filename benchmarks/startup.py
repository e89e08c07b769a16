"""How long until something happens: `python -m benchmarks.startup`.

Times, each in fresh processes: importing the package and listing its nodes, a dry run, and a one-frame run until its
picture is saved. Prints the median and the fastest, beside an empty Python and `import torch` for scale.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from spacetime_nodes.host.graph import declared
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS

LINKS = {
    "grid": {"dit": "dit", "vae": "vae"},
    "sample": {"dit": "dit", "positive": "prompt", "negative": ("prompt", 1), "latent": "grid"},
    "prompt": {"text_encoder": "text_encoder"},
    "decode": {"vae": "vae", "latent": "sample"},
    "save": {"video": "decode"},
}
NODES = {
    "dit": ("SpacetimeLoadDiT", {}),
    "vae": ("SpacetimeLoadVAE", {}),
    "text_encoder": ("SpacetimeLoadTextEncoder", {}),
    "prompt": ("SpacetimeEncodePrompt", {"positive": "red circle"}),
    "grid": ("SpacetimeGrid", {"frames": 1}),
    "sample": ("SpacetimeSample", {"steps": 1, "guidance": 1.0}),
    "decode": ("SpacetimeDecode", {}),
    "save": ("SpacetimeSaveVideo", {}),
}


def one_frame() -> dict:
    """Text to image with every value its default but steps and frames."""
    prompt = {}
    for node_id, (kind, values) in NODES.items():
        inputs = {one.name: one.default for one in declared(NODE_CLASS_MAPPINGS[kind]).values() if one.is_widget}
        links = LINKS.get(node_id, {})
        inputs |= {name: list(link) if isinstance(link, tuple) else [link, 0] for name, link in links.items()}
        prompt[node_id] = {"class_type": kind, "inputs": inputs | values}
    return prompt


def seconds(command: list[str], folder: str) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return time.perf_counter() - started


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--repeats", type=int, default=5)
    repeats = arguments.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        graph = str(Path(folder, "graph.json"))
        Path(graph).write_text(json.dumps(one_frame()))
        spacetime = [sys.executable, "-m", "spacetime_nodes.host.cli"]
        commands = {
            "empty Python": [sys.executable, "-c", ""],
            "import and list the nodes": [sys.executable, "-c", "import spacetime_nodes as s; s.NODE_CLASS_MAPPINGS"],
            "spacetime nodes": [*spacetime, "nodes"],
            "spacetime run --dry-run": [*spacetime, "run", graph, "--dry-run"],
            "import torch": [sys.executable, "-c", "import torch"],
            "spacetime run, first frame saved": [*spacetime, "run", graph],
        }
        times = {name: [] for name in commands}
        for _ in range(repeats):  # in turn, so that a busy moment doesn't fall on one of them
            for name, command in commands.items():
                times[name].append(seconds(command, folder))
    print(f"{'':34}median   fastest of {repeats}")
    for name, measured in times.items():
        print(f"{name:34}{statistics.median(measured):5.2f} s  {min(measured):5.2f} s")


if __name__ == "__main__":
    main()
