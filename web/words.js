// What the extension shows, in the editor's language. The English stands where it is said; what has no translation is
// said in English.

const TRANSLATIONS = {
  zh: {
    // the picker
    "Drag: width and height": "拖动：宽度和高度",
    "Drag: seconds": "拖动：秒数",
    "{seconds} s × {fps} fps = 1 frame": "{seconds} 秒 × {fps} fps = 1 帧",
    "{seconds} s × {fps} fps = {count} frames": "{seconds} 秒 × {fps} fps = {count} 帧",
    ", ": "、",
    "{names} wired: known after a run": "{names}已连线：运行后可知",
    "{seconds} s": "{seconds} 秒",
    // the timeline
    "Add a card at the end": "在末尾添加卡片",
    "Double click: a new card": "双击：新建卡片",
    "Delete this card": "删除这张卡片",
    "Drag: when the card begins": "拖动：卡片开始的时间",
    "{start} s: {prompt}": "{start} 秒：{prompt}",
    "{start} s lies beyond the canvas, which ends at {end} s": "{start} 秒超出了画布，画布到 {end} 秒为止",
    "begins with image {name}": "以图像 {name} 开头",
    "begins with {name}": "以 {name} 开头",
    "{name} can't be shown": "无法显示 {name}",
    // what is wrong with the cards
    "the storyboard has no cards; write one a line, as 0: a red circle moving right":
      "故事板没有卡片；每行写一张，例如 0: a red circle moving right",
    "the first card {line} has no time; write it as 0: a red circle":
      "第一张卡片 {line} 没有秒数；请写成 0: a red circle",
    "the first card begins at {start} s; it must begin at 0": "第一张卡片从 {start} 秒开始；它必须从 0 开始",
    "the card at {start} s comes after the one at {before} s; put them in order":
      "{start} 秒的卡片排在 {before} 秒的卡片之后；请按顺序排列",
    "the card at {start} s names {count} images; one would be right":
      "{start} 秒的卡片写了 {count} 张图像；只能有一张",
  },
};

// say("{start} s", { start: 2 })
export function say(text, values = {}) {
  const words = TRANSLATIONS[language()]?.[text] ?? text;
  return words.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Asked anew each time: the editor makes its nodes anew when another language is chosen.
function language() {
  return globalThis.app?.extensionManager?.setting?.get("Comfy.Locale");
}
