// The storyboard's timeline: its cards as blocks along seconds. The text box holds the cards; whatever is done here is
// written there.

import { api } from "../../scripts/api.js";
import { added, moved, read, removed, short, span } from "./cards.js";
import { frameCount } from "./frame.js";
import { addView, after, make, onDrag, put, value, watch, widget } from "./widgets.js";
import { say } from "./words.js";

const MAX_HEIGHT = 130;
const TALL = 430; // from this height of the node on it keeps its room whatever else comes
const OTHERS = 245; // the rest of the node, with its two text boxes at their least
export const HEIGHT = 110; // on a new node

export function addTimeline(node) {
  const timeline = make("timeline");
  const track = make("track", timeline);
  const ruler = make("ruler", timeline);
  const reason = make("reason", timeline);
  const add = make("add", timeline, "+");
  add.title = say("Add a card at the end");
  track.title = say("Double click: a new card");

  let told = null; // where the canvas ended in the last run
  let shown = "";
  let scale = null; // seconds that the track spans, fixed during a drag

  const text = () => String(value(node, "cards") ?? "");
  const write = (changed) => changed !== null && put(node, "cards", changed);

  function parsed() {
    try {
      return { cards: read(text()), why: "" };
    } catch (error) {
      return { cards: [], why: error.message };
    }
  }

  function redraw() {
    const ends = canvasEnd(node) ?? told;
    const state = JSON.stringify([text(), ends, scale]);
    if (state === shown) return;
    shown = state;
    const { cards, why } = parsed();
    if (scale !== null) return place(cards, ends);
    reason.textContent = reason.title = why;
    timeline.classList.toggle("spacetime-unreadable", Boolean(why));
    const whole = scale ?? spanOf(cards, ends);
    track.replaceChildren(...cards.map((card, i) => block(cards, i, ends, whole)));
    if (ends !== null && ends < whole) make("beyond", track).style.left = `${(100 * ends) / whole}%`;
    drawRuler(ruler, whole);
    track.dataset.seconds = whole;
  }

  function block(cards, i, ends, whole) {
    const card = cards[i];
    const until = cards[i + 1]?.start ?? Math.max(ends ?? whole, card.start);
    const element = make("block");
    element.style.left = `${(100 * card.start) / whole}%`;
    element.style.width = `${(100 * (until - card.start)) / whole || 4}%`;
    element.title = say("{start} s: {prompt}", { start: short(card.start), prompt: card.prompt });
    if (ends !== null && card.start >= ends) {
      element.classList.add("spacetime-too-late");
      const facts = { start: short(card.start), end: short(ends) };
      element.title = say("{start} s lies beyond the canvas, which ends at {end} s", facts);
    }
    if (card.picture !== null) element.append(picture(card.picture));
    make("words", element, card.prompt);
    element.addEventListener("click", () => select(card));
    if (cards.length > 1) {
      const remove = make("remove", element, "×");
      remove.title = say("Delete this card");
      remove.addEventListener("click", (event) => (event.stopPropagation(), write(removed(text(), i)), redraw()));
      remove.addEventListener("dblclick", (event) => event.stopPropagation());
    }
    if (i > 0) drag(make("edge", element), i, card.start, whole);
    return element;
  }

  function drag(edge, i, start, whole) {
    edge.title = say("Drag: when the card begins");
    edge.addEventListener("click", (event) => event.stopPropagation());
    edge.addEventListener("dblclick", (event) => event.stopPropagation());
    onDrag(edge, () => {
      scale = whole;
      const before = text();
      return {
        moved(dx) {
          write(moved(before, i, start + (dx * whole) / track.clientWidth));
        },
        ended() {
          scale = null;
          redraw();
        },
      };
    });
  }

  // During a drag the blocks are moved, not made anew: the one that holds the pointer has to stay.
  function place(cards, ends) {
    const blocks = [...track.querySelectorAll(".spacetime-block")];
    cards.forEach((card, i) => {
      const { style, title, className } = block(cards, i, ends, scale);
      Object.assign(blocks[i].style, { left: style.left, width: style.width });
      Object.assign(blocks[i], { title, className });
    });
  }

  track.addEventListener("dblclick", (event) => {
    event.stopPropagation();
    const box = track.getBoundingClientRect();
    insert(((event.clientX - box.left) / box.width) * Number(track.dataset.seconds));
  });
  add.addEventListener("click", () => {
    const { cards } = parsed();
    if (!cards.length) return;
    const last = cards.at(-1).start;
    const ends = canvasEnd(node) ?? told;
    insert(ends !== null && ends - last >= 0.2 ? (last + ends) / 2 : last + 1);
  });

  function insert(second) {
    const { cards, why } = parsed();
    if (why) return;
    const changed = added(text(), second);
    if (changed === null) return;
    write(changed);
    redraw();
    const { cards: now } = parsed();
    select(now.find((card) => !cards.some((one) => one.start === card.start)));
  }

  // Marks a card's words in the text box, ready to be typed over.
  function select(card) {
    const box = widget(node, "cards").element;
    if (!card || !(box instanceof HTMLTextAreaElement) || !box.isConnected) return;
    box.focus({ preventScroll: true });
    box.setSelectionRange(...span(text(), card));
  }

  node.onExecuted = after(node.onExecuted, (output) => {
    const last = [output?.text ?? []].flat().join("\n").match(/–([\d.]+) s: (?!.*–[\d.]+ s: )/s);
    told = last ? Number(last[1]) : null;
    redraw();
  });
  for (const event of ["pointerdown", "dblclick"]) {
    timeline.addEventListener(event, (one) => one.stopPropagation()); // the node stays where it is
  }
  watch(node, ["cards"], redraw);
  return addView(node, "timeline", timeline, (height) => [height - TALL, most(height)], redraw);
}

