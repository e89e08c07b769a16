"""Is this graph fit to run? The checks, error types and shapes of ComfyUI, which the editor understands.

One difference: `details` is a whole sentence for a person, and it is what the command line prints.
"""

import difflib
import inspect
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..nodes import runtime
from .errors import one_line, refused, shorten
from .graph import Cycle, Input, ancestors_first, declared, is_link, named, names_file, plain, sources, title
from .missing_model import missing_model


@dataclass
class Validation:
    outputs: list[str] = field(default_factory=list)  # ids of the output nodes that can run, in the order of the prompt
    error: dict | None = None  # set when nothing can run
    node_errors: dict[str, dict] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)  # every node that an output needs, each after all of its own

    @property
    def complaint(self) -> tuple[dict, str | None] | None:
        """The first flaw, and the id of the node that has it."""
        for node_id, entry in self.node_errors.items():
            return entry["errors"][0], node_id
        return None if self.error is None else (self.error, self.error["extra_info"].get("node_id"))


def validate(prompt: dict[str, dict], classes: dict[str, type], wanted: list[str] | None = None) -> Validation:
    """Check the output nodes (all, or the `wanted` ones) with everything they need. Converts widget values in place."""
    unknown = class_errors(prompt, classes)
    if unknown:
        return Validation(error=unknown[0])
    outputs = [
        node_id
        for node_id, node in prompt.items()
        if getattr(classes[node["class_type"]], "OUTPUT_NODE", False) is True and (wanted is None or node_id in wanted)
    ]
    if not outputs:
        details = "no node of this workflow saves or shows anything; add one, or unmute it"
        return Validation(error=_error("prompt_no_outputs", "Prompt has no outputs", details))

    def parents(node_id):
        return [one for one in sources(prompt[node_id]) if one in prompt]

    try:
        order = list(ancestors_first(outputs, parents))
    except Cycle as cycle:
        round_trip = " → ".join([*cycle.ids[:8], *(["…"] if len(cycle.ids) > 8 else []), cycle.ids[0]])
        details = f"these nodes wait for each other in a circle: {round_trip}"
        error = _error("dependency_cycle", "Dependency cycle detected", details, node_id=cycle.ids[0])
        return Validation(error=error)

    flaws: dict[str, list] = {}
    for node_id in order:
        flaws[node_id] = _node_errors(node_id, prompt, classes)
    good = []
    result = Validation(order=order)
    for output in outputs:
        bad = [one for one in ancestors_first([output], parents) if flaws[one]]
        for one in bad:
            entry = {"errors": flaws[one], "dependent_outputs": [], "class_type": prompt[one]["class_type"]}
            result.node_errors.setdefault(one, entry)["dependent_outputs"].append(output)
        if not bad:
            good.append(output)
    result.outputs = good
    if not good:
        details = "\n".join(f"{one['message']}: {one['details']}" for errors in flaws.values() for one in errors)
        result.error = _error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
    return result


def valid_outputs(prompt: dict[str, dict], classes: dict[str, type]) -> list[str]:
    """The outputs to run. One flaw anywhere stops a run without an editor: half the results would pass for all."""
    checked = validate(prompt, classes)
    if checked.complaint is None:
        return checked.outputs
    error, node_id = checked.complaint
    count = sum(len(entry["errors"]) for entry in checked.node_errors.values()) - 1
    more = f"and {count} more like it" if count == 1 else f"and {count} more" if count > 0 else ""
    raise refused(error, node_id, more)


def class_errors(prompt: dict[str, dict], classes: dict[str, type]) -> list[dict]:
    """One error for each node that isn't known here, whether an output needs it or not."""
    return [error for node_id, node in prompt.items() if (error := _class_error(node_id, node, classes))]


