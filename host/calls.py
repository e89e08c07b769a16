"""Calling a node: its inputs and outputs are lists, usually of one, and it runs once per element."""

import asyncio
import inspect

from ..nodes import runtime


class ExecutionBlocker:
    """A node returns it in place of an output: whoever uses that output doesn't run. `message` None blocks silently."""

    def __init__(self, message: str | None):
        self.message = message


def each(owner, inputs: dict[str, list], method: str, on_block=lambda blocker: blocker) -> list:
    """Call once per element of the longest list, shorter ones repeating their last; INPUT_IS_LIST gets the lists.

    `on_block` takes the ExecutionBlocker that keeps a call from being made, and returns its result.
    """
    function = getattr(owner, method)
    if getattr(owner, "INPUT_IS_LIST", False):
        calls = [inputs]
    else:
        lengths = [len(values) for values in inputs.values()] or [1]
        longest = max(lengths) if min(lengths) else 0  # an empty list means nothing to do
        calls = [{name: values[min(i, len(values) - 1)] for name, values in inputs.items()} for i in range(longest)]
    results = []
    for call in calls:
        values = [one for value in call.values() for one in (value if call is inputs else [value])]
        blocker = next((value for value in values if isinstance(value, ExecutionBlocker)), None)
        if blocker is not None:
            results.append(on_block(blocker))
            continue
        runtime.check_interrupted()
        result = function(**call)
        results.append(asyncio.run(_finished(result)) if inspect.isawaitable(result) else result)
    return results


async def _finished(awaitable):
    return await awaitable


def as_outputs(result, node_class: type) -> tuple:
    """What a call returned, as one value per declared output."""
    count = len(node_class.RETURN_TYPES)
    if isinstance(result, ExecutionBlocker):
        return (result,) * count
    if result is None and count == 0:
        return ()
    if not isinstance(result, (tuple, list)):
        raise TypeError(f"it returned {type(result).__name__}; a tuple of {count} outputs would be right")
    if len(result) < count:
        if not result:  # {"ui": …} alone
            return (None,) * count
        raise TypeError(f"it returned {len(result)} outputs; it declares {count}")
    return tuple(result)


def merged(results: list[tuple], node_class: type) -> list[list]:
    """The outputs of several calls, slot by slot."""
    columns: list[list] = [[] for _ in node_class.RETURN_TYPES]
    for outputs in results:
        for column, is_list, one in zip(columns, output_is_list(node_class), outputs, strict=False):
            if is_list and not isinstance(one, ExecutionBlocker) and one is not None:
                column.extend(one)
            else:
                column.append(one)
    return columns


def output_is_list(node_class: type) -> tuple:
    return tuple(getattr(node_class, "OUTPUT_IS_LIST", None) or (False,) * len(node_class.RETURN_TYPES))
