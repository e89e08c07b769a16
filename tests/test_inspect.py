"""The Inspect node as people and headless runs meet it: a report, a plot, and a gate."""

import json
from pathlib import Path

import pytest
import torch
from spacetime_nodes.host.cli import main
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.nodes import inspect
from spacetime_nodes.training import world

FRAMES = 17
OFF = {"joins": "", "loop": False, "max_seam": 0.0, "max_wrap": 0.0, "refuse_dissolve": False, "frames": 0}
OFF |= dict.fromkeys(("max_colour_drift", "max_contrast_drift", "max_texture_drift", "max_flicker"), 0.0)
OFF |= {"min_motion": 0.0, "min_coherence": 0.0}
ALL = {"joins": "4f, 12f", "max_seam": 2.0, "refuse_dissolve": True, "max_colour_drift": 3.0, "frames": FRAMES}
ALL |= {"max_contrast_drift": 1.3, "max_texture_drift": 1.5, "max_flicker": 1.0, "min_motion": 1.0}
ALL |= {"min_coherence": 1.15}


def drawn(frames=FRAMES):
    thing = world.Thing("square", "red", "left", quick=True, x=0.7, y=0.5)
    return world.render([world.Scene("gray", (thing,), dapple=(0.3, 0.1))], 64, 64, frames)[0]


def video_of(pixels, promised=None):
    count = promised or len(pixels)
    return StreamVideo(lambda: iter(pixels.split(4)), width=64, height=64, frame_count=count, fps=8.0)


@pytest.fixture
def look(nodes, host):
    """Inspect, with every limit off but those given."""

    def run(video, **limits):
        return nodes["SpacetimeInspect"]().run(video, **{**OFF, **limits})

    return run


@pytest.fixture
def gate(tmp_path, capsys):
    """`spacetime run` on load → inspect → save: exit code, the JSON it prints, stderr."""

    def call(pixels, *arguments, **limits):
        (tmp_path / "input").mkdir(exist_ok=True)
        video_of(pixels).save_to(tmp_path / "input" / "clip.mp4", quality=95)
        prompt = {
            "1": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}},
            "2": {"class_type": "SpacetimeInspect", "inputs": {"video": ["1", 0], **OFF, **limits}},
            "3": {"class_type": "SpacetimeSaveVideo", "inputs": {
                "video": ["2", 0], "filename_prefix": "kept", "format": "mp4 (H.264)", "quality": 80}},
        }  # fmt: skip
        (tmp_path / "graph.json").write_text(json.dumps(prompt))
        code = main(["run", str(tmp_path / "graph.json"), "--base", str(tmp_path), "--json", *arguments])
        out, err = capsys.readouterr()
        return code, json.loads(out), err

    return call


def saved(tmp_path):
    return [path.name for path in (tmp_path / "output").rglob("*") if path.is_file()]


# the gate


def test_an_untouched_clip_passes_every_limit_and_is_saved(gate, tmp_path):
    code, answer, err = gate(drawn(), **ALL)
    assert code == 0, err
    (report,) = (one["text"] for one in answer["texts"] if one["node"] == "2")
    for word in ("17 frames, 2.12 s", "seam at frame 4 (0.50 s): error", "frames 4-11: no cross-fade", "motion: "):
        assert word in report
    (plot,) = (one for one in answer["outputs"] if one["node"] == "2")
    assert plot["folder"] == "temp" and Path(plot["path"]).is_file()
    assert saved(tmp_path) == ["kept_00001_.mp4"]


def spliced(clip):
    return torch.cat([clip[:4], drawn(25)[12:]])


def shuffled(clip):
    order = [0, 12, 3, 15, 6, 1, 10, 4, 16, 8, 2, 13, 5, 11, 7, 14, 9]
    return clip[order]


def cross_faded(clip):
    return torch.cat(
        [clip[:3], torch.lerp(clip[3], clip[12], torch.linspace(0, 1, 10)[:, None, None, None]), clip[13:]]
    )


def frozen(clip):
    return clip[:1].expand(FRAMES, -1, -1, -1)


def tinted(clip):
    return (clip + torch.linspace(0, 1, FRAMES)[:, None, None, None] * torch.tensor([0.06, 0.0, -0.03])).clamp(0, 1)


def flat(clip):
    return torch.lerp(clip, torch.tensor(0.45), 0.6 * torch.linspace(0, 1, FRAMES)[:, None, None, None])


def blinking(clip):
    return clip + 0.02 * (torch.arange(FRAMES) % 2)[:, None, None, None]


BROKEN = [
    (spliced, "max_seam", "seam at frame 4 (0.50 s): error "),
    (cross_faded, "refuse_dissolve", "frames 4-11 only cross-fade what is on their two sides"),
    (tinted, "max_colour_drift", "colour drifts by "),
    (flat, "max_contrast_drift", "contrast drifts to 0."),
    (flat, "max_texture_drift", "texture drifts to 0."),
    (blinking, "max_flicker", "brightness flickers by "),
    (frozen, "min_motion", "motion is 0.00 % of the longer side per second, at least 1"),
    (shuffled, "min_coherence", "frames stand in no order"),
    (lambda clip: clip[:-1], "frames", "16 frames, exactly 17 would be right"),
]


