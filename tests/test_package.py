"""The package as others see it: light to import, a ComfyUI folder as much as an installed package, wholly described."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import spacetime_nodes
from spacetime_nodes import NODE_CLASS_MAPPINGS

ROOT = Path(spacetime_nodes.__file__).parent
HEAVY = ("torch", "diffusers", "transformers", "numpy", "av", "PIL")


def python(code: str, *args: str, cwd: Path | None = None) -> str:
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_and_listing_takes_no_torch_and_under_a_fifth_of_a_second(tmp_path):
    code = f"""
import sys, time
start = time.perf_counter()
import spacetime_nodes
for node in spacetime_nodes.NODE_CLASS_MAPPINGS.values():
    node.INPUT_TYPES()
print(time.perf_counter() - start, [m for m in {HEAVY!r} if m in sys.modules])
"""
    runs = [python(code, cwd=tmp_path).split(maxsplit=1) for _ in range(5)]
    assert all(heavy.strip() == "[]" for _, heavy in runs)
    assert min(float(seconds) for seconds, _ in runs) < 0.2


def test_comfyui_can_load_the_folder(tmp_path):
    """As ComfyUI's load_custom_node does: under the folder's path as the module's name, from another directory."""
    (tmp_path / "custom_nodes").mkdir()
    folder = tmp_path / "custom_nodes" / "spacetime"
    os.symlink(ROOT, folder, target_is_directory=True)
    code = """
import importlib.util, json, os, sys
folder = sys.argv[1]
sys.path = [p for p in sys.path if "site-packages" in p or "lib/python" in p or p.endswith(".zip")]
sys.meta_path = [m for m in sys.meta_path if "editable" not in str(m).lower()]  # the installed package mustn't help
name = folder.replace(".", "_x_")
spec = importlib.util.spec_from_file_location(name, os.path.join(folder, "__init__.py"))
module = importlib.util.module_from_spec(spec)
sys.modules[name] = module
spec.loader.exec_module(module)
assert "spacetime_nodes" not in sys.modules
nodes = module.NODE_CLASS_MAPPINGS
(dit,) = nodes["SpacetimeLoadDiT"]().run("pocket (built in)")
(vae,) = nodes["SpacetimeLoadVAE"]().run("pocket (built in)")
latent = nodes["SpacetimeGrid"]().run(dit, vae, "1:1", 64, 0, 0, 1.0, 8.0, 0, 1)["result"][0]
print(json.dumps({"nodes": sorted(nodes), "shape": list(latent["samples"].shape), "web": module.WEB_DIRECTORY}))
"""
    told = json.loads(python(code, str(folder), cwd=tmp_path))
    assert told["nodes"] == sorted(NODE_CLASS_MAPPINGS)
    assert told["shape"] == [1, 16, 3, 8, 8]
    assert (ROOT / told["web"]).is_dir()


def test_comfyui_keeps_its_own_torch_and_numpy():
    lines = (ROOT / "requirements.txt").read_text().split()
    names = {re.split(r"[><=~\[]", line)[0] for line in lines}
    assert names.isdisjoint({"torch", "numpy", "torchvision", "torchaudio", "comfyui-frontend-package"})
    pyproject = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[(.*?)\]", pyproject, re.S | re.M)[1]
    assert set(re.findall(r'"([^"]+)"', block)) == set(lines)
    assert 'requires-comfyui = ">=0.3.64"' in pyproject and 'version = "0.1.0"' in pyproject
