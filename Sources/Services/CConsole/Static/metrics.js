// The Prometheus text format, as far as the console reads it, and the service levels computed from it.

/** Of the page, the samples of the names wanted: Map of name to [{labels, value}]. */
export function parse(page, names) {
  const found = new Map(names.map((name) => [name, []]));
  for (const line of page.split("\n")) {
    if (line === "" || line[0] === "#") continue;
    const end = line.search(/[{ ]/);
    const samples = found.get(line.slice(0, end));
    if (!samples) continue;
    const labels = {};
    let rest = line.slice(end);
    if (rest[0] === "{") {
      const close = closing(rest);
      if (close < 0) continue;
      for (const [, name, value] of rest.slice(1, close).matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g)) {
        labels[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
      }
      rest = rest.slice(close + 1);
    }
    const value = number(rest.trim().split(/\s+/)[0]);
    if (!Number.isNaN(value)) samples.push({ labels, value });
  }
  return found;
}

/** Of the brace that ends the labels; a value may hold one. */
function closing(text) {
  let quoted = false;
  for (let i = 1; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "\"") quoted = !quoted;
    else if (text[i] === "}" && !quoted) return i;
  }
  return -1;
}

function number(text) { return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number.parseFloat(text); }

export const NAMES = {
  remaining: "vecraft_error_budget_remaining",
  burn: "vecraft_slo_burn_rate",
  duration: "vecraft_request_duration_seconds_bucket",
  total: "vecraft_request_total",
};

/** The tiers and what they promise (design: QoS). p99 in seconds. */
export const TIERS = [
  { index: 0, name: "critical", serves: "schema changes, strong writes", p99: 0.025, availability: 0.9999 },
  { index: 1, name: "interactive", serves: "searches and reads", p99: 0.05, availability: 0.999 },
  { index: 2, name: "batch", serves: "bulk writes", p99: 0.2, availability: 0.995 },
  { index: 3, name: "background", serves: "compaction, administration", p99: 1, availability: 0.99 },
];

export const WINDOWS = ["5m", "1h", "6h"];

/** Statuses that are the server's fault; the others are the caller's, or say that it should come again. */
const FAILURES = new Set(["UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED"]);

function ofTier(samples, tier) {
  return (samples ?? []).filter(({ labels }) => labels.tier === tier.name || labels.tier === String(tier.index));
}

/** Cumulative counts of a tier: {buckets: Map of bound to count, total, failed}. */
function counts(page, tier) {
  const buckets = new Map();
  for (const { labels, value } of ofTier(page.get(NAMES.duration), tier)) {
    const bound = number(labels.le ?? "");
    if (!Number.isNaN(bound)) buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  let total = 0, failed = 0;
  for (const { labels, value } of ofTier(page.get(NAMES.total), tier)) {
    total += value;
    if (FAILURES.has(String(labels.status).toUpperCase())) failed += value;
  }
  return { buckets, total, failed };
}

/**
 * The quantile of a histogram, linear within its bucket as Prometheus does: {value, bound}, where `bound` says that it is only known to
 * be above `value`. Null without observations.
 */
export function quantile(q, buckets) {
  const bounds = [...buckets.keys()].sort((a, b) => a - b);
  const all = buckets.get(Infinity) ?? 0;
  if (all <= 0) return null;
  const rank = q * all;
  let below = 0, from = 0;
  for (const bound of bounds) {
    const here = buckets.get(bound);
    if (here >= rank) {
      if (bound === Infinity) return { value: from, bound: true };
      return { value: here > below ? from + (bound - from) * (rank - below) / (here - below) : bound, bound: false };
    }
    [below, from] = [here, bound];
  }
  return { value: from, bound: true };
}

function difference(now, then) {
  // A counter that went back is one that began anew.
  if (now.total < then.total) return now;
  const buckets = new Map([...now.buckets].map(([bound, value]) => [bound, Math.max(0, value - (then.buckets.get(bound) ?? 0))]));
  return { buckets, total: now.total - then.total, failed: Math.max(0, now.failed - then.failed) };
}

/** Keeps what pages said over the last minutes, so that the page can speak of now and not only of all time. */
export class ServiceLevels {
  /** Pages kept, at most: 5 minutes of one each 5 seconds. */
  static most = 61;
  #pages = [];

  /** @returns What {@link TIERS} are, one each, with `remaining` and `burn` null where the server does not say. */
  take(text, at) {
    const page = parse(text, Object.values(NAMES));
    const perTier = TIERS.map((tier) => counts(page, tier));
    this.#pages.push({ at, perTier });
    while (this.#pages.length > ServiceLevels.most) this.#pages.shift();
    const first = this.#pages[0];
    return TIERS.map((tier, i) => {
      const remaining = ofTier(page.get(NAMES.remaining), tier)[0]?.value ?? null;
      const burn = {};
      for (const window of WINDOWS) {
        burn[window] = ofTier(page.get(NAMES.burn), tier).find(({ labels }) => labels.window === window)?.value ?? null;
      }
      const recent = this.#pages.length > 1 ? difference(perTier[i], first.perTier[i]) : null;
      const seconds = (at - first.at) / 1000;
      return {
        ...tier, remaining, burn, seconds,
        ever: { total: perTier[i].total, failed: perTier[i].failed, p99: quantile(0.99, perTier[i].buckets) },
        recent: recent && { total: recent.total, failed: recent.failed, p99: quantile(0.99, recent.buckets) },
      };
    });
  }
}
