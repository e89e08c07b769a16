"""What `spacetime run` makes of a saved graph is what the editor itself would send: every workflow, and graphs drawn to
be hard. Of each, the file as it is and the file as the editor saves it again, ids and all."""

import json
from pathlib import Path

import pytest
from spacetime_nodes.host.cli import known_classes
from spacetime_nodes.host.convert import to_prompt
from spacetime_nodes.host.packs import load_pack
from spacetime_nodes.nodes import runtime

from .conftest import Session

ROOT = Path(__file__).parents[2]
ODD_NODES = ROOT / "tests" / "graphs" / "odd_nodes.py"
GRAPHS = sorted([*(ROOT / "workflows").glob("*.json"), *(ROOT / "tests" / "graphs").glob("*.json")])

# a text, because `undefined` has no meaning outside of JavaScript
EXPORT = """async graph => {
    await app.loadGraphData(JSON.parse(graph), true, true, "graph");
    await new Promise((resolve) => setTimeout(resolve, 100));
    return JSON.stringify(await app.graphToPrompt());
}"""


@pytest.fixture(scope="module")
def session(chromium, tmp_path_factory):
    from PIL import Image

    base = tmp_path_factory.mktemp("base")
    (base / "input").mkdir()
    Image.new("RGB", (8, 8)).save(base / "input" / "sunset.png")
    session = Session(chromium, base, "--node-pack", str(ODD_NODES))
    try:
        session.open()
        session.past_the_greeting()
        yield session
    finally:
        session.close()


@pytest.fixture(scope="module")
def classes(session):
    token = runtime.HOST.set(runtime.Host(base=session.base, on_notice=print))
    yield {**load_pack(ODD_NODES).classes, **known_classes()}
    runtime.HOST.reset(token)


def exactly(prompt: dict) -> dict:
    """What counts of a prompt, with booleans that aren't numbers. JavaScript has one kind of number, so 2 is 2.0."""

    def told(value):
        if isinstance(value, bool):
            return f"boolean {value}"
        if isinstance(value, dict):
            return {name: told(one) for name, one in value.items()}
        return [told(one) for one in value] if isinstance(value, list) else value

    return {node_id: (node["class_type"], told(node["inputs"])) for node_id, node in prompt.items()}


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_the_converter_agrees_with_the_editors_own_export(session, classes, path):
    text = path.read_text(encoding="utf-8")
    editors = json.loads(session.ask(EXPORT, text))
    wanted = exactly(editors["output"])
    assert wanted, "the editor opened it"
    assert exactly(to_prompt(json.loads(text), classes)) == wanted, "as it is"
    assert exactly(to_prompt(editors["workflow"], classes)) == wanted, "as the editor saves it"
