"""The editor in other languages: complete for every node, the English always the classes' own words."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import spacetime_nodes
from spacetime_nodes import NODE_CLASS_MAPPINGS
from spacetime_nodes.host import locales
from spacetime_nodes.host.graph import declared

ROOT = Path(spacetime_nodes.__file__).parent
ENGLISH = locales.texts(locales.english(NODE_CLASS_MAPPINGS))
CHINESE = locales.texts(locales.read("zh"))
SAME_IN_CHINESE = {"Spacetime", "Latent", "VAE"}  # what users of ComfyUI call them too
ALL_LANGUAGES = sorted(path.name for path in locales.FOLDER.iterdir())


def test_the_english_file_says_what_the_classes_say():
    assert locales.texts(locales.read("en")) == ENGLISH, "stale: python -m spacetime_nodes.host.locales writes it"


def test_every_node_is_described_in_the_shape_that_the_editor_reads():
    assert set(locales.read("en")["nodeDefs"]) == set(NODE_CLASS_MAPPINGS)
    for name, node in NODE_CLASS_MAPPINGS.items():
        entry = locales.read("en")["nodeDefs"][name]
        assert set(entry) == {"display_name", "description", "inputs", "outputs"}
        assert set(entry["inputs"]) == set(declared(node)), "no name of an input has a dot, which would need a _"
        assert list(entry["outputs"]) == [str(slot) for slot in range(len(node.RETURN_TYPES))]
        for one in (*entry["inputs"].values(), *entry["outputs"].values()):
            assert set(one) == {"name", "tooltip"} and all(one.values()), name


def test_chinese_has_every_text_and_no_other():
    assert sorted(CHINESE) == sorted(ENGLISH)


def test_each_text_is_chinese_and_punctuated_so():
    def right(text):
        chinese = re.search("[\u4e00-\u9fff]", text) or text in SAME_IN_CHINESE
        return chinese and not re.search(r"[\u4e00-\u9fff] ?[,;:?!]", text) and text == text.strip()

    assert {place: text for place, text in CHINESE.items() if not right(text)} == {}


def test_numbers_and_placeholders_are_the_same_in_both():
    def facts(text):
        return Counter(re.findall(r"%[^% ]+%|\[[^\]]+\]|\.latent|\w+/\w*|\d+(?:\.\d+)?", text))

    different = {
        place: (facts(text), facts(CHINESE[place]))
        for place, text in ENGLISH.items()
        if facts(text) != facts(CHINESE[place])
    }
    assert different == {}


def test_choices_keep_the_names_that_the_menu_shows():
    """A menu isn't translated, so a tooltip that explains its entries has to call them by their names."""
    for name, node in NODE_CLASS_MAPPINGS.items():
        for one in declared(node).values():
            place = f"nodeDefs.{name}.inputs.{one.name}.tooltip"
            explained = [
                choice for choice in one.choices or () if re.search(rf"\b{re.escape(choice)}:? ", ENGLISH[place])
            ]
            missing = [choice for choice in explained if choice not in CHINESE[place]]
            assert missing == [], place


def test_a_node_is_called_by_its_own_name_wherever_it_is_mentioned():
    titles = {node.TITLE: CHINESE[f"nodeDefs.{name}.display_name"] for name, node in NODE_CLASS_MAPPINGS.items()}
    mentions = 0
    for place, text in ENGLISH.items():
        for title in re.findall(rf"(?:From|for) ({'|'.join(map(re.escape, titles))})\b", text):
            assert f"“{titles[title]}”" in CHINESE[place], place
            mentions += 1
    assert mentions > 30