// About a third of the room, the rest is the text boxes'. Whole pixels: the editor would let the node grow by a rounding error.
function most(height) {
  return Math.max(0, Math.min(MAX_HEIGHT, Math.floor((height - OTHERS) / 3)));
}

// Where the canvas ends, if it comes straight from a Spacetime Grid.
function canvasEnd(node) {
  const slot = node.inputs?.findIndex((input) => input.name === "latent") ?? -1;
  const grid = slot < 0 ? null : node.getInputNode(slot);
  if (grid?.type !== "SpacetimeGrid") return null;
  const [seconds, fps, frames] = ["seconds", "fps", "frames"].map((name) => value(grid, name));
  return frameCount({ seconds, fps, frames }) / fps;
}

// The seconds to show: the canvas, and every card even where it lies beyond.
function spanOf(cards, ends) {
  const last = cards.at(-1)?.start ?? 0;
  if (ends !== null && last < ends) return ends;
  const usual = cards.length > 1 ? last / (cards.length - 1) : 1;
  return last + Math.max(0.5, usual);
}

function drawRuler(ruler, whole) {
  const step = [0.5, 1, 2, 5, 10, 30, 60, 120].find((one) => whole / one <= 8) ?? 300;
  ruler.replaceChildren();
  for (let second = 0; second < whole; second += step) {
    const words = second === 0 ? say("{seconds} s", { seconds: 0 }) : short(second);
    make("tick", ruler, words).style.left = `${(100 * second) / whole}%`;
  }
}

// A file of the input folder is shown, an image of the batch by its number.
function picture(name) {
  if (/^\p{Nd}+$/u.test(name)) {
    const badge = make("number", null, name);
    badge.title = say("begins with image {name}", { name });
    return badge;
  }
  const at = name.lastIndexOf("/");
  const facts = { filename: name.slice(at + 1), subfolder: name.slice(0, Math.max(0, at)), type: "input" };
  const image = make("img");
  image.alt = "";
  image.draggable = false;
  image.title = say("begins with {name}", { name });
  image.src = api.apiURL(`/view?${new URLSearchParams(facts)}`);
  image.addEventListener("error", () => {
    const badge = make("number", null, "?");
    badge.title = say("{name} can't be shown", { name });
    image.replaceWith(badge);
  });
  return image;
}
