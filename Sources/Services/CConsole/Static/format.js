// Figures as people read them. 64-bit numbers come as text, for JavaScript's own lose digits beyond 2^53.

const LOCALE = "en-GB";

/** A 64-bit number of the API as a BigInt; 0 if it is absent or makes no sense. */
export function big(value) { try { return BigInt(value ?? 0); } catch { return 0n; } }

/** As a number, for what is far below 2^53. */
export function num(value) { const n = Number(value ?? 0); return Number.isFinite(n) ? n : 0; }

export function count(value) { return big(value).toLocaleString(LOCALE); }

/** "1 node", "3 nodes". */
export function many(value, one, more = one + "s") { const n = num(value); return `${n.toLocaleString(LOCALE)} ${n === 1 ? one : more}`; }

export function bytes(value) {
  let n = num(value);
  if (n < 1024) return `${n} B`;
  for (const unit of ["KiB", "MiB", "GiB", "TiB"]) {
    n /= 1024;
    if (n < 1024 || unit === "TiB") return `${n < 10 ? n.toFixed(2) : n < 100 ? n.toFixed(1) : n.toFixed(0)} ${unit}`;
  }
}

/** Milliseconds as a duration: "12 ms", "3.4 s", "5 min", "2 h 10 min", "3 d 4 h". */
export function duration(milliseconds) {
  const ms = num(milliseconds);
  if (ms < 1000) return `${ms < 10 && ms % 1 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Milliseconds since 1970 of a hybrid logical clock's stamp; its counter is below a millisecond. */
export function hlcMilliseconds(hlc) { return Number(big(hlc) >> 16n); }
export function hlcCounter(hlc) { return Number(big(hlc) & 0xffffn); }

/** A stamp as a date, in UTC, as the command line shows it too. */
export function hlcTime(hlc) {
  if (big(hlc) === 0n) return "unknown";
  const date = new Date(hlcMilliseconds(hlc));
  return Number.isNaN(date.getTime()) ? "unknown" : date.toISOString().replace("T", " ").replace("Z", " UTC");
}

export function percent(part, digits = 0) { return `${(part * 100).toFixed(digits)} %`; }

/** A name of the API without its prefix: CONSISTENCY_LEVEL_STRONG becomes "strong". */
export function word(name, prefix) { return String(name ?? "").replace(prefix, "").toLowerCase().replaceAll("_", " "); }

export function plainDistance(value) { const n = num(value); return Math.abs(n) < 0.00005 ? "0.0000" : n.toFixed(4); }