def test_what_the_extension_says_is_said_in_chinese_too():
    """Its words stand in web/words.js: they are needed before the editor has fetched any translation."""
    literal = r'"([^"\n]+)"'
    words = (ROOT / "web" / "words.js").read_text(encoding="utf-8")
    chinese = dict(re.findall(rf"^ +{literal}:\s+{literal},$", words, re.MULTILINE))
    code = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "web").glob("*.js") if path.name != "words.js"
    )
    said = set(re.findall(rf"say\(\s*{literal}", code))
    assert len(said) > 15 and said <= set(chinese), said - set(chinese)
    assert set(chinese) <= set(re.findall(literal, code)), "no translation of what nobody says any more"
    for english, text in chinese.items():
        assert sorted(re.findall(r"\{\w+\}", english)) == sorted(re.findall(r"\{\w+\}", text)), english
    shown = re.findall(r"\b(?:title|textContent) = .*", code) + re.findall(r"new Error\(.*", code)
    assert [
        line for line in shown if re.search(r"[\"`].*[a-z]{2}", re.sub(r"\$\{.*?\}", "", line)) and "say(" not in line
    ] == []


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_no_text_holds_what_the_editors_message_compiler_would_read(language):
    """vue-i18n takes @ { } | and the backslash for syntax; tooltips are compiled in older editors, titles in all."""
    found = locales.texts(locales.read(language))
    assert [text for text in found.values() if re.search(r"[@{}|\\]", text)] == []


def test_comfyui_collects_the_files():
    """As its custom_node_manager does: main.json's own keys, the others under their file's name, per language."""
    assert ALL_LANGUAGES == ["en", "zh"]
    for language in ALL_LANGUAGES:
        files = {path.name for path in (locales.FOLDER / language).iterdir()}
        assert files <= {"main.json", "nodeDefs.json", "commands.json", "settings.json"}
        main = json.loads((locales.FOLDER / language / "main.json").read_text(encoding="utf-8"))
        shelves = {part for node in NODE_CLASS_MAPPINGS.values() for part in node.CATEGORY.split("/")}
        assert set(main) == {"nodeCategories", "dataTypes"} and set(main["nodeCategories"]) == shelves


def test_an_installed_package_has_them_too():
    data = re.search(r"\[tool\.setuptools\.package-data\]\n.*?\[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.S)[
        1
    ]
    packed = {path for pattern in re.findall('"([^"]+)"', data) for path in ROOT.glob(pattern)}
    assert {path for path in locales.FOLDER.rglob("*.json")} <= packed


def test_the_command_says_what_a_translator_has_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locales, "FOLDER", tmp_path)
    (old := locales.english(NODE_CLASS_MAPPINGS))["nodeDefs"]["SpacetimeSample"]["display_name"] = "Sampler"
    (chinese := locales.english(NODE_CLASS_MAPPINGS))["nodeDefs"]["Gone"] = {"display_name": "旧"}
    del chinese["nodeDefs"]["SpacetimeGrid"]["description"]
    locales.write(old, "en")
    locales.write(chinese, "zh")
    assert locales.main() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("zh: translate nodeDefs.SpacetimeGrid.description: An empty video")
    assert said[1:] == [
        "zh: look at nodeDefs.SpacetimeSample.display_name, now: Sample",
        "zh: delete nodeDefs.Gone.display_name",
    ]
    assert locales.texts(locales.read("en")) == ENGLISH


@pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)
def test_the_chinese_help_page_says_what_the_english_one_does(name):
    docs = ROOT / "web" / "docs"
    english, chinese = (docs.joinpath(*page).read_text(encoding="utf-8") for page in ([f"{name}.md"], [name, "zh.md"]))
    words = locales.read("zh")["nodeDefs"][name]
    assert chinese.startswith(f"# {words['display_name']}\n")
    for one in words["inputs"].values():
        assert f"**{one['name']}**" in chinese, "every input, as the node calls it"
    for kind in (r"\d+(?:\.\d+)?", r"`[^`\n]+`", r"^ *- ", r"^## ", r"^ {6}\S.*"):
        found = [Counter(re.findall(kind, page, re.MULTILINE)) for page in (english, chinese)]
        assert set(found[0]) <= set(found[1]), (kind, set(found[0]) - set(found[1]))
        assert kind[0] != "^" or found[0] == found[1], "as many entries, headings and lines of an example"
