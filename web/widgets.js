// A node's own widgets: what they say, and how to set them as a person would.

export function widget(node, name) {
  return node.widgets?.find((one) => one.name === name);
}

export function value(node, name) {
  return widget(node, name)?.value;
}

// A wired widget's own value doesn't count.
export function isWired(node, name) {
  return node.inputs?.some((input) => input.widget?.name === name && input.link != null) ?? false;
}

export function put(node, name, to) {
  const found = widget(node, name);
  if (!found || found.value === to) return;
  found.value = to;
  found.callback?.(to, undefined, node);
  node.graph?.setDirtyCanvas(true, true);
}

// The nearest value that a number widget can be set to. step2 is the step itself, `step` ten times it.
export function admitted(found, to) {
  const { min = -Infinity, max = Infinity, step2, step = 10 } = found.options;
  const by = step2 ?? step / 10;
  const rounded = Math.round(to / by) * by;
  return Number(Math.min(max, Math.max(min, rounded)).toFixed(4));
}

// Calls `changed` after every change of these widgets or of any other watched ones (a canvas's length is its grid's),
// after a saved graph has set them, and after a wire has come or gone.
export function watch(node, names, changed) {
  const tell = () => changes.dispatchEvent(new Event("change"));
  for (const name of names) {
    const found = widget(node, name);
    if (found) found.callback = after(found.callback, tell);
  }
  node.onConfigure = after(node.onConfigure, tell);
  node.onConnectionsChange = after(node.onConnectionsChange, tell);
  node.onAdded = after(node.onAdded, () => changes.addEventListener("change", changed));
  node.onRemoved = after(node.onRemoved, () => changes.removeEventListener("change", changed));
}

const changes = new EventTarget();

export function after(first, then) {
  return function (...all) {
    const result = first?.apply(this, all);
    then.apply(this, all);
    return result;
  };
}

const LEAST = 90; // that a view insists on, on a node with room for it

// Shows an element on a node, below its widgets. room(height of the node) says how much of it [at least, at most] is
// the view's; it asks a saved node for none that isn't there. Neither the workflow nor the prompt learns of it.
export function addView(node, name, element, room, redraw) {
  const view = node.addDOMWidget(name, name, element, {
    serialize: false,
    margin: 4,
    getMinHeight: () => Math.max(0, Math.min(LEAST, room(node.size[1])[0])),
    getMaxHeight: () => Math.max(0, room(node.size[1])[1]),
    onDraw: redraw, // the editor draws after every change, also after those that no callback tells of
  });
  view.serialize = false;
  return view;
}

// Follows a pointer from its press to its release. Calls moved(dx, dy) in the element's own pixels, whatever the zoom.
export function onDrag(handle, started) {
  handle.addEventListener("pointerdown", (press) => {
    if (press.button !== 0) return;
    const zoom = handle.getBoundingClientRect().width / handle.offsetWidth || 1;
    const drag = started(press, zoom);
    if (!drag) return;
    handle.setPointerCapture(press.pointerId);
    const move = (event) => drag.moved((event.clientX - press.clientX) / zoom, (event.clientY - press.clientY) / zoom);
    const end = () => {
      handle.removeEventListener("pointermove", move);
      drag.ended?.();
    };
    handle.addEventListener("pointermove", move);
    handle.addEventListener("lostpointercapture", end, { once: true });
  });
}

export function make(kind, parent, text = "") {
  const element = document.createElement(kind.startsWith("img") ? "img" : "div");
  element.className = `spacetime-${kind}`;
  if (text) element.textContent = text;
  parent?.append(element);
  return element;
}
