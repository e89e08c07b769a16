"""The nodes of another server as classes without a body: what conversion and validation need, from its /object_info."""

import re


def classes_of(definitions: dict) -> dict[str, type]:
    return {name: _stand_in(name, one) for name, one in definitions.items() if isinstance(one, dict)}


def _stand_in(name: str, definition: dict) -> type:
    inputs: dict[str, dict] = {"required": {}, "optional": {}}
    declared = definition.get("input")
    for category in ("required", "optional"):
        found = declared.get(category) if isinstance(declared, dict) else None
        for one, spec in found.items() if isinstance(found, dict) else ():
            kind, options = _spec(spec)
            inputs[category if kind != "*" else "optional"][one] = (kind, options)
    outputs = definition.get("output")
    facts = {
        "INPUT_TYPES": classmethod(lambda cls: inputs),
        "RETURN_TYPES": tuple(outputs) if isinstance(outputs, list) else (),
        "OUTPUT_NODE": definition.get("output_node") is True,
        "TITLE": str(definition.get("display_name") or name),
    }
    return type(name, (), facts)


def _spec(spec) -> tuple:
    """(type, options). What only the server can judge takes anything: choices that it asks of others, and inputs that
    multiply or change with what is wired to them."""
    kind, *rest = spec if isinstance(spec, list) and spec else ["*"]
    options = rest[0] if rest and isinstance(rest[0], dict) else {}
    asked = (kind == "COMBO" or isinstance(kind, list)) and options.get("remote")
    if asked or (kind == "COMBO" and not isinstance(options.get("options"), list)):
        return "STRING", options
    if not isinstance(kind, (str, list)) or (isinstance(kind, str) and re.fullmatch(r"COMFY_\w+_V\d+", kind)):
        return "*", options
    return kind, options
