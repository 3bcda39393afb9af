// One entry's way as a picture: a lane for each step, milliseconds to the right.

import { big, hlcCounter, hlcMilliseconds } from "./format.js";
import { s } from "./dom.js";

const ORDER = ["received", "routed", "appended"];
const WHERE = { received: "gateway", routed: "gateway", appended: "journal" };
const WORDS = { received: "received", routed: "routed", appended: "appended", committed: "committed", applied: "applied" };

/**
 * What happened to an entry, in order: {name, where, from, to, hlc, isMoment, kind}; `from` and `to` in whole milliseconds since the
 * first, which is all that a hybrid clock tells of time: its counter only orders what is within one.
 */
export function steps(entry) {
  const spans = (entry.spans ?? []).filter((span) => big(span.start_hlc) > 0n).map((span) => ({
    name: WORDS[span.name] ?? span.name, where: WHERE[span.name] ?? span.where ?? "", start: big(span.start_hlc), end: big(span.end_hlc || span.start_hlc),
    rank: ORDER.includes(span.name) ? ORDER.indexOf(span.name) : ORDER.length, kind: WHERE[span.name] ?? "other",
  }));
  const receipts = (entry.receipts ?? []).filter((receipt) => big(receipt.applied_hlc) > 0n).map((receipt) => ({
    name: "applied", where: String(receipt.replica ?? receipt.node ?? "a replica"), start: big(receipt.applied_hlc), end: big(receipt.applied_hlc), rank: 9, kind: "replica",
  }));
  const all = [...spans, ...receipts].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : a.rank - b.rank));
  if (all.length === 0) return [];
  const zero = Math.min(...all.map((step) => hlcMilliseconds(step.start)));
  return all.map((step) => ({
    name: step.name, where: step.where, kind: step.kind, hlc: step.start, counter: hlcCounter(step.start), isMoment: step.start === step.end,
    from: hlcMilliseconds(step.start) - zero, to: hlcMilliseconds(step.end) - zero,
  }));
}

const LANE = 30, TOP = 30, NARROWEST = 330, WIDEST = 900;

/**
 * @param words What a screen reader says instead.
 * @param room Pixels there are from side to side.
 */
export function drawTimeline(all, words, room) {
  const WIDTH = Math.max(NARROWEST, Math.min(WIDEST, room));
  const [LEFT, RIGHT] = WIDTH < 560 ? [150, 24] : [210, 70];
  const last = Math.max(1, ...all.map((step) => step.to));
  const scale = niceScale(last, WIDTH < 560 ? 3 : 8);
  const x = (ms) => LEFT + (WIDTH - LEFT - RIGHT) * ms / scale.end;
  const height = TOP + all.length * LANE + 14;
  const ticks = [];
  for (let ms = 0; ms <= scale.end + 1e-9; ms += scale.step) {
    ticks.push(s("line", { class: "tick", x1: x(ms), x2: x(ms), y1: TOP - 6, y2: height - 10 }), s("text", { class: "tick-label", x: x(ms), y: TOP - 12, "text-anchor": "middle" }, `${ms} ms`));
  }
  const lanes = all.map((step, i) => {
    const y = TOP + i * LANE + LANE / 2;
    const width = x(step.to) - x(step.from);
    const mark = step.isMoment || width < 8
      ? s("circle", { class: `step ${step.kind}`, cx: x(step.from), cy: y, r: 6 })
      : s("rect", { class: `step ${step.kind}`, x: x(step.from), y: y - 7, width, height: 14, rx: 3 });
    const after = Math.max(x(step.to), x(step.from) + 6) + 8;
    const label = step.to > step.from ? `+${step.from} ms, takes ${step.to - step.from}` : `+${step.from} ms`;
    // Where there is no room to the right, the figure stands to the left.
    const isLeft = after + label.length * 7 > WIDTH;
    // Replicas go on from the journal, each by itself.
    const from = step.kind === "replica" ? all.findLastIndex((each, j) => j < i && each.kind !== "replica") : i - 1;
    const before = from >= 0 ? s("path", { class: "flow", d: `M${x(all[from].to)},${TOP + from * LANE + LANE / 2 + 8} V${y - LANE / 2} H${x(step.from)} V${y - 8}` }) : null;
    return s("g", null, before,
      s("text", { class: "lane", x: 0, y: y + 4 }, clip(step.where ? `${step.name} · ${step.where}` : step.name, Math.floor((LEFT - 12) / 7))),
      mark,
      s("text", { class: "value", x: isLeft ? x(step.from) - 12 : after, y: y + 4, "text-anchor": isLeft ? "end" : "start" }, label));
  });
  return s("svg", { viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: "img", class: "drawn" }, s("title", null, words), ...ticks, ...lanes);
}

function clip(text, most) { return text.length <= most ? text : text.slice(0, most - 1) + "…"; }

/** A step of 1, 2 or 5 times a power of ten, with at most so many of them. */
export function niceScale(last, most = 8) {
  let step = 1;
  for (let guard = 0; last / step > most && guard < 60; guard++) step *= [2, 2.5, 2][guard % 3];
  return { step, end: Math.max(step, Math.ceil(last / step) * step) };
}
