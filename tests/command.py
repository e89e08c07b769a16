"""`spacetime …` as the tests call it: a graph to run, a process of its own, what it says."""

import os
import subprocess
import sys

POCKET, AUTO = "pocket (built in)", {"dtype": "auto", "device": "cpu"}


def t2v(steps=2, title="Make", **save):
    """Text to video with pocket, 48×48, 5 frames."""
    grid = {
        "aspect": "1:1",
        "size": 48,
        "width": 64,
        "height": 64,
        "seconds": 1,
        "fps": 8,
        "frames": 5,
        "batch_size": 1,
    }
    sampling = {"seed": 7, "steps": steps, "guidance": 4.0, "scheduler": "auto", "shift": 0.0, "denoise": 1.0}
    sampling |= {"guider": "cfg", "evaluation": "auto", "preview": True}
    links = {"dit": ["1", 0], "positive": ["4", 0], "negative": ["4", 1], "latent": ["5", 0]}
    saving = {"filename_prefix": "clip", "format": "mp4 (H.264)", "quality": 80, **save}
    nodes = {
        "1": ("SpacetimeLoadDiT", {"model_name": POCKET, **AUTO}),
        "2": ("SpacetimeLoadVAE", {"vae_name": POCKET, **AUTO}),
        "3": ("SpacetimeLoadTextEncoder", {"text_encoder_name": POCKET, **AUTO}),
        "4": ("SpacetimeEncodePrompt", {"text_encoder": ["3", 0], "positive": "red circle", "negative": ""}),
        "5": ("SpacetimeGrid", {"dit": ["1", 0], "vae": ["2", 0], **grid}),
        "6": ("SpacetimeSample", {**links, **sampling}),
        "7": ("SpacetimeDecode", {"vae": ["2", 0], "latent": ["6", 0], "fps": 0.0, "save_latent": False}),
        "8": ("SpacetimeSaveVideo", {"video": ["7", 0], **saving}),
    }
    prompt = {node_id: {"class_type": kind, "inputs": inputs} for node_id, (kind, inputs) in nodes.items()}
    prompt["6"]["_meta"] = {"title": title}
    return prompt


def child(*arguments, **options):
    """`spacetime …` as a process of its own."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    options["env"] = {**os.environ, "OMP_NUM_THREADS": "1", **options.get("env", {})}
    return subprocess.Popen([sys.executable, "-m", "spacetime_nodes.host.cli", *map(str, arguments)], **options)


def says_one_line(err, *words):
    *notes, line = err.splitlines()
    assert line.startswith("spacetime: ") and "Traceback" not in err, err
    for word in words:
        assert word in line


def one_line(error, *words):
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    for word in words:
        assert word in text, text
