"""What the server keeps: uploads, saved workflows, settings."""

import json
import time


def multipart(content: bytes, filename: str, **fields):
    body = b""
    for name, value in fields.items():
        body += f'--X\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    head = f'--X\r\nContent-Disposition: form-data; name="image"; filename="{filename}"\r\n\r\n'.encode()
    return body + head + content + b"\r\n--X--\r\n", {"Content-Type": "multipart/form-data; boundary=X"}


def upload(editor, *arguments, **fields):
    status, _, body = editor.ask("POST", "/api/upload/image", *multipart(*arguments, **fields))
    return status, json.loads(body)


def test_an_upload_can_be_seen_again_and_is_kept_once(editor):
    assert upload(editor, b"one", "猫.png") == (200, {"name": "猫.png", "subfolder": "", "type": "input"})
    assert upload(editor, b"one", "猫.png")[1]["name"] == "猫.png", "the same content once more"
    assert upload(editor, b"two", "猫.png")[1]["name"] == "猫 (1).png"
    assert upload(editor, b"new", "猫.png", overwrite="true")[1]["name"] == "猫.png"
    assert upload(editor, b"clip", "a.mp4", subfolder="clips")[1]["subfolder"] == "clips"
    assert editor.ask("GET", "/api/view?filename=%E7%8C%AB.png&type=input")[2] == b"new"
    assert sorted(path.name for path in (editor.base / "input").iterdir()) == ["clips", "猫 (1).png", "猫.png"]


def test_a_picture_can_be_had_smaller_and_without_its_transparency(editor):
    from io import BytesIO

    from PIL import Image

    (editor.base / "input").mkdir()
    Image.new("RGBA", (20, 10), (255, 0, 0, 0)).save(editor.base / "input" / "a.png")
    status, headers, body = editor.ask("GET", "/api/view?filename=a.png&type=input&preview=webp;50")
    assert status == 200 and headers["Content-Type"] == "image/webp"
    body = editor.ask("GET", "/api/view?filename=a.png&type=input&channel=rgb")[2]
    assert Image.open(BytesIO(body)).mode == "RGB"


# what the editor keeps for its user


def test_workflows_are_saved_listed_renamed_and_deleted(editor):
    folder = "/api/userdata?dir=workflows&recurse=true&split=false&full_info=true"
    assert editor.get(folder) == []
    path = "/api/userdata/workflows%2Fmy%20clips%2F%E7%8C%AB.json"
    saved = editor.post(path + "?overwrite=false&full_info=true", {"nodes": []})
    assert saved["path"] == "workflows/my clips/猫.json" and saved["size"] == 13
    assert abs(saved["modified"] - time.time() * 1000) < 60_000 and set(saved) >= {"created"}
    assert editor.get(path) == {"nodes": []}
    assert editor.post(path + "?overwrite=false", {"nodes": [1]}, expected=409)["error"]["type"] == "exists"
    assert editor.post(path, {"nodes": [1]}) == "workflows/my clips/猫.json"
    assert [one["path"] for one in editor.get(folder)] == ["my clips/猫.json"]
    moved = editor.post(path + "/move/workflows%2Fnew.json?overwrite=false&full_info=true")
    assert moved["path"] == "workflows/new.json"
    assert editor.get("/api/userdata?dir=workflows") == ["new.json"]
    assert editor.ask("DELETE", "/api/userdata/workflows%2Fnew.json")[0] == 204
    assert editor.ask("GET", "/api/userdata/workflows%2Fnew.json")[0] == 404


def test_settings_outlive_the_server(make_editor):
    first = make_editor()
    first.post("/api/settings/Comfy.ColorPalette", "light")
    first.post("/api/settings", {"a": [1, None], "b": True})
    second = make_editor()
    assert second.get("/api/settings").items() >= {"Comfy.ColorPalette": "light", "b": True, "a": [1, None]}.items()
    assert second.get("/api/settings/Comfy.ColorPalette") == "light" and second.get("/api/settings/none") is None
    (first.base / "user" / "default" / "comfy.settings.json").write_text("{broken")
    second.post("/api/settings/again", 1)
    assert second.get("/api/settings/again") == 1
