"""A file → the graph to run. The file is a workflow saved by the editor, its API export, or a video or picture that
carries one of them."""

import copy
import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import convert, drawing
from .errors import InvalidWorkflow, MissingFile, UsageError, one_line, shorten
from .graph import Input, declared, is_link, named, names_file, title

MOST_BYTES = 200 * 2**20
JSON_WOULD_BE_RIGHT = "a workflow saved by the editor, its API export, or a video or picture made by one would be right"


@dataclass
class Workflow:
    prompt: dict[str, dict]  # what runs: API format
    drawn: dict | None = None  # what the editor saved, if the file has it; saved results carry it on
    converted: bool = False  # whether `prompt` was made from `drawn`

    @property
    def extra_data(self) -> dict:
        return {"extra_pnginfo": {"workflow": self.drawn}} if self.drawn is not None else {}


def read(path: str | Path, classes: dict[str, type]) -> Workflow:
    """Parse FILE and convert it where needed. Every flaw is an InvalidWorkflow with one line."""
    data = _bytes(path)
    name = Path(path).name
    if data.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")[:1] in (b"{", b"[") or Path(path).suffix.lower() == ".json":
        return from_json(parse(data, name), classes, name)
    return _embedded(path, name, classes)


def from_json(content, classes: dict[str, type], name: str = "the workflow") -> Workflow:
    """UI or API format, also inside {"workflow": …} or the {"prompt": …} that is posted to a server."""
    if not isinstance(content, dict):
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(content), shorten(content))
        raise InvalidWorkflow(f"{name} holds {kind}; a workflow is a JSON object with nodes")
    if "nodes" in content:
        drawn = drawing.renumbered(content)
        return Workflow(convert.to_prompt(drawn, classes), drawn, converted=True)
    wrapped = {key: content[key] for key in ("prompt", "workflow") if isinstance(content.get(key), dict)}
    if wrapped and not any(isinstance(content[key].get("class_type"), str) for key in wrapped):
        return _from_both(wrapped.get("prompt"), wrapped.get("workflow"), classes, name)
    return Workflow(checked_prompt(content, name))


def parse(data: bytes, name: str):
    """JSON as people's tools write it (with a byte order mark, in UTF-16), and no more than JSON."""
    if not data.strip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"):
        raise InvalidWorkflow(f"{name} is empty; {JSON_WOULD_BE_RIGHT}")
    try:
        return json.loads(data.decode(json.detect_encoding(data)), object_pairs_hook=_once)
    except UnicodeDecodeError as error:
        raise InvalidWorkflow(f"{name} isn't UTF-8 text (at byte {error.start}); save it as UTF-8") from error
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        what = "is cut short" if cut else "is no valid JSON"
        raise InvalidWorkflow(f"{name} {what}: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise InvalidWorkflow(f"{name} is nested too deeply to be a workflow") from error
    except ValueError as error:
        if "integer string" in str(error):
            raise InvalidWorkflow(f"{name} holds a number of thousands of digits; no input takes one") from error
        raise InvalidWorkflow(f"{name}: {one_line(str(error))}") from error


def _once(pairs: list) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise ValueError(f"an object has the key {shorten(twice)!r} twice; which one is meant can't be told")
    return found


def _bytes(path: str | Path) -> bytes:
    try:
        if Path(path).is_file() and Path(path).stat().st_size > MOST_BYTES:
            return Path(path).open("rb").read(16)  # a long video; its graph is read by itself
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise MissingFile(f"there is no file {shorten(str(path), 300)}") from error
    except IsADirectoryError as error:
        raise MissingFile(f"{shorten(str(path), 300)} is a folder; give the workflow file in it") from error
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise MissingFile(f"can't read {shorten(str(path), 300)}: {what}") from error


def _embedded(path: str | Path, name: str, classes: dict[str, type]) -> Workflow:
    from ..media.metadata import read_graph

    try:
        found = read_graph(path)
    except ValueError as error:
        raise InvalidWorkflow(f"no workflow in {name}: {one_line(str(error))}; {JSON_WOULD_BE_RIGHT}") from error
    if not found:
        raise InvalidWorkflow(f"{name} carries no workflow; {JSON_WOULD_BE_RIGHT}")
    return _from_both(found.get("prompt"), found.get("workflow"), classes, name)


def _from_both(prompt, drawn, classes: dict[str, type], name: str) -> Workflow:
    """The prompt is what really ran, so it counts; the drawing goes along into what is saved now."""
    if prompt is None:
        return from_json(drawn, classes, name)
    return Workflow(checked_prompt(prompt, name), drawn if isinstance(drawn, dict) and "nodes" in drawn else None)


def checked_prompt(prompt, name: str) -> dict[str, dict]:
    """API format with every node an object, without what a former run left in it."""
    if not isinstance(prompt, dict) or not prompt:
        raise InvalidWorkflow(f"{name} holds no nodes; {JSON_WOULD_BE_RIGHT}")
    if not any(isinstance(node, dict) and "class_type" in node for node in prompt.values()):
        raise InvalidWorkflow(f"{name} is JSON but no workflow; {JSON_WOULD_BE_RIGHT}")
    checked = {}
    for node_id, node in prompt.items():
        if not isinstance(node, dict):
            raise InvalidWorkflow(
                f"node {shorten(node_id)} is {shorten(node)}; an object with class_type and inputs would be right",
                node=node_id,
            )
        inputs = node.get("inputs", {})
        if not isinstance(inputs, dict):
            raise InvalidWorkflow(
                f"node {shorten(node_id)} has the inputs {shorten(inputs)}; an object of values by name would be right",
                node=node_id,
            )
        checked[node_id] = {**{k: v for k, v in node.items() if k != "is_changed"}, "inputs": dict(inputs)}
    return checked


# --set NODE.INPUT=VALUE


@dataclass(frozen=True)
class Setting:
    """One --set or --set-file, as typed."""

    node: str
    input: str
    text: str

    @classmethod
    def parse(cls, argument: str, option: str = "--set") -> "Setting":
        target, equals, text = argument.partition("=")
        node, dot, name = target.rpartition(".")
        if not (equals and dot and node.strip() and name.strip()):
            raise UsageError(f"{option} {shorten(argument)!r} isn't NODE.INPUT=VALUE, as in {option} Sample.steps=30")
        return cls(node.strip(), name.strip(), text)


def apply_settings(workflow: Workflow, settings: Iterable[Setting], classes: dict[str, type]) -> Workflow:
    """The workflow with other values, in what runs and, where it can be said there, in what is drawn."""
    settings = list(settings)
    if not settings:
        return workflow
    workflow = copy.deepcopy(workflow)
    done = set()
    for setting in settings:
        node_id = _find(setting.node, workflow.prompt, classes)
        node = workflow.prompt[node_id]
        node_class = classes.get(node["class_type"])
        where = named(node_id, node, node_class)
        inputs = declared(node_class) if node_class else {}
        name = next((one for one in inputs if one.casefold() == setting.input.casefold()), None)
        if name is None:
            near = difflib.get_close_matches(setting.input, inputs, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"{where} has no input {setting.input!r}; it has: {', '.join(inputs) or 'none'}", hint, node_id
            )
        if is_link(node["inputs"].get(name)):
            source = node["inputs"][name][0]
            other = workflow.prompt.get(source, {"class_type": "?"})
            other = named(source, other, classes.get(other["class_type"]))
            raise UsageError(
                f"{where}: {name!r} is linked to {other}; set that node instead",
                node=node_id,
            )
        if (node_id, name) in done:
            raise UsageError(f"{where}: {name!r} is set twice; which value is meant can't be told", node=node_id)
        done.add((node_id, name))
        value = value_of(setting.text, inputs[name], where)
        node["inputs"][name] = value
        if workflow.drawn is not None:
            try:
                convert.set_widget(workflow.drawn, node_id, name, value, classes)
            except (LookupError, StopIteration, TypeError, InvalidWorkflow):
                pass  # the drawing of a stranger's file may be anything; what runs is right
    return workflow


def value_of(text: str, declared_input: Input, where: str):
    """What was typed, as the type that the input takes."""
    name, kind, choices = declared_input.name, declared_input.type, declared_input.choices
    if choices is not None:
        match = [choice for choice in choices if str(choice) == text]
        match = match or [choice for choice in choices if str(choice).casefold() == text.casefold()]
        if not match and names_file(declared_input, text):
            return text  # validation says where it was looked for
        if not match:
            shown = ", ".join(map(str, choices[:20])) + (", …" if len(choices) > 20 else "")
            raise UsageError(f"{where}: {name} {shorten(text)!r} isn't one of its choices: {shown}")
        return match[0]
    try:
        if kind == "INT":
            return int(text)
        if kind == "FLOAT":
            return float(text)
        if kind == "BOOLEAN":
            yes, no = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
            return {**dict.fromkeys(yes, True), **dict.fromkeys(no, False)}[text.strip().casefold()]
    except (ValueError, KeyError) as error:
        right = {"INT": "a whole number", "FLOAT": "a number", "BOOLEAN": "true or false"}[kind]
        raise UsageError(f"{where}: {name} {shorten(text)!r} isn't {right}") from error
    if kind == "STRING":
        return text
    raise UsageError(f"{where}: {name!r} takes a link ({kind}), not a value")


def _find(wanted: str, prompt: dict[str, dict], classes: dict[str, type]) -> str:
    """The id of the node that is called so: by id, title or class, the class also without 'Spacetime'."""
    if wanted in prompt:
        return wanted
    called = {}
    for node_id, node in prompt.items():
        kind = node["class_type"] if isinstance(node.get("class_type"), str) else ""
        node_class = classes.get(kind)
        names = {title(node, node_class), kind, kind.removeprefix("Spacetime"), getattr(node_class, "TITLE", kind)}
        called[node_id] = {name.casefold() for name in names}
    found = [node_id for node_id, names in called.items() if wanted.casefold() in names]
    by_title = [one for one in found if title(prompt[one]).casefold() == wanted.casefold()]
    if len(found) > 1 and len(by_title) == 1:  # a title given by the user outranks the class of other nodes
        found = by_title

    def listed(ids):
        return ", ".join(named(one, prompt[one], classes.get(str(prompt[one].get("class_type")))) for one in ids)

    if len(found) > 1:
        raise UsageError(f"{wanted!r} could be any of {listed(found)}", "name it by its id")
    if not found:
        near = difflib.get_close_matches(wanted.casefold(), [name for names in called.values() for name in names], 1)
        close = next((node_id for node_id, names in called.items() if near and near[0] in names), None)
        hint = f"did you mean {named(close, prompt[close])}?" if close else ""
        raise UsageError(f"no node is called {wanted!r}; there are: {listed(list(prompt)[:30])}", hint)
    return found[0]
