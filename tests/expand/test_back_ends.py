"""What holds for every back end: empty and endless prompts, failing and going on."""

import pytest
from spacetime_nodes.host.executor import Executor

from .conftest import LONG

# ---- prompts that are none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_end", ["pocket grammar", "chat endpoint", "local model"])
@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_refused_before_anybody_is_asked(expand, host, back_end, prompt):
    with pytest.raises(ValueError, match="the prompt is empty: a few words would do"):
        expand(prompt, back_end)
    assert expand(prompt, back_end, on_failure="pass the prompt on") == prompt


def test_ten_thousand_characters_are_read(expand, host, server, language_model):
    assert len(expand(LONG, "pocket grammar")) < 300 and len(expand("x" * 10_000, "pocket grammar")) < 300
    assert all(len(notice) < 600 for notice in host.notices)
    assert expand(LONG, "chat endpoint") == "A caption." and server.bodies[0]["messages"][1]["content"] == LONG
    with pytest.raises(ValueError, match="the prompt and its instruction are 18[0-9]* tokens; tiny reads 480"):
        expand(LONG, "local model", language_model)


# ---- failing and going on -----------------------------------------------------------------------------------------


def test_a_failing_back_end_says_so_and_passes_the_prompt_on_only_if_asked_to(expand, server, host):
    server.status, server.data = 500, b""
    with pytest.raises(ValueError, match="HTTP 500"):
        expand("red ball", "chat endpoint")
    assert host.notices == []
    assert expand("red ball", "chat endpoint", on_failure="pass the prompt on") == "red ball"
    (notice,) = host.notices
    assert notice == f"the chat endpoint {server.url}/chat/completions failed (HTTP 500); the prompt goes on as it is"
    assert expand("red ball", "local model", on_failure="pass the prompt on") == "red ball"
    assert host.notices[1].startswith("no language model is chosen; put a transformers folder into ")


def test_a_prompt_that_was_passed_on_is_tried_again_and_a_caption_is_kept(nodes, server, host):
    show = {"INPUT_TYPES": classmethod(lambda cls: {"required": {"text": ("STRING", {})}}), "RETURN_TYPES": ()}
    show |= {
        "FUNCTION": "run",
        "OUTPUT_NODE": True,
        "CATEGORY": "test",
        "run": lambda self, text: {"ui": {"t": [text]}},
    }
    known = {"SpacetimeExpandPrompt": nodes["SpacetimeExpandPrompt"], "Show": type("Show", (), show)}
    asked = dict(prompt="ball", language_model_name="none", instruction="", seed=0, on_failure="pass the prompt on")
    prompt = {
        "1": {"class_type": "SpacetimeExpandPrompt", "inputs": {**asked, "back_end": "chat endpoint"}},
        "2": {"class_type": "Show", "inputs": {"text": ["1", 0]}},
    }
    executor = Executor(known, host, keep=True)
    server.status = 500
    assert executor.run(prompt, ["2"])["2"]["t"] == ["ball"]
    server.status = 200
    assert executor.run(prompt, ["2"])["2"]["t"] == ["A caption."]
    assert executor.run(prompt, ["2"])["2"]["t"] == ["A caption."] and len(server.bodies) == 2
    assert server.bodies[1]["messages"] == [{"role": "user", "content": "ball"}]
