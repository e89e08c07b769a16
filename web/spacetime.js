// What the stock widgets can't show. Every graph works without it, and is saved the same with it.

import { app } from "../../scripts/app.js";
import { HEIGHT as PICKER_HEIGHT, addPicker } from "./picker.js";
import { HEIGHT as TIMELINE_HEIGHT, addTimeline } from "./timeline.js";

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = new URL("./spacetime.css", import.meta.url);
document.head.append(style);

// [width, height] of a new node. A saved one has its own, which the editor sets afterwards.
const SIZES = {
  SpacetimeGrid: [340, 320 + PICKER_HEIGHT],
  SpacetimeStoryboard: [460, 430 + TIMELINE_HEIGHT],
  SpacetimeLoadTextEncoder: [300, 0],
  SpacetimeEncodePrompt: [400, 240],
  SpacetimeExpandPrompt: [400, 0],
};

app.registerExtension({
  name: "Spacetime",
  nodeCreated(node) {
    const kind = node.comfyClass;
    if (kind === "SpacetimeGrid") addPicker(node);
    if (kind === "SpacetimeStoryboard") addTimeline(node);
    if (kind?.startsWith("Spacetime")) nameTextBoxes(node);
    if (kind in SIZES) node.setSize([0, 1].map((side) => Math.max(node.size[side], SIZES[kind][side])));
  },
});

// The editor translates a widget's label; of an empty text box it shows the English name.
function nameTextBoxes(node) {
  for (const { element, label } of node.widgets ?? []) {
    if (element instanceof HTMLTextAreaElement && label) element.placeholder = label;
  }
}