@pytest.mark.parametrize("broken, limit, says", BROKEN)
def test_a_broken_clip_fails_the_run_with_exit_code_5_and_one_line(gate, tmp_path, broken, limit, says):
    code, answer, err = gate(broken(drawn()), joins=ALL["joins"], **{limit: ALL[limit]})
    assert code == 5 and answer["error"]["code"] == "node_failed" and answer["error"]["node"] == "2"
    *_, note, line = err.splitlines()
    assert line.startswith("spacetime: Inspect (node 2): ") and says in line, line
    assert note.startswith("note: ") and "plot: " in note, "what it measured is said, and where the plot is"
    assert Path(note.partition("plot: ")[2]).is_file()
    assert saved(tmp_path) == []


def test_a_loop_that_does_not_close_fails(gate):
    thing = world.Thing("square", "red", "spin", x=0.5, y=0.5)
    turn = world.render([world.Scene("gray", (thing,))], 64, 64, 12)[0]
    assert gate(turn, loop=True, max_wrap=2.0)[0] == 0
    code, answer, _ = gate(turn[:8], loop=True, max_wrap=2.0)
    assert code == 5 and "wrap: " in answer["error"]["message"]


def test_everything_that_is_wrong_is_said_at_once(look):
    with pytest.raises(ValueError, match="^17 frames, exactly 3 would be right; motion is 0.00 %.* at least 1$"):
        look(video_of(frozen(drawn())), frames=3, min_motion=1.0)


def test_what_is_no_number_keeps_no_limit():
    nan = float("nan")
    assert inspect.seam({"error": nan}, "seam", 2).wrong
    assert all(one.wrong for one in inspect.drifted(dict.fromkeys(("colour", "contrast", "texture"), nan), 5, 2, 2))
    assert inspect.moved(nan, 1).wrong and inspect.cohered(nan, 1).wrong and inspect.flickered(nan, 0, 8, 1).wrong


# what it shows


def test_without_limits_it_measures_anything_and_hands_it_on(look, host):
    video = video_of(drawn(1))
    answer = look(video, loop=True)
    passed, plot, report = answer["result"]
    assert passed is video and report.startswith("1 frames, 0.12 s\nwrap: ") and answer["ui"]["text"] == [report]
    (image,) = answer["ui"]["images"]
    assert (host.base / image["type"] / image["subfolder"] / image["filename"]).is_file()
    assert plot.ndim == 4 and plot.shape[0] == 1 and plot.shape[3] == 3 and 0 <= plot.min() and plot.max() <= 1


def test_the_plot_marks_the_joins_and_reddens_what_is_wrong():
    measures = inspect_measures(drawn())
    plain, marked, wrong = (
        inspect.plotted(measures, cuts, [inspect.Found("17 frames", bad)])
        for cuts, bad in (([], ""), ([8], ""), ([], "x"))
    )
    amber, red = ((242, 184, 75), (255, 107, 107))

    def share(image, colour):
        near = sum(
            count
            for count, one in image.getcolors(1 << 20)
            if max(abs(a - b) for a, b in zip(one, colour, strict=True)) < 40
        )
        return near / (image.width * image.height)

    assert share(plain, amber) < share(marked, amber) and share(plain, red) == 0 < share(wrong, red)


def inspect_measures(pixels):
    from spacetime_nodes.spacetime.quality import measure

    return measure([pixels])


def test_a_video_shorter_than_it_promised_is_told(look):
    report = look(video_of(drawn(5), promised=9))["result"][2]
    assert report.startswith("5 frames, 0.62 s, of 9 promised")
    with pytest.raises(ValueError, match="5 frames, exactly 9 would be right"):
        look(video_of(drawn(5), promised=9), frames=9)


def test_cancelling_is_heard_between_frames(look, host):
    from spacetime_nodes.nodes.runtime import Interrupted

    host.is_interrupted = lambda: True
    with pytest.raises(Interrupted):
        look(video_of(drawn(5)))


# what it is told


def test_joins_are_seconds_or_frames():
    assert inspect.frames_of(inspect.parsed("1.5, 4f 0.25s"), 8.0, 17) == [2, 4, 12]
    assert inspect.frames_of(inspect.parsed(" "), 8.0, 17) == []


@pytest.mark.parametrize("joins", ["soon", "2.0.1", "-1", "nan", "inf", "1.5f", "f", "s", "1e9", "²f"])
def test_joins_that_cannot_be_are_refused_before_anything_is_decoded(nodes, joins):
    with pytest.raises(ValueError, match=r"joins '.*' can't be; seconds such as 2.0, or frames such as 36f"):
        nodes["SpacetimeInspect"]().plan(None, **{**OFF, "joins": joins})


@pytest.mark.parametrize("joins", ["0", "0f", "17f", "9.5"])
def test_a_join_outside_the_video_is_one_clear_line(look, joins):
    with pytest.raises(ValueError, match=r"no clips meet at frame \d+ .*the video has frames 0 to 16 \(2.12 s\)"):
        look(video_of(drawn()), joins=joins)


@pytest.mark.parametrize(
    "limits, says",
    [
        ({"max_seam": 2.0}, "max_seam 2 has no join to check"),
        ({"max_wrap": 2.0}, "max_wrap 2 has nothing to check; switch loop on"),
        ({"refuse_dissolve": True, "joins": "1.0"}, "refuse_dissolve needs two joins"),
        ({"max_texture_drift": 0.5}, "max_texture_drift 0.5 can't be kept: 1 is no drift"),
    ],
)
def test_a_limit_that_would_check_nothing_is_refused_in_a_dry_run(gate, limits, says):
    code, answer, _ = gate(drawn(5), "--dry-run", **limits)
    assert code == 5 and says in answer["error"]["message"]


def test_a_dry_run_passes_a_good_graph(gate, tmp_path):
    assert gate(drawn(5), "--dry-run", **ALL)[0] == 0
    assert not (tmp_path / "temp").exists()
