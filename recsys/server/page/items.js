// Lists of ranked items; each can say why it is there and what is like it.

import { ask } from "./api.js";
import { count, el, number, plainTitle, titleOf } from "./dom.js";

const REASONS = 6;
const LEAST = 0.01;
const ALIKE = 8;
let made = 0;

export const titleWithId = (one) => {
  const same = one.title === null || one.title === undefined || one.title === String(one.item_id);
  return el("span", { class: "title" }, titleOf(one), same ? null : el("small", { class: "id" }, String(one.item_id)));
};

function bar(name, value, largest) {
  const filled = el("span", { class: value < 0 ? "fill against" : "fill" });
  filled.style.setProperty("--share", `${(100 * Math.abs(value)) / (largest || 1)}%`);
  return el(
    "li",
    {},
    el("span", { class: "title" }, name),
    el("span", { class: "amount" }, `${value > 0 ? "+" : ""}${number(value)}`),
    el("span", { class: "track", "aria-hidden": "true" }, filled),
  );
}

async function reasons(person, item) {
  const found = await ask("v1/explain", { body: { ...person, item: item.item_id } });
  const largest = Math.max(...found.reasons.map((one) => Math.abs(one.contribution)));
  const shown = found.reasons.filter((one) => Math.abs(one.contribution) > LEAST * largest).slice(0, REASONS);
  const most = Math.max(...Object.values(found.parts).map(Math.abs));
  const parts = Object.entries(found.parts).filter(([, value]) => Math.abs(value) > LEAST * most);
  const rest = found.reasons.length - shown.length;
  return [
    el("h3", {}, "What the score would lose without an event of the history"),
    el("ul", { class: "bars" }, ...shown.map((one) => bar(titleOf(one), one.contribution, largest))),
    rest > 0 ? el("p", { class: "soft" }, `${count(rest, "other event")} matter less, or not at all.`) : null,
    el("h3", {}, "What the score is made of"),
    el("ul", { class: "bars" }, ...parts.map(([name, value]) => bar(name, value, most))),
  ];
}

async function alike(item) {
  const found = await ask("v1/similar", { body: { items: [item.item_id], k: ALIKE, titles: true } });
  const { items } = found.results[0];
  if (!items.length) return [el("p", { class: "soft" }, "Nothing is like it.")];
  return [
    el("h3", {}, "Similar items"),
    el(
      "ol",
      { class: "plain" },
      ...items.map((one) => el("li", {}, titleWithId(one), el("span", { class: "amount" }, number(one.score)))),
    ),
  ];
}

// A button that opens what it asks for, under the item.
function opener(name, item, open, others) {
  const box = el("div", { class: "more", id: `more-${(made += 1)}`, hidden: true });
  const button = el("button", {
    type: "button", "aria-expanded": "false", "aria-controls": box.id, "aria-label": `${name}: ${plainTitle(item)}`,
  }, name);
  const close = () => {
    button.setAttribute("aria-expanded", "false");
    box.hidden = true;
  };
  others.push(close);
  button.addEventListener("click", async () => {
    const opening = box.hidden;
    others.forEach((one) => one());
    if (!opening) return;
    button.setAttribute("aria-expanded", "true");
    box.hidden = false;
    box.setAttribute("aria-busy", "true");
    try {
      box.replaceChildren(...(await open()).filter(Boolean));
    } catch (error) {
      box.replaceChildren(el("p", { class: "wrong" }, error.message));
    }
    box.removeAttribute("aria-busy");
  });
  return [button, box];
}

// One row: place, title, score, and what one can do with the item.
export function itemRow(item, { person = null, add = null }) {
  const others = [];
  const openers = [opener("Similar", item, () => alike(item), others)];
  if (person) openers.unshift(opener("Why?", item, () => reasons(person, item), others));
  const acts = openers.map(([button]) => button);
  if (add) {
    const attributes = { type: "button", "aria-label": `${add.name}: ${plainTitle(item)}`, onclick: () => add.act(item) };
    acts.push(el("button", attributes, add.name));
  }
  return el(
    "li",
    {},
    el("span", { class: "rank", "aria-hidden": "true" }, String(item.rank)),
    titleWithId(item),
    el("span", { class: "amount" }, el("span", { class: "unseen" }, "score "), number(item.score)),
    el("div", { class: "acts" }, ...acts),
    ...openers.map(([, box]) => box),
  );
}