def _class_error(node_id: str, node, classes: dict[str, type]) -> dict | None:
    kind = node.get("class_type") if isinstance(node, dict) else None
    if not isinstance(kind, str):
        message = "Cannot execute because a node is missing the class_type property."
        what = "no class_type" if kind is None else f"the class_type {shorten(kind)}"
        details = f"node {shorten(node_id)} has {what}; the name of a node would be right"
        return _error("invalid_prompt", message, details, node_id=node_id)
    if kind in classes:
        return None
    meta = node.get("_meta") if isinstance(node.get("_meta"), dict) else {}
    pack = meta.get("cnr_id") or meta.get("aux_id")
    by_lower = {one.lower(): one for one in classes}
    near = difflib.get_close_matches(kind.lower(), by_lower, 1, 0.6)
    details = f"node {shorten(node_id)} is a {shorten(kind)!r}, which isn't known here"
    if kind.startswith("workflow>") or kind.startswith("workflow/"):
        details += ": an old group node; open it in the editor and convert it to a subgraph"
    elif pack and pack != "comfy-core":
        details += f"; it comes from the node pack {shorten(str(pack))}"
    elif pack == "comfy-core":
        details += "; it is ComfyUI's own and needs ComfyUI"
    if near:
        details += f"; did you mean {by_lower[near[0]]!r}?"
    extra = {"node_id": node_id, "class_type": kind, "node_title": title(node)}
    return _error("missing_node_type", f"Node '{shorten(kind)}' not found.", details, **extra)


def _node_errors(node_id: str, prompt: dict, classes: dict) -> list[dict]:
    node = prompt[node_id]
    node_class = classes[node["class_type"]]
    where = named(node_id, node, node_class)
    custom = getattr(node_class, "VALIDATE_INPUTS", None)
    spec = inspect.getfullargspec(custom) if custom else None
    takes = (lambda name: name in spec.args or spec.varkw is not None) if spec else (lambda name: False)

    errors, received = [], {}
    for one in declared(node_class).values():
        if one.name not in node["inputs"]:
            if one.category == "required":
                details = f"{where}: {one.name!r} is missing; it takes {_wanted(one)}"
                errors.append(_about(one, "required_input_missing", "Required input is missing", details))
            continue
        value = node["inputs"][one.name]
        if isinstance(value, list):
            error = _link_error(one, value, prompt, classes, where, received, spec)
        else:
            error = _value_error(one, node["inputs"], where, takes(one.name))
            if error and error["type"] == "value_not_in_list" and "model_folder" in one.options:
                details, extra = missing_model(one, value, prompt, classes)
                error = _about(one, error["type"], error["message"], f"{where}: {details}", **extra)
        if error:
            errors.append(error)
    # inputs of another version of the node aren't used, but what they are linked to runs
    for name in node["inputs"].keys() - declared(node_class).keys():
        value = node["inputs"][name]
        if is_link(value) and value[0] not in prompt:
            errors.append(_link_error(Input(name, "*", {}, "optional"), value, prompt, classes, where, received, spec))
    if spec and not errors:
        errors += _custom_errors(node, node_class, custom, spec, takes, received, where)
    return errors


def _link_error(one: Input, link: list, prompt, classes, where: str, received: dict, spec) -> dict | None:
    def bad(details):
        message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
        return _about(one, "bad_linked_input", message, f"{where}: {one.name!r} {details}", received_value=link)

    if not is_link(link):
        return bad(f'is linked to {shorten(link)}; ["node id", output number] would be right')
    source, slot = link
    if source not in prompt:
        return bad(f"is linked to node {shorten(source)}, which isn't in the workflow")
    source_class = classes[prompt[source]["class_type"]]
    types = source_class.RETURN_TYPES
    if not 0 <= slot < len(types):
        has = f"{len(types)} outputs, numbered from 0" if len(types) != 1 else "one output, number 0"
        has = has if types else "no outputs"
        return bad(
            f"is linked to output {shorten(slot)} of {named(source, prompt[source], source_class)}, which has {has}"
        )
    received[one.name] = types[slot]
    if (spec and "input_types" in spec.args) or compatible(types[slot], one.type):
        return None
    details = (
        f"{where}: {one.name!r} takes {_wanted(one)}, but is linked to "
        f"{named(source, prompt[source], source_class)}, which gives {shorten(str(types[slot]))}"
    )
    message = "Return type mismatch between linked nodes"
    extra = {"received_type": types[slot], "linked_node": link}
    return _about(one, "return_type_mismatch", message, details, **extra)


def compatible(received, wanted) -> bool:
    """Types are names, several joined by commas; `*` is any. Packs also pass str subclasses that equal everything."""
    if not received != wanted or "*" in (received, wanted):
        return True
    if isinstance(wanted, (list, tuple)):
        return received == "COMBO"
    if not isinstance(received, str) or not isinstance(wanted, str):
        return False
    return bool({one.strip() for one in received.split(",")} & {one.strip() for one in wanted.split(",")})


