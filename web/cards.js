// Cards in text, as spacetime/story.py reads them: "1.5: a red circle [image 2]", a line without a time goes on with
// the last. Every edit changes only the lines it is about; what else stands in the text stays as it was typed.

import { say } from "./words.js";

// Python's notion of a blank and of a line's end, which isn't JavaScript's.
const S = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]";
const LINE_END = /(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])/;
const CARD = new RegExp(`^(${S}*)([-+]?\\p{Nd}+(?:[.,]\\p{Nd}+)?)(${S}*s?${S}*[:|]${S}*)(.*)$`, "u");
const PICTURE = new RegExp(`\\[${S}*image${S}*:?${S}*([^\\]]+?)${S}*\\]`, "giu");
const TAIL = new RegExp(`${S}+$`);
const EDGES = new RegExp(`^${S}+|${S}+$`, "g");

// [{start, prompt, picture, line, lines}]: line is where the card begins, lines how many belong to it, blank ones too.
// Throws an Error whose message says what is wrong.
export function read(text) {
  const cards = [];
  linesOf(text).forEach((whole, number) => {
    const line = strip(whole);
    if (!line) return;
    const match = whole.match(CARD);
    if (match) return void cards.push({ ...card(seconds(match[2]), strip(match[4]), null), line: number });
    if (!cards.length) {
      throw new Error(say("the first card {line} has no time; write it as 0: a red circle", { line: quoted(line) }));
    }
    const last = cards.at(-1);
    Object.assign(last, card(last.start, `${last.prompt} ${line}`, last.picture));
  });
  if (!cards.length) {
    throw new Error(say("the storyboard has no cards; write one a line, as 0: a red circle moving right"));
  }
  if (cards[0].start !== 0) {
    const start = short(cards[0].start);
    throw new Error(say("the first card begins at {start} s; it must begin at 0", { start }));
  }
  cards.forEach((one, i) => {
    if (i && one.start <= cards[i - 1].start) {
      const [start, before] = [one.start, cards[i - 1].start].map(short);
      const text = "the card at {start} s comes after the one at {before} s; put them in order";
      throw new Error(say(text, { start, before }));
    }
    one.lines = (cards[i + 1]?.line ?? linesOf(text).length) - one.line;
  });
  return cards;
}

function card(start, text, picture) {
  const found = [...text.matchAll(PICTURE)].map((match) => match[1]);
  if (found.length + (picture !== null) > 1) {
    const facts = { start: short(start), count: found.length };
    throw new Error(say("the card at {start} s names {count} images; one would be right", facts));
  }
  return { start, prompt: strip(text.replace(PICTURE, "")), picture: found[0] ?? picture };
}

// Card `index` begins at another second, in steps of 0.1, after the card before it and before the next.
export function moved(text, index, second) {
  const cards = read(text);
  if (index === 0) return text;
  const lowest = Math.floor(cards[index - 1].start * 10 + 1e-6) + 1;
  const highest = index + 1 < cards.length ? Math.ceil(cards[index + 1].start * 10 - 1e-6) - 1 : Infinity;
  if (lowest > highest) return text;
  return retimed(text, cards[index], Math.min(highest, Math.max(lowest, Math.round(second * 10))) / 10);
}

// One more card at a second, with the words of the card that it cuts in two. null where there is no room.
export function added(text, second) {
  const cards = read(text);
  const start = Math.max(0, Math.round(second * 10) / 10);
  const before = cards.findLast((one) => one.start <= start);
  if (!before || cards.some((one) => Math.abs(one.start - start) < 0.099)) return null;
  const parts = text.split(LINE_END);
  parts[2 * lastLine(parts, before)] += `\n${start}: ${before.prompt}`;
  return parts.join("");
}

// Without card `index`; where it was the first, the next one begins at 0. null for the only card.
export function removed(text, index) {
  const cards = read(text);
  if (cards.length < 2) return null;
  if (index === 0) text = retimed(text, cards[1], 0);
  const parts = text.split(LINE_END);
  const { line, lines } = cards[index];
  // the blank lines below it go with it if others are left above
  const isApart = line === 0 || !strip(parts[2 * line - 2]);
  const count = isApart ? lines : lastLine(parts, cards[index]) - line + 1;
  const isLast = 2 * (line + count) > parts.length;
  parts.splice(isLast ? 2 * line - 1 : 2 * line, 2 * count); // with the line end before or after it
  return parts.join("");
}

// The card's last line that isn't blank.
function lastLine(parts, { line, lines }) {
  for (let i = line + lines - 1; i > line; i--) if (strip(parts[2 * i])) return i;
  return line;
}

// [from, to] of a card's words in the text.
export function span(text, { line, lines }) {
  const parts = text.split(LINE_END);
  const before = parts.slice(0, 2 * line).join("").length;
  const whole = parts.slice(2 * line, 2 * (line + lines) - 1).join("");
  const words = parts[2 * line].match(CARD)[4];
  return [before + parts[2 * line].length - words.length, before + whole.replace(TAIL, "").length];
}

function retimed(text, { line }, second) {
  const parts = text.split(LINE_END);
  parts[2 * line] = parts[2 * line].replace(CARD, (_, blank, time, colon, rest) => blank + second + colon + rest);
  return parts.join("");
}

function linesOf(text) {
  return text.split(LINE_END).filter((_, i) => i % 2 === 0);
}

function strip(text) {
  return text.replace(EDGES, "");
}

function seconds(time) {
  return Number(time.replace(",", ".").replace(/\p{Nd}/gu, digit));
}

// Digits of every script stand in tens, from 0 to 9.
function digit(letter) {
  let code = letter.codePointAt(0);
  let above = 0;
  while (/\p{Nd}/u.test(String.fromCodePoint(code - 1))) (code--, above++);
  return String(above % 10);
}

function quoted(line) {
  const head = [...line].slice(0, 40).join("");
  return head.includes("'") && !head.includes('"') ? `"${head}"` : `'${head.replaceAll("'", "\\'")}'`;
}

export function short(number) {
  return String(Number(number.toPrecision(6)));
}
