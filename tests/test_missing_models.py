"""`spacetime check` and `plan` on a graph whose models are missing: where they belong, what is there of their kind."""

import json
import shutil
from pathlib import Path

import pytest
from headers import write_header
from spacetime_nodes.host.cli import main
from spacetime_nodes.model_loaders.folders import POCKET_FOLDER

WORKFLOWS = Path(__file__).parents[1] / "workflows"
WAN = {"head.modulation": (2,), "blocks.0.self_attn.norm_q.weight": (1536,)}
WAN["patch_embedding.weight"] = (1536, 16, 1, 2, 2)
WAN_VAE = {"decoder.middle.0.residual.0.gamma": (384,), "conv2.weight": (16, 16, 1, 1, 1)}
WAN_22_VAE = {"decoder.middle.0.residual.0.gamma": (1024,), "conv2.weight": (48, 48, 1, 1, 1)}
NAMED = ("diffusion_models/wan2.1_t2v_1.3B_bf16", "vae/wan_2.1_vae", "text_encoders/umt5_xxl_fp16")  # by the Wan graph


@pytest.fixture
def place(tmp_path):
    for kind in ("diffusion_models", "vae", "text_encoders"):
        (tmp_path / "models" / kind).mkdir(parents=True)
    return tmp_path / "models"


@pytest.fixture
def checked(place, capsys):
    def run(graph, verb="check"):
        assert main([verb, str(WORKFLOWS / f"{graph}.json"), "--base", str(place.parent)]) == 4
        said = capsys.readouterr()
        return sorted((said.out or said.err.removeprefix("spacetime: ")).splitlines())

    return run


def missing(node, name, place):
    return f"{node}_name is {name}, which isn't there (it belongs in {place})"


def test_a_file_that_is_missing_is_told_with_its_place_and_nothing_else(checked, place):
    lines = checked("wan_text_to_video")
    assert len(lines) == 3
    for line, loader, named in zip(lines, ("model", "text_encoder", "vae"), sorted(NAMED), strict=True):
        folder, _, stem = named.partition("/")
        assert line.endswith(f"): {missing(loader, stem + '.safetensors', place / folder)}"), line
    (line,) = checked("wan_text_to_video", "plan")
    assert "pocket" not in line and line.endswith(missing("vae", "wan_2.1_vae.safetensors", place / "vae"))


def test_only_files_of_the_same_kind_and_family_are_named_in_its_place(checked, place):
    write_header(place / f"{NAMED[0]}.safetensors", WAN)
    write_header(place / "vae" / "wan2.2_vae.safetensors", WAN_22_VAE)  # called much alike, of another model
    assert missing("vae", "wan_2.1_vae.safetensors", place / "vae") in "".join(checked("wan_text_to_video"))
    write_header(place / "vae" / "Kijai_bf16.safetensors", WAN_VAE)
    (line,) = (line for line in checked("wan_text_to_video") if "vae_name" in line)
    assert (
        "'Kijai_bf16.safetensors' fits the graph's other models and is there, but this one isn't (it belongs in" in line
    )
    (place / f"{NAMED[0]}.safetensors").rename(place / "diffusion_models" / "other.safetensors")
    (place / "vae" / "Kijai_bf16.safetensors").rename(place / "vae" / "wan_2.1_vae.safetensors")
    (line,) = (line for line in checked("wan_text_to_video") if "model_name" in line)
    assert "'other.safetensors' fits the graph's other models and is there, but this one isn't (it belongs in" in line


def test_a_file_that_is_written_otherwise_is_named(checked, place):
    write_header(place / "vae" / "Wan2.1-VAE.safetensors", WAN_VAE)
    (line,) = (line for line in checked("wan_text_to_video") if "vae_name" in line)
    assert "isn't there; did you mean 'Wan2.1-VAE.safetensors'? (it belongs in" in line


@pytest.mark.parametrize("graph, name", [("ltx_text_to_video", "LTX-Video-0.9.5"),
                                         ("hunyuan_video_extend", "HunyuanVideo"),
                                         ("cogvideox_text_to_video", "CogVideoX-2b")])  # fmt: skip
def test_a_pipelines_folder_belongs_in_one_place_where_all_loaders_find_it(checked, place, nodes, host, graph, name):
    lines = [line for line in checked(graph) if "_name is" in line]
    assert len(lines) == 3
    assert all(line.endswith(f"which isn't there (it belongs in {place / 'diffusion_models'})") for line in lines)
    shutil.copytree(POCKET_FOLDER, host.base / "models" / "diffusion_models" / name)
    for loader in ("SpacetimeLoadDiT", "SpacetimeLoadVAE", "SpacetimeLoadTextEncoder"):
        assert nodes[loader]().run(name)[0].folder.parent.name == name


def test_a_checkpoint_that_several_loaders_name_belongs_in_checkpoints(place, capsys):
    text = (WORKFLOWS / "ltx_text_to_video.json").read_text()
    graph = place.parent / "graph.json"
    graph.write_text(text.replace('"LTX-Video-0.9.5"', '"ltx-video-2b-v0.9.5.safetensors"'))
    assert main(["check", str(graph), "--base", str(place.parent)]) == 4
    assert capsys.readouterr().out.count(f"(it belongs in {place / 'checkpoints'})") == 3


def test_a_pickle_that_is_chosen_is_said_to_be_one(checked, place, capsys):
    (place / "vae" / "Wan2.1_VAE.pth").write_bytes(b"PK\x03\x04")
    graph = place.parent / "graph.json"
    text = (WORKFLOWS / "wan_text_to_video.json").read_text()
    graph.write_text(text.replace('"wan_2.1_vae.safetensors"', '"Wan2.1_VAE.pth"'))
    assert main(["check", str(graph), "--base", str(place.parent), "--json"]) == 4
    (problem,) = (one for one in json.loads(capsys.readouterr().out)["problems"] if "vae_name" in one["message"])
    assert problem["code"] == "missing_file" and problem["hint"] == "", "it lies where it belongs"
    assert problem["message"].endswith(
        "vae_name is Wan2.1_VAE.pth: Wan2.1_VAE.pth is a pickle (.pth): it can run code and is never loaded; the "
        "safetensors version, wan_2.1_vae.safetensors, would be right"
    )


def test_what_check_says_of_a_tokenizer_is_what_a_dry_run_and_a_plan_say(place, capsys):
    """The whole graph is there but for the tokenizer."""
    shutil.copytree(POCKET_FOLDER, place / "diffusion_models" / "Mine")
    shutil.rmtree(place / "diffusion_models" / "Mine" / "tokenizer")
    graph = place.parent / "graph.json"
    graph.write_text((WORKFLOWS / "text_to_video.json").read_text().replace('"pocket (built in)"', '"Mine"'))
    for verb in (["check"], ["plan"], ["run", "--dry-run"]):
        assert main([*verb, str(graph), "--base", str(place.parent)]) == 4
        said = capsys.readouterr()
        assert "Mine/text_encoder has no tokenizer (looked for tokenizer.json there" in (said.out or said.err), verb
