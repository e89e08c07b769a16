"""The picker on Spacetime Grid and the timeline on Storyboard, dragged with a mouse in a real editor.

What they show is the widgets' own; a graph is saved and runs the same with them as without.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from spacetime_nodes.spacetime import story
from spacetime_nodes.spacetime.grid import ASPECTS, pixels

WEB = Path(__file__).parents[2] / "web"
CARDS = "0: red circle moving right\n\n2: red circle rises,\n   the camera pans left [image sky.png]\n3,5 s| the end"


@pytest.fixture(scope="module")
def ask_node(tmp_path_factory):
    """`ask_node(module, script, argument)`: what a script answers that sees a module of web/ as `m`."""
    if shutil.which("node") is None:
        pytest.skip("no node here to run the extension's functions")
    folder = tmp_path_factory.mktemp("modules")
    (folder / "package.json").write_text('{"type": "module"}')
    for path in WEB.glob("*.js"):
        shutil.copy(path, folder)

    def ask(module, script, argument):
        code = f"""import * as m from {json.dumps((folder / f"{module}.js").as_uri())};
            const answer = ({script})({json.dumps(argument)});
            process.stdout.write(JSON.stringify(answer));"""
        command = ["node", "--input-type=module", "-e", code]
        return json.loads(subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout)

    return ask


# the same rules in both languages

TEXTS = [
    CARDS,
    "0: a",
    "0:a\r\n1:b\r\n",
    "  0 s : a\n+1.50s:b [Image: 2] c",
    "0 | a: b | c\n1:\n2: [image a b.png]",
    "0: a\x0b1: b\x852: c\u20283: d\x1cgoes on",
    "\u30000:\u3000a\u3000\n\ufeff1: b",
    "0: a [image 1\n] still [image]",
    "0: a [image 1]\ngoes on [image 2]",
    "0: a [image 1] [image 2]",
    "٠: a\n１.٥: b",
    "0: 猫 [image 猫 1.png]\n1: 🚀",
    "-0: a",
    "",
    " \n ",
    "a circle",
    "a circle that's red and round and moves to the right, slowly",
    "1: a",
    "-1: a",
    "0: a\n0: b",
    "0: a\n2: b\n1.25: c",
    "0: a\n.5: b",
    "0: a\n1e1: b",
    "0: a\n1. b\n2 : c",
]


def in_python(text):
    try:
        return [{"start": one.start, "prompt": one.prompt, "picture": one.picture} for one in story.read(text)]
    except ValueError as error:
        return str(error)


READ = """texts => texts.map((text) => {
    try { return m.read(text).map(({ start, prompt, picture }) => ({ start, prompt, picture })); }
    catch (error) { return error.message; }
})"""


def test_cards_are_read_alike_in_both_languages(ask_node):
    for text, found in zip(TEXTS, ask_node("cards", READ, TEXTS), strict=True):
        assert found == in_python(text), repr(text)


def test_frames_are_the_grids_own(ask_node):
    asked = [{"aspect": aspect, "size": size} for aspect in ASPECTS for size in (16, 64, 72, 480, 720, 1080)]
    found = ask_node("frame", "all => all.map(m.pixels)", asked)
    assert [tuple(one) for one in found] == [pixels(one["aspect"], one["size"], 0, 0) for one in asked]
    lengths = [(seconds / 10, fps) for seconds in range(0, 60) for fps in (5.0, 8.0, 16.0, 24.0, 29.97)]
    found = ask_node("frame", "all => all.map(([seconds, fps]) => m.frameCount({ seconds, fps, frames: 0 }))", lengths)
    assert found == [max(1, round(seconds * fps)) for seconds, fps in lengths]


def test_an_edit_changes_only_the_lines_it_is_about(ask_node):
    edits = """text => [m.moved(text, 1, 1.23), m.moved(text, 1, -5), m.moved(text, 1, 99), m.moved(text, 0, 5),
        m.moved(text, 2, 99), m.added(text, 1), m.added(text, 2.04), m.added(text, 9), m.removed(text, 0),
        m.removed(text, 1), m.removed(text, 2), m.removed("0: a", 0), text.slice(...m.span(text, m.read(text)[1]))]"""
    found = ask_node("cards", edits, CARDS)
    assert found[:3] == [CARDS.replace("2:", time + ":") for time in ("1.2", "0.1", "3.4")]
    assert found[3] == CARDS and found[4] == CARDS.replace("3,5 s|", "99 s|")
    assert found[5] == CARDS.replace("right\n", "right\n1: red circle moving right\n")
    assert found[6] is None, "there is a card at 2 s"
    assert found[7] == CARDS + "\n9: the end"
    assert found[8] == CARDS.split("\n\n")[1].replace("2:", "0:")
    assert found[9] == CARDS.split("2:")[0] + "3,5 s| the end" and found[10] == CARDS.split("\n3,5")[0]
    assert found[11] is None, "the only card stays"
    assert found[12] == CARDS.split("2: ")[1].split("\n3,5")[0], "the words, ready to be typed over"


# in the editor


@pytest.fixture(scope="module")
def page(session):
    """The editor with a Grid wired to a Storyboard, at a zoom that isn't 1."""
    from PIL import Image

    (session.base / "input").mkdir(exist_ok=True)
    Image.new("RGB", (64, 48), "orange").save(session.base / "input" / "sky.png")
    session.past_the_greeting()
    return session.page


