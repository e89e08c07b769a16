// The aspect and duration picker on Spacetime Grid: the frame in its true proportions, and a bar of its seconds.
// Both are dragged; the widgets above hold what they say.

import { CUSTOM, barScale, frameCount, pixels } from "./frame.js";
import { short } from "./cards.js";
import { addView, admitted, after, isWired, make, onDrag, put, value, watch, widget } from "./widgets.js";
import { say } from "./words.js";

const NAMES = ["aspect", "size", "width", "height", "seconds", "fps", "frames"];
const FILL = 0.84; // of the stage; the rest is room to drag the frame larger
const OTHERS = 320; // the rest of the node, as saved graphs have it
const MAX_HEIGHT = 170;
export const HEIGHT = 100; // on a new node

export function addPicker(node) {
  const picker = make("picker");
  const stage = make("stage", picker);
  const frame = make("frame", stage);
  const corner = make("corner", frame);
  const facts = make("facts", picker);
  const size = make("figure", facts);
  const length = make("figure", facts);
  const note = make("note", facts);
  const bar = make("bar", facts);
  const fill = make("fill", bar);
  const end = make("bar-end", bar);
  corner.title = say("Drag: width and height");
  bar.title = say("Drag: seconds");

  let shown = "";
  let told = null; // what the last run said of these values: the snapped size, the tokens
  let fixed = null; // how the frame lies and the bar is scaled while one of them is dragged

  const values = () => Object.fromEntries(NAMES.map((name) => [name, value(node, name)]));

  function redraw() {
    const now = values();
    const wired = NAMES.filter((name) => isWired(node, name));
    const room = [stage.clientWidth, stage.clientHeight];
    const state = JSON.stringify([now, wired, room, fixed, told]);
    if (state === shown) return;
    shown = state;
    drawFrame(pixels(now), room);
    drawLength(now);
    const known = told && (wired.length || told.of === JSON.stringify(now)) ? told.text : "";
    const names = wired.map((name) => widget(node, name).label ?? name).join(say(", "));
    note.textContent = known || (names && say("{names} wired: known after a run", { names }));
    note.title = known;
  }

  function drawFrame([width, height], room) {
    size.textContent = `${width} × ${height}`;
    const fits = (share) => Math.min((share * room[0]) / width, (share * room[1]) / height);
    const scale = fixed?.scale ? Math.min(fixed.scale, fits(1)) : fits(FILL);
    frame.style.width = `${Math.max(3, width * scale)}px`;
    frame.style.height = `${Math.max(3, height * scale)}px`;
    frame.style.left = `${Math.min(fixed?.left ?? Infinity, (room[0] - width * scale) / 2)}px`;
    frame.style.top = `${Math.min(fixed?.top ?? Infinity, (room[1] - height * scale) / 2)}px`;
    frame.dataset.scale = scale;
  }

  function drawLength(now) {
    const count = frameCount(now);
    const seconds = now.frames ? count / now.fps : now.seconds;
    const scale = fixed?.seconds ?? barScale(seconds);
    const text =
      count === 1 ? "{seconds} s × {fps} fps = 1 frame" : "{seconds} s × {fps} fps = {count} frames";
    length.textContent = say(text, { seconds: short(Number(seconds.toFixed(2))), fps: short(now.fps), count });
    fill.style.width = `${Math.min(100, (100 * seconds) / scale)}%`;
    end.textContent = say("{seconds} s", { seconds: scale });
  }

  onDrag(corner, () => {
    if (["aspect", "width", "height"].some((name) => isWired(node, name))) return null;
    const [width, height] = pixels(values());
    const scale = Number(frame.dataset.scale);
    fixed = { scale, left: frame.offsetLeft, top: frame.offsetTop };
    return {
      moved(dx, dy) {
        put(node, "aspect", CUSTOM);
        put(node, "width", admitted(widget(node, "width"), width + dx / scale));
        put(node, "height", admitted(widget(node, "height"), height + dy / scale));
        redraw();
      },
      ended,
    };
  });

  onDrag(bar, (press, zoom) => {
    if (["seconds", "frames"].some((name) => isWired(node, name))) return null;
    const begins = (press.clientX - bar.getBoundingClientRect().left) / zoom;
    const now = values();
    fixed = { seconds: barScale(now.frames ? now.frames / now.fps : now.seconds) };
    const moved = (dx) => {
      const share = Math.min(1, Math.max(0, (begins + dx) / bar.clientWidth));
      put(node, "frames", 0); // an exact number of frames would win over the seconds
      put(node, "seconds", admitted(widget(node, "seconds"), share * fixed.seconds));
      redraw();
    };
    moved(0);
    return { moved, ended };
  });

  function ended() {
    fixed = null;
    redraw();
  }

  // the editor takes its own line away at the end of a run
  node.onExecuted = after(node.onExecuted, (output) => {
    if (!output?.text?.length) return;
    told = { of: JSON.stringify(values()), text: output.text.join("\n") };
    redraw();
  });
  watch(node, NAMES, redraw);
  new ResizeObserver(redraw).observe(stage);
  return addView(node, "picker", picker, (height) => [height - OTHERS, MAX_HEIGHT], redraw);
}
