"""What a graph reads goes to the server, what it made comes back; nothing leaves its folder on the way."""

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web
from command import says_one_line

from .conftest import MAKE, PICTURES, files_in, picture


def test_a_picture_that_lies_here_only_is_sent(run, editor, here):
    picture(here / "input" / "猫 1.png", "red")
    code, out, err = run(PICTURES, editor)
    assert code == 0 and "note: sent 猫 1.png to the server's input folder" in err, err
    assert (editor.base / "input" / "猫 1.png").read_bytes() == (here / "input" / "猫 1.png").read_bytes()
    from PIL import Image

    assert Image.open(out.strip()).getpixel((3, 3)) == (255, 0, 0)
    code, _, err = run(PICTURES, editor)
    assert code == 0 and "猫" not in err
    size = (here / "input" / "猫 1.png").stat().st_size
    for colour, side in (("blue", 64), ((254, 0, 0), 8)):
        picture(here / "input" / "猫 1.png", colour, side)
        code, _, err = run(PICTURES, editor)
        assert code == 0 and "the server has another 猫 1.png than lies here; that is what it uses" in err
        assert "sent" not in err
    assert (here / "input" / "猫 1.png").stat().st_size == size, "as many bytes, other ones"


def test_a_picture_that_is_nowhere_is_a_missing_file(run, editor):
    code, _, err = run(PICTURES, editor)
    assert code == 4
    says_one_line(err, "image is 猫 1.png", "belongs in input on the server, or in input here, from where it is sent")


def test_a_card_whose_picture_is_nowhere_is_refused_before_it_is_queued(run, editor):
    prompt = {"1": {"class_type": "SpacetimeStoryboard", "inputs": {"cards": "0: a sky [image sky.png]"}}}
    code, _, err = run(prompt, editor)
    assert code == 4
    says_one_line(err, "Storyboard (node 1): there is no file 'sky.png' in the server's input folder")


def test_a_list_goes_there_as_a_value_and_not_as_a_link(run, fake):
    fake.definitions["Make"]["input"]["required"]["points"] = ["POINTS", {}]
    points = {"__value__": [0.5, 1, 2]}
    assert run({"5": {"class_type": "Make", "inputs": {"steps": 1, "points": points}}}, fake)[0] == 0
    assert fake.posted[0]["prompt"]["5"]["inputs"]["points"] == points


def test_nothing_outside_of_the_input_folder_is_sent(run, editor, here):
    picture(here / "secret.png")
    (here / "input").mkdir()
    (here / "input" / "link.png").symlink_to(here / "secret.png")
    for name in ("../secret.png", str(here / "secret.png"), "link.png"):
        PICTURES["1"]["inputs"]["image"], before = name, PICTURES["1"]["inputs"]["image"]
        try:
            assert run(PICTURES, editor)[0] == 4
        finally:
            PICTURES["1"]["inputs"]["image"] = before
    assert not (editor.base / "input").exists()


def test_the_pictures_of_a_storyboard_are_sent_from_folders_too(editor, here, host):
    from spacetime_nodes.host import transfer
    from spacetime_nodes.host.client import Address, Client
    from spacetime_nodes.host.definitions import classes_of

    host.base = here
    picture(here / "input" / "sky: 1.png")
    picture(here / "input" / "cats" / "tom.png")
    cards = "0: a sky [image sky: 1.png]\n1: a cat [image cats/tom.png]\n2: the first of the batch [image 1]"
    prompt = {"1": {"class_type": "SpacetimeStoryboard", "inputs": {"cards": cards}}}

    async def body():
        async with Client(Address.parse(f"127.0.0.1:{editor.port}")) as client:
            classes = classes_of(await client.definitions())
            missing = await transfer.missing_there(client, prompt, classes)
            await transfer.send(client, missing, prompt)
            return missing, await transfer.missing_there(client, prompt, classes)

    first, then = asyncio.run(body())
    assert [one.text for one in first] == ["sky: 1.png", "cats/tom.png"] and then == []
    assert files_in(editor.base / "input") == ["cats/tom.png", "sky_ 1.png"], "and are called as the server calls them"
    assert prompt["1"]["inputs"]["cards"] == cards.replace("sky: 1.png", "sky_ 1.png")


