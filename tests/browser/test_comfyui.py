"""The editor that a real ComfyUI serves, its own version of it, with this package: `pytest -m comfyui`."""

import pytest
from real_comfyui import ComfyUI, folder

pytestmark = pytest.mark.comfyui
VIDEO = """() => {
    const video = [...document.querySelectorAll("video")].at(-1);
    return video?.readyState >= 2 ? video.currentTime : -1;
}"""


@pytest.fixture(scope="module")
def start():
    folder()  # or skip

    def comfyui(base):
        server = ComfyUI(base)
        server.post("/settings/Comfy.TutorialCompleted", True)  # no greeting in the way
        return server.process, server.url

    return comfyui


@pytest.fixture(scope="module")
def page(session):
    session.greeted, session.stacks = True, []
    session.page.on("pageerror", lambda error: session.stacks.append(error.stack or str(error)))
    return session.page


def test_a_template_runs_shows_its_previews_and_its_video_plays(session, page):
    session.load("text_to_video")
    page.wait_for_timeout(1000)
    session.shot("comfyui_1_template")
    drawn = session.ask("() => app.graph.nodes.map((one) => one.type)")
    assert {"SpacetimeGrid", "SpacetimeSample", "SpacetimeSaveVideo"} <= set(drawn)
    assert page.locator(".spacetime-picker").count() == 1, "our extension draws the frame on Spacetime Grid"
    job = session.run()
    session.wait_for("progress", prompt_id=job)
    page.wait_for_function("() => Object.values(app.nodePreviewImages ?? {}).flat().length > 0")
    session.shot("comfyui_2_preview")
    session.wait_for("execution_success", prompt_id=job)
    assert session.previews, "a picture after every step"
    page.wait_for_function(f"() => ({VIDEO})() >= 0")
    page.evaluate("() => { const all = document.querySelectorAll('video'); all[all.length - 1].play(); }")
    page.wait_for_function(f"() => ({VIDEO})() > 0")
    session.shot("comfyui_3_video_plays")


def test_a_run_is_interrupted(session, page):
    session.load("text_to_video")
    session.set("SpacetimeSample", "steps", 1000)
    job = session.run()
    session.wait_for("progress", prompt_id=job, max=1000)
    session.ask("() => app.extensionManager.command.execute('Comfy.Interrupt')")
    told = session.wait_for("execution_interrupted", prompt_id=job)
    assert told["node_type"] == "SpacetimeSample"


def test_a_bad_value_shows_on_its_node(session, page):
    session.load("text_to_video")
    session.set("SpacetimeSample", "steps", 0)
    session.run()
    page.wait_for_function("() => app.lastNodeErrors && Object.keys(app.lastNodeErrors).length > 0")
    page.wait_for_timeout(500)
    session.shot("comfyui_4_bad_value")
    flawed = session.ask("() => Object.entries(app.lastNodeErrors).map(([id, one]) => [id, one.class_type])")
    shown = session.ask("() => app.graph.nodes.filter((one) => one.type === 'SpacetimeSample').map((one) => one.id)")
    assert flawed == [[str(shown[0]), "SpacetimeSample"]]


def test_a_dropped_clip_brings_its_graph_back(session, page):
    clip = sorted((session.base / "output" / "spacetime").glob("*.mp4"))[0]
    session.ask("() => { app.graph.clear(); }")
    session.drop(clip)
    page.wait_for_function("() => app.graph.nodes.some((one) => one.type === 'SpacetimeSaveVideo')")
    session.shot("comfyui_5_dropped_clip")
    sampler = "app.graph.nodes.find((one) => one.type === 'SpacetimeSample')"
    steps = session.ask(f"() => {sampler}.widgets.find((one) => one.name === 'steps').value")
    assert steps == 20, "as the run that made it had them, not the last one drawn"


def test_our_extension_raises_nothing(session):
    """ComfyUI's editors have errors of their own."""
    print(*session.stacks, sep="\n")
    assert not [one for one in session.stacks if "/extensions/spacetime/" in one]
