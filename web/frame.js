// What a grid is asked for, before a model snaps it: the rule of spacetime/grid.py.

export const CUSTOM = "custom";

// [width, height] in pixels.
export function pixels({ aspect, size, width, height }) {
  if (aspect === CUSTOM) return [width, height];
  const sides = String(aspect).split(":").map(Number);
  const short = Math.min(...sides);
  return sides.map((side) => roundEven((size * side) / short));
}

export function frameCount({ seconds, fps, frames }) {
  return frames || Math.max(1, roundEven(seconds * fps));
}

// As Python rounds: halves to the even neighbour.
export function roundEven(number) {
  const floor = Math.floor(number);
  return number - floor === 0.5 ? floor + (floor % 2 === 0 ? 0 : 1) : Math.round(number);
}

const SCALES = [5, 10, 20, 60, 120, 300, 600];

// The seconds that a duration bar spans: the next round figure with room to drag on.
export function barScale(seconds) {
  return SCALES.find((scale) => seconds <= 0.8 * scale) ?? SCALES.at(-1);
}
