// Who is asked for: a user of whom the server knows, or the titles that were chosen here.

import { byId, el, plainTitle, titleOf } from "./dom.js";

const EXAMPLES = {
  Pin: (item) => ({ pin: [{ item, position: 1 }] }),
  Boost: (item) => ({ boost: [{ name: "more of this", items: [item], times: 1.5 }] }),
  "At most one": (_, column) => ({ cap: [{ column, at_most: 1 }] }),
  Diversity: () => ({ diversity: { lambda: 0.5 } }),
};

export const chosen = [];

export const kind = () => document.querySelector("input[name=kind]:checked").value;

export const user = () => byId("user").value.trim();

// What a request says of the person; null while nobody is chosen.
export function personOf(facts) {
  if (kind() === "user") return user() ? { user: user() } : null;
  if (!chosen.length) return null;
  const person = { history: chosen.map((one) => one.item_id) };
  const now = Math.floor(Date.now() / 1000);
  if (facts.reads_times) person.times = chosen.map((_, i) => now - 60 * (chosen.length - i));
  if (facts.event_types.length) person.events = chosen.map(() => byId("event").value);
  return person;
}

// What a request asks beside; an error names the field that cannot be read.
export function optionsOf() {
  const options = { k: Number(byId("k").value), filter_seen: byId("filter-seen").checked, fallback: "popular", titles: true };
  const [where, rules] = [byId("where").value.trim(), byId("rules").value.trim()];
  if (where) options.where = where;
  if (rules) {
    try {
      options.rules = JSON.parse(rules);
    } catch (error) {
      throw new Error(`The rules are not JSON: ${error.message}`);
    }
    options.rule_effects = true;
  }
  return options;
}

// The titles chosen, the latest first, each of which can be taken away.
export function chosenRows(change) {
  return chosen.map((one, i) => {
    const remove = () => {
      chosen.splice(i, 1);
      change();
      byId("title").focus();
    };
    return el(
      "li",
      {},
      el("span", { class: "title" }, titleOf(one)),
      el("button", { type: "button", "aria-label": `Take away: ${plainTitle(one)}`, onclick: remove }, "×"),
    );
  }).reverse();
}

export function exampleButtons(facts, firstItem) {
  const column = facts.columns.find((name) => name !== "title") ?? "title";
  return Object.entries(EXAMPLES).map(([name, rules]) => {
    const write = () => {
      const now = byId("rules").value.trim();
      let before = {};
      try {
        before = now ? JSON.parse(now) : {};
      } catch {
        before = {};
      }
      byId("rules").value = JSON.stringify({ ...before, ...rules(firstItem() ?? "ITEM", column) }, null, 1);
    };
    return el("button", { type: "button", onclick: write }, name);
  });
}
