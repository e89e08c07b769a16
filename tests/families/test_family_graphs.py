"""The graphs of workflows/ that need a downloaded model run with tiny ones of the same names, in the same places; and a
single file gives the video that the diffusers folder of the same weights gives."""

import json
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from bench import picture
from clips import video_of
from safetensors.torch import save_file
from spacetime_nodes.host.cli import main
from spacetime_nodes.media.read import open_video
from spacetime_nodes.model_loaders.checkpoint import read_json
from spacetime_nodes.model_loaders.single_file import CONFIGS
from spacetime_nodes.model_loaders.tokenizers import in_folder
from tiny import MODELS
from tiny_files import TINY, TINY_VAES, make, random_state, save_single, spiece

WORKFLOWS = Path(__file__).parents[2] / "workflows"
POCKETS = ("pocket (built in)",)
# what the graphs call a folder → the tiny model that stands for it
FOLDERS = {
    "LTX-Video-0.9.5": "LTX-0.9.5", "CogVideoX-2b": "CogVideoX-2B", "CogVideoX-5b-I2V": "CogVideoX-5B-I2V",
    "HunyuanVideo": "HunyuanVideo", "HunyuanVideo-I2V": "HunyuanVideo-I2V",
}  # fmt: skip
UMT5 = {"d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 96}
# what the graphs call the files → whose they are
WAN_FILES = {
    "wan2.1_t2v_1.3B_bf16": ("wan-2.1-t2v-1.3b", "wan_2.1_vae", "wan-2.1-vae"),
    "wan2.2_ti2v_5B_fp16": ("wan-2.2-ti2v-5b", "wan2.2_vae", "wan-2.2-ti2v-5b"),
}
SMALL = {"SpacetimeGrid": {"size": 32, "seconds": 1.0, "fps": 8.0}, "SpacetimeSample": {"steps": 2}}
LOADERS = {
    "SpacetimeLoadDiT": "model_name", "SpacetimeLoadVAE": "vae_name", "SpacetimeLoadTextEncoder": "text_encoder_name",
}  # fmt: skip


def graphs_of_families():
    for path in sorted(WORKFLOWS.glob("*.json")):
        nodes = json.loads(path.read_text())["nodes"]
        names = {node["widgets_values"][0] for node in nodes if node["type"] in LOADERS}
        if not names <= set(POCKETS):
            yield path.stem


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A user's folder with a picture, a clip and every model that the graphs name."""
    base = tmp_path_factory.mktemp("base")
    models = base / "models"
    (base / "input").mkdir()
    picture(64, 48)[0].save(base / "input" / "example.png")
    video_of(17, 48)[0].save_to(base / "input" / "clip.mp4")
    for folder, name in FOLDERS.items():
        MODELS[name]().save_pretrained(models / "diffusion_models" / folder)
    umt5 = umt5_file(models / "text_encoders" / "umt5_xxl_fp16.safetensors")
    for dit, (config, vae, vae_config) in WAN_FILES.items():
        parts = {
            "transformer": random_module(config, "transformer", TINY["wan-2.1-t2v-1.3b"]),
            "vae": random_module(vae_config, "vae", TINY_VAES[vae_config]),
        }
        for part, name, whose, shelf in (
            ("transformer", dit, config, "diffusion_models"),
            ("vae", vae, vae_config, "vae"),
        ):
            path = models / shelf / f"{name}.safetensors"
            save_single(path, whose, part, parts[part].state_dict(), dict(parts[part].config))
        told = read_json(CONFIGS / config / "model_index.json")
        settings = read_json(CONFIGS / config / "scheduler" / "scheduler_config.json")
        diffusers.WanPipeline(
            **parts, **umt5, scheduler=getattr(diffusers, settings["_class_name"]).from_config(settings),
            expand_timesteps=told.get("expand_timesteps", False),
        ).save_pretrained(models / "diffusion_models" / f"{dit} folder")  # fmt: skip
    return base


def random_module(name, part, changes):
    module = make({**read_json(CONFIGS / name / part / "config.json"), **changes}, "cpu")
    module.load_state_dict({key: 0.2 * value for key, value in random_state(module).items()})
    return module


def umt5_file(path):
    """ComfyUI's UMT5, tokenizer and all; and the same as a pipeline's parts."""
    config = {**read_json(CONFIGS / "umt5-xxl" / "text_encoder" / "config.json"), **UMT5}
    torch.manual_seed(0)
    encoder = transformers.UMT5EncoderModel(transformers.UMT5Config.from_dict(config)).eval()
    state = {key: value.clone() for key, value in encoder.state_dict().items() if key != "encoder.embed_tokens.weight"}
    path.parent.mkdir(parents=True)
    save_file({**state, "spiece_model": torch.frombuffer(bytearray(spiece()), dtype=torch.uint8)}, path)
    path.with_suffix(".json").write_text(json.dumps(config))
    (path.parent / "spiece.model").write_bytes(spiece())
    tokenizer = in_folder(path.parent)
    (path.parent / "spiece.model").unlink()
    return {"text_encoder": encoder, "tokenizer": tokenizer}


@pytest.fixture
def run(place, tmp_path, capsys):
    """`run(graph, **settings)` → the frames [F, height, width, 3] in 0..255 of its one video, and what was said."""

    def call(name, **settings):
        small = {**SMALL, **settings}
        if "cogvideox" in name:  # made for one size
            small["SpacetimeGrid"] = {"width": 48, "height": 32, "seconds": 1.0}
        given = [f"--set={node}.{key}={value}" for node, one in small.items() for key, value in one.items()]
        more = [f"--base={place}", f"--out={tmp_path}", "--json"]
        code = main(["run", str(WORKFLOWS / f"{name}.json"), *given, *more])
        out, err = capsys.readouterr()
        assert code == 0, err
        (output,) = [one for one in json.loads(out.splitlines()[-1])["outputs"] if one["folder"] != "temp"]
        frames = torch.cat([torch.from_numpy(frame) for frame in open_video(output["path"]).frames()])
        return frames.float(), err

    return call


def test_every_family_has_its_three_graphs():
    verbs = ("text_to_video", "image_to_video", "extend")
    families = ("wan", "ltx", "hunyuan_video", "cogvideox")
    assert sorted(graphs_of_families()) == sorted(f"{family}_{verb}" for family in families for verb in verbs)


@pytest.mark.parametrize("name", graphs_of_families())
def test_the_graph_runs_with_its_model(run, place, name):
    more = {"SpacetimeExtend": {"seconds": 1.0}} if name.endswith("extend") else {}
    frames, _ = run(name, **more)
    if name.endswith("extend"):
        source = torch.cat([torch.from_numpy(frame) for frame in open_video(place / "input" / "clip.mp4").frames()])
        assert len(frames) > len(source) and frames.shape[1] >= 32
    else:
        assert len(frames) in (9, 13) and frames.shape[1] >= 32  # what a second snaps to


@pytest.mark.parametrize("dit", WAN_FILES)
def test_a_single_file_gives_the_video_of_its_folder(run, dit):
    graph, (_, vae, _) = "wan_text_to_video", WAN_FILES[dit]
    names = {"SpacetimeLoadTextEncoder": "umt5_xxl_fp16.safetensors", "SpacetimeLoadVAE": f"{vae}.safetensors",
             "SpacetimeLoadDiT": f"{dit}.safetensors"}  # fmt: skip
    files, _ = run(graph, **{node: {LOADERS[node]: name} for node, name in names.items()})
    folder, _ = run(graph, **{node: {LOADERS[node]: f"{dit} folder"} for node in LOADERS})
    assert torch.equal(files, folder)
