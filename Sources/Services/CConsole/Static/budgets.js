// Service levels by tier: how much of the error budget is left, how fast it burns, and p99 against what is promised.

import { $, h, show, table } from "./dom.js";
import { count, duration, percent } from "./format.js";
import { TIERS, WINDOWS } from "./metrics.js";
import { dash, sign } from "./cluster.js";
import { meter } from "./search.js";

export const budgetsView = {
  title: "Budgets",
  update(store) {
    const body = $("budgets-body");
    if (!store.levels) { show(body, h("p", { class: "empty" }, store.levelsError ? `No metrics: ${store.levelsError.message}.` : "Asking the node …")); return; }
    const levels = store.levels;
    const hasBudgets = levels.some((tier) => tier.remaining !== null);
    const seconds = levels[0].seconds;
    show(body,
      h("p", { class: "note" }, "Of the requests that this node answered, from its /metrics.",
        seconds > 0 ? ` “Now” is the last ${duration(seconds * 1000)}, since this page watches.` : ""),
      store.levelsError && h("p", { class: "note" }, `Not new: ${store.levelsError.message}`),
      h("h3", null, "Error budgets"),
      hasBudgets ? budgets(levels) : h("p", { class: "empty" }, "This node exports no error budgets (vecraft_error_budget_remaining); what follows is counted here from its requests."),
      h("h3", null, "Latency and failures"),
      latencies(levels));
  },
};

function tierName(tier) { return h("span", null, h("b", null, `${tier.index} ${tier.name}`), " ", h("span", { class: "dim" }, tier.serves)); }

function remainingLevel(part) { return part < 0 ? "bad" : part < 0.2 ? "warn" : "good"; }

/** Above 14.4 a month's budget lasts two days, above 6 five; above 1 it does not last the month. */
function burnLevel(rate) { return rate > 14.4 ? "bad" : rate > 6 ? "warn" : "good"; }

function budgets(levels) {
  const columns = [["Tier"], ["Promised"], ["Budget left", true], ...WINDOWS.map((window) => [`Burn over ${window}`, true])];
  return table("Error budgets", columns, levels.map((tier) => ({
    cells: [
      tierName(tier), `${(tier.availability * 100).toFixed(tier.availability > 0.999 ? 2 : 1)} %`,
      tier.remaining === null ? dash("unknown") : h("span", { class: "measured" }, meter(tier.remaining, remainingLevel(tier.remaining)), sign(remainingLevel(tier.remaining), percent(tier.remaining, 1))),
      ...WINDOWS.map((window) => tier.burn[window] === null ? dash("unknown") : sign(burnLevel(tier.burn[window]), tier.burn[window].toFixed(2))),
    ],
  })), { cards: true, captionHidden: true });
}

function latencies(levels) {
  const columns = [["Tier"], ["p99 promised", true], ["p99 now", true], ["p99 since start", true], ["Requests now", true], ["Since start", true], ["Failed since start", true]];
  return table("Latency and failures", columns, levels.map((tier, i) => {
    const failed = tier.ever.total > 0 ? tier.ever.failed / tier.ever.total : 0;
    const failedLevel = failed > 1 - TIERS[i].availability ? "warn" : "good";
    return {
      cells: [
        tierName(tier), duration(tier.p99 * 1000),
        latency(tier.recent?.p99, tier.p99), latency(tier.ever.p99, tier.p99),
        tier.recent && tier.seconds > 0 ? `${rate(tier.recent.total / tier.seconds)}/s` : dash("not known yet"),
        count(tier.ever.total),
        tier.ever.total === 0 ? dash("none") : sign(failedLevel, `${count(tier.ever.failed)} (${percent(failed, 2)})`),
      ],
    };
  }), { cards: true, captionHidden: true });
}

function rate(perSecond) { return perSecond >= 100 ? Math.round(perSecond).toLocaleString("en-GB") : perSecond.toFixed(1); }

function latency(measured, promised) {
  if (!measured) return dash("no requests");
  const words = `${measured.bound ? "above " : ""}${duration(Math.round(measured.value * 1e4) / 10)}`;
  return sign(measured.value > promised ? "warn" : "good", words);
}