@pytest.fixture
def board(session, page):
    """New nodes for every test, and the ways to reach them."""
    page.evaluate(
        """cards => {
            app.graph.clear();
            const [grid, story] = ["SpacetimeGrid", "SpacetimeStoryboard"].map((one) => LiteGraph.createNode(one));
            for (const node of [grid, story]) app.graph.add(node);
            grid.pos = [0, 0];
            story.pos = [grid.size[0] + 60, 0];
            grid.connect(0, story, "latent");
            story.widgets.find((one) => one.name === "cards").value = cards;
            Object.assign(app.canvas.ds, { scale: 1.25, offset: [60, 90] });
            app.canvas.setDirty(true, true);
        }""",
        CARDS,
    )
    session.set("SpacetimeGrid", "seconds", 4.0)
    page.locator(".spacetime-block").nth(2).wait_for()
    page.wait_for_timeout(300)
    return page


def value(page, node, widget):
    return page.evaluate(
        """([kind, name]) => {
            const node = app.graph.nodes.find((one) => one.type === kind);
            return node.widgets.find((one) => one.name === name).value;
        }""",
        [node, widget],
    )


def drag(page, selector, dx, dy=0, at=(0.5, 0.5), pause=0):
    box = page.locator(selector).bounding_box()
    x, y = box["x"] + at[0] * box["width"], box["y"] + at[1] * box["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    for part in (0.3, 0.7, 1):
        page.mouse.move(x + part * dx, y + part * dy)
        page.wait_for_timeout(pause)
    page.mouse.up()
    page.wait_for_timeout(200)


def test_the_frame_is_drawn_in_its_true_proportions(session, board):
    for aspect, ratio in (("16:9", 16 / 9), ("9:16", 9 / 16)):
        session.set("SpacetimeGrid", "aspect", aspect)
        board.wait_for_timeout(300)
        box = board.locator(".spacetime-frame").bounding_box()
        assert box["width"] / box["height"] == pytest.approx(ratio, rel=0.03)
    assert board.locator(".spacetime-figure").all_inner_texts() == ["64 × 114", "4 s × 8 fps = 32 frames"]
    session.shot("extension_picker")


def test_dragging_the_corner_sets_width_and_height(board):
    before = board.locator(".spacetime-frame").bounding_box()
    drag(board, ".spacetime-corner", before["width"] / 2, -before["height"] / 4)
    assert value(board, "SpacetimeGrid", "aspect") == "custom"
    assert (value(board, "SpacetimeGrid", "width"), value(board, "SpacetimeGrid", "height")) == (96, 48)
    assert board.locator(".spacetime-figure").first.inner_text() == "96 × 48"
    after = board.locator(".spacetime-frame").bounding_box()
    assert after["width"] / after["height"] == pytest.approx(2, rel=0.05)
    drag(board, ".spacetime-corner", -2000, -2000)
    assert (value(board, "SpacetimeGrid", "width"), value(board, "SpacetimeGrid", "height")) == (16, 16)


def test_dragging_the_bar_sets_the_seconds(session, board):
    session.set("SpacetimeGrid", "frames", 33)
    bar = board.locator(".spacetime-bar").bounding_box()
    drag(board, ".spacetime-bar", bar["width"] * 0.3, at=(0.2, 0.5))  # 33 frames are 4.1 s, so the bar spans 10
    assert value(board, "SpacetimeGrid", "frames") == 0
    assert value(board, "SpacetimeGrid", "seconds") == pytest.approx(5, abs=0.1)
    assert board.locator(".spacetime-figure").nth(1).inner_text().startswith("5 s × 8 fps = 40")


def test_a_wired_value_isnt_dragged(board):
    board.evaluate(
        """() => {
            const number = LiteGraph.createNode("PrimitiveInt");
            app.graph.add(number);
            number.pos = [0, 500];
            number.connect(0, app.graph.nodes[0], "width");
            app.canvas.setDirty(true, true);
        }"""
    )
    board.wait_for_timeout(300)
    drag(board, ".spacetime-corner", 30, 30)
    assert value(board, "SpacetimeGrid", "aspect") == "1:1"
    assert "width wired" in board.locator(".spacetime-note").inner_text()


def test_the_timeline_shows_every_card_in_its_place(session, board):
    track = board.locator(".spacetime-track").bounding_box()
    lefts = [one.bounding_box()["x"] - track["x"] for one in board.locator(".spacetime-block").all()]
    assert [one / track["width"] for one in lefts] == pytest.approx([0, 2 / 4, 3.5 / 4], abs=0.01)
    words = board.locator(".spacetime-words").all_inner_texts()
    assert words == ["red circle moving right", "red circle rises, the camera pans left", "the end"]
    board.wait_for_function("() => document.querySelector('.spacetime-img')?.naturalWidth === 64")
    session.shot("extension_timeline")
    session.set("SpacetimeGrid", "seconds", 3.0)
    board.locator(".spacetime-too-late").wait_for()
    assert "beyond the canvas, which ends at 3 s" in board.locator(".spacetime-too-late").get_attribute("title")


def test_dragging_a_cards_edge_rewrites_its_second_alone(board):
    second = board.locator(".spacetime-track").bounding_box()["width"] / 4
    drag(board, ".spacetime-edge >> nth=0", -0.8 * second)
    assert value(board, "SpacetimeStoryboard", "cards") == CARDS.replace("2:", "1.2:")
    drag(board, ".spacetime-edge >> nth=0", 9 * second)
    assert value(board, "SpacetimeStoryboard", "cards") == CARDS.replace("2:", "3.4:"), "not past the next"
    drag(board, ".spacetime-edge >> nth=0", -9 * second)
    assert value(board, "SpacetimeStoryboard", "cards") == CARDS.replace("2:", "0.1:"), "not past the first"
    assert board.get_by_placeholder("cards").input_value() == CARDS.replace("2:", "0.1:")
    assert board.evaluate("() => app.graph.nodes[1].pos[1]") == 0, "the node stayed"


def test_cards_are_added_and_deleted(session, board):
    track = board.locator(".spacetime-track").bounding_box()
    board.mouse.dblclick(track["x"] + track["width"] / 4, track["y"] + track["height"] / 2)
    added = CARDS.replace("right\n", "right\n1: red circle moving right\n")
    assert value(board, "SpacetimeStoryboard", "cards") == added
    board.keyboard.type("blue star")
    assert value(board, "SpacetimeStoryboard", "cards") == CARDS.replace("right\n", "right\n1: blue star\n")
    board.wait_for_timeout(300)
    assert board.locator(".spacetime-words").nth(1).inner_text() == "blue star"
    session.shot("extension_card_added")
    board.locator(".spacetime-block").nth(1).hover()
    board.locator(".spacetime-remove").nth(1).click()
    assert value(board, "SpacetimeStoryboard", "cards") == CARDS
    board.locator(".spacetime-add").click()
    assert value(board, "SpacetimeStoryboard", "cards") == CARDS + "\n3.8: the end"


def test_what_cant_be_read_says_why(session, board):
    session.set("SpacetimeStoryboard", "cards", "1: late")
    board.wait_for_timeout(300)
    assert board.locator(".spacetime-block:visible").count() == 0
    reason = board.locator(".spacetime-reason:visible")
    assert reason.all_inner_texts() == ["the first card begins at 1 s; it must begin at 0"]
    session.shot("extension_unreadable")
    session.set("SpacetimeStoryboard", "cards", "0: in time")
    board.wait_for_timeout(300)
    assert board.locator(".spacetime-words:visible").all_inner_texts() == ["in time"]


def test_a_drag_is_undone_in_one_step(board):
    tracker = "app.extensionManager.workflow.activeWorkflow.changeTracker"
    # The editor folds what changes in the 50 ms after a step into that step: no drag begins that soon by hand.
    board.evaluate(
        f"() => {{ {tracker}.captureCanvasState?.(); return new Promise((done) => setTimeout(done, 300)); }}"
    )
    steps = board.evaluate(f"() => {tracker}.undoQueue.length")
    drag(board, ".spacetime-corner", 40, 0, pause=60)
    assert value(board, "SpacetimeGrid", "aspect") == "custom"
    board.wait_for_function(f"() => {tracker}.undoQueue.length > {steps}")
    board.locator("#graph-canvas").focus()
    board.keyboard.press("Control+z")
    board.wait_for_function("() => app.graph.nodes[0]?.widgets[0].value === '1:1'")
    board.wait_for_function("() => document.querySelector('.spacetime-figure').innerText === '64 × 64'")


def test_both_are_dragged_in_the_editors_other_rendering_too(session, board):
    turn = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
    board.evaluate(turn, True)
    try:
        board.locator(".lg-node .spacetime-block").nth(2).wait_for()
        board.wait_for_timeout(1000)
        session.shot("extension_other_rendering")
        stood = [board.evaluate(f"() => [...app.graph.nodes[{i}].pos]") for i in (0, 1)]
        wide = board.locator(".spacetime-bar").bounding_box()["width"]
        drag(board, ".spacetime-bar", 0.4 * wide, at=(0.2, 0.5))
        assert value(board, "SpacetimeGrid", "seconds") == pytest.approx(3, abs=0.1)
        board.locator(".spacetime-too-late").wait_for()
        second = board.locator(".spacetime-track").evaluate(
            "one => one.getBoundingClientRect().width / one.dataset.seconds"
        )
        drag(board, ".spacetime-edge >> nth=0", -0.8 * second)
        assert value(board, "SpacetimeStoryboard", "cards") == CARDS.replace("2:", "1.2:")
        assert [board.evaluate(f"() => [...app.graph.nodes[{i}].pos]") for i in (0, 1)] == stood
    finally:
        board.evaluate(turn, False)
        board.wait_for_timeout(1000)


def test_its_words_are_chinese_in_a_chinese_editor(session, board):
    speak = "language => app.extensionManager.setting.set('Comfy.Locale', language)"
    board.evaluate(speak, "zh")  # the editor makes its nodes anew
    try:
        board.wait_for_function("() => document.querySelector('.spacetime-add')?.title === '在末尾添加卡片'")
        board.wait_for_function("() => document.querySelectorAll('.spacetime-figure')[1]?.innerText.includes('秒')")
        assert board.locator(".spacetime-figure").nth(1).inner_text() == "4 秒 × 8 fps = 32 帧"
        assert board.locator(".spacetime-tick").first.inner_text() == "0 秒"
        session.set("SpacetimeStoryboard", "cards", "1: late")
        board.get_by_text("第一张卡片从 1 秒开始；它必须从 0 开始").wait_for()
        session.shot("extension_chinese")
    finally:
        board.evaluate(speak, "en")
        board.wait_for_function("() => document.querySelector('.spacetime-add')?.title === 'Add a card at the end'")


# the graph without them

SAVED = """async name => {
    const graph = await (await fetch(`/api/workflow_templates/spacetime/${name}.json`)).json();
    await app.loadGraphData(structuredClone(graph), true, true, name);
    app.extensionManager.command.execute("Comfy.Canvas.FitView");
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const { workflow, output } = await app.graphToPrompt();
    const of = (nodes) => nodes.map((one) => [one.id, one.size, one.widgets_values ?? []]);
    const views = document.querySelectorAll(".spacetime-picker, .spacetime-timeline").length;
    return { before: of(graph.nodes), after: of(workflow.nodes), prompt: output, views };
}"""


def test_a_graph_is_saved_and_run_the_same_with_and_without_the_extension(session, page):
    with_it = page.evaluate(SAVED, "storyboard")
    session.shot("extension_template")
    bare = session.context.new_page()
    bare.set_default_timeout(120_000)
    bare.route("**/extensions/spacetime/**", lambda route: route.abort())
    bare.goto(session.url)
    bare.wait_for_function("() => window.app?.graph && document.querySelector('[data-testid=queue-button]')")
    without = bare.evaluate(SAVED, "storyboard")
    bare.close()
    assert (with_it["views"], without["views"]) == (2, 0)
    assert sorted(with_it["after"]) == sorted(with_it["before"]), "values and sizes as they were saved"
    assert with_it["prompt"] == without["prompt"] and sorted(with_it["after"]) == sorted(without["after"])


def test_nothing_is_asked_of_another_host(session, page):
    assert session.foreign == [] and session.errors == []