def _value_error(one: Input, inputs: dict, where: str, node_checks_itself: bool) -> dict | None:
    value = plain(inputs[one.name])
    if not isinstance(value, list):  # a bare list would be a link
        inputs[one.name] = value
    convert = (
        {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}.get(one.type)
        if isinstance(one.type, str)
        else None
    )
    if convert:
        try:
            if value is None or isinstance(value, (dict, list)) and convert is not bool:
                raise ValueError("it is no plain value")
            value = inputs[one.name] = convert(value)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError("it is no finite number")
        except (ValueError, TypeError, OverflowError) as error:
            details = f"{where}: {one.name} is {shorten(value)}; it takes {_wanted(one)}"
            message = f"Failed to convert an input value to a {one.type} value"
            return _about(
                one,
                "invalid_input_type",
                message,
                details,
                received_value=value,
                exception_message=one_line(str(error)),
            )
    if node_checks_itself:
        return None
    low, high = one.options.get("min"), one.options.get("max")
    if convert in (int, float) and low is not None and value < low:
        details = f"{where}: {one.name} is {shorten(value)}; at least {low} would be right"
        message = f"Value {shorten(value)} smaller than min of {low}"
        return _about(one, "value_smaller_than_min", message, details, received_value=value)
    if convert in (int, float) and high is not None and value > high:
        details = f"{where}: {one.name} is {shorten(value)}; at most {high} would be right"
        message = f"Value {shorten(value)} bigger than max of {high}"
        return _about(one, "value_bigger_than_max", message, details, received_value=value)
    if one.choices is not None and value not in one.choices:
        near = difflib.get_close_matches(str(value)[:200], list(map(str, one.choices)), 1, 0.5)
        choices = ", ".join(map(repr, one.choices[:20])) + (", …" if len(one.choices) > 20 else "")
        right = f"did you mean {near[0]!r}?" if near else f"one of {choices or 'no choices at all'} would be right"
        details = f"{where}: {one.name} is {shorten(value)}, which isn't among its choices; {right}"
        extra = {"missing_file": True, "folder": str(_folder_of(one))} if names_file(one, value) else {}
        return _about(one, "value_not_in_list", "Value not in list", details, received_value=value, **extra)
    return None


def _folder_of(one: Input) -> Path:
    """Where the files lie that a combo offers."""
    return runtime.host().base / "models" if one.name.endswith("_name") else runtime.input_dir()


def _custom_errors(node, node_class, custom, spec, takes, received, where) -> list[dict]:
    """VALIDATE_INPUTS: True, or what is wrong. Linked inputs aren't known yet and come as None."""
    known = {name: None if is_link(value) else plain(value) for name, value in node["inputs"].items()}
    given = {name: known[name] for name in declared(node_class) if name in known and takes(name)}
    arguments = {**given, "input_types": received} if "input_types" in spec.args else given
    extra = {}
    try:
        answer = custom(**arguments)
    except Exception as error:
        answer = one_line(str(error)) or type(error).__name__
        extra = {"missing_file": True} if isinstance(error, FileNotFoundError) else {}
    if answer is True:
        return []
    details = f"{where}: {one_line(str(answer)) if answer is not False else 'refused by the node'}"
    message = "Custom validation failed for node"
    inputs = declared(node_class)
    return [_about(inputs[name], "custom_validation_failed", message, details, **extra) for name in given] or [
        _error("custom_validation_failed", message, details, **extra)
    ]


def _wanted(one: Input) -> str:
    if one.choices is not None:
        return "one of its choices"
    return {"INT": "a whole number", "FLOAT": "a number", "STRING": "a text", "BOOLEAN": "true or false"}.get(
        one.type, shorten(str(one.type))
    )


def _about(one: Input, kind: str, message: str, details: str, **extra: Any) -> dict:
    config = (one.type, one.options) if one.choices is None or len(one.choices) <= 20 else None
    return _error(kind, message, details, input_name=one.name, input_config=config, **extra)


def _error(kind: str, message: str, details: str, **extra: Any) -> dict:
    return {"type": kind, "message": message, "details": details, "extra_info": extra}