# what comes back


def test_half_a_file_is_fetched_again_and_never_shown(run, fake, here):
    whole = bytes(range(256)) * 4096
    fake.shows({"filename": "a.mp4", "subfolder": "s", "type": "output"})
    fake.files["a.mp4"] = whole
    seen = []

    async def half(request):
        seen.append(files_in(here / "output"))
        if len(seen) > most:
            return None
        answer = web.StreamResponse(headers={"Content-Length": str(len(whole))})
        await answer.prepare(request)
        await answer.write(whole[: len(whole) // 2])
        await asyncio.sleep(0.1)
        request.transport.abort()
        return answer

    fake.before["/view"] = half
    most = 1
    code, out, err = run(MAKE, fake)
    assert code == 0 and Path(out.strip()).read_bytes() == whole, err
    assert Path(out.strip()) == here / "output" / "s" / "a.mp4" and files_in(here / "output") == ["s/a.mp4"]
    assert all(Path(name).name.startswith(".") for names in seen for name in names)
    (here / "output" / "s" / "a.mp4").unlink()
    most = 99
    code, _, err = run(MAKE, fake)
    assert code == 5 and files_in(here / "output") == []
    says_one_line(err, "a.mp4 couldn't be fetched whole: the answer broke off", "it still lies on the server")


@pytest.mark.parametrize(
    "name, subfolder",
    [
        ("../../evil", ""),
        ("evil", "../.."),
        ("/evil", ""),
        ("evil", "/tmp"),
        ("C:evil", ""),
        ("a\nb", ""),
        ("evil", "link"),
    ],
)
def test_no_name_leaves_the_folder(run, fake, here, tmp_path, name, subfolder):
    (here / "output").mkdir()
    (here / "output" / "link").symlink_to(tmp_path)
    before = files_in(tmp_path)
    fake.shows({"filename": name, "subfolder": subfolder, "type": "output"})
    fake.files[name] = b"evil"
    code, _, err = run(MAKE, fake)
    assert code == 5 and set(files_in(tmp_path)) - set(before) <= {"here/graph.json"}
    says_one_line(err, "the server calls a result")


def test_results_never_replace_others_and_the_same_one_is_kept_once(run, fake, here):
    fake.shows(
        {"filename": "clip_00001_.mp4", "subfolder": "", "type": "output"},
        {"filename": "look.png", "subfolder": "a\\b", "type": "temp"},
        {"filename": "source.png", "subfolder": "", "type": "input"},
    )
    fake.files |= {"clip_00001_.mp4": b"new", "look.png": b"p"}
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "clip_00001_.mp4").write_bytes(b"old")
    code, out, _ = run(MAKE, fake, "--json", "--out", here / "elsewhere")
    clip, look = json.loads(out)["outputs"]
    assert code == 0 and (here / "elsewhere" / "clip_00001_.mp4").read_bytes() == b"old"
    assert clip["path"] == str(here / "elsewhere" / "clip_00002_.mp4") and Path(clip["path"]).read_bytes() == b"new"
    assert look["path"] == str(here / "temp" / "a" / "b" / "look.png") and look["folder"] == "temp"
    assert [one["filename"] for one in fake.views] == ["clip_00001_.mp4", "look.png"]
    (here / "elsewhere" / "clip_00001_.mp4").write_bytes(b"new")
    out = run(MAKE, fake, "--out", here / "elsewhere")[1]
    assert out.splitlines()[0] == str(here / "elsewhere" / "clip_00001_.mp4")
    assert len(files_in(here / "elsewhere")) == 2
