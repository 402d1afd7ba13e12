// The page: it asks for whoever is chosen, and shows what comes back.

import { ask, latest, setKey } from "./api.js";
import { combobox } from "./combobox.js";
import { byId, count, el, number, say, titleOf } from "./dom.js";
import { itemRow, titleWithId } from "./items.js";
import { live } from "./live.js";
import { chosen, chosenRows, exampleButtons, kind, optionsOf, personOf, user } from "./person.js";

const SHOWN = 50;
const isOpen = document.body.dataset.open === "yes";
const [newList, newSearch] = [latest(), latest()];
const watching = live();
let facts = null;
let firstItem = null;

function fail(error) {
  if (error.status === 401 && !isOpen) askForKey("The key is not valid, or no longer.");
  else say(byId("alert"), error.message);
}

// A task of the page: what goes wrong is said, and what was said before is taken away.
const doing = (task) => async (event) => {
  event?.preventDefault();
  say(byId("alert"), "");
  try {
    await task();
  } catch (error) {
    fail(error);
  }
};

function askForKey(message) {
  setKey("");
  watching.stop();
  for (const id of ["list", "history", "found", "effects-rows", "some-users"]) byId(id).replaceChildren();
  for (const id of ["status", "history-note", "search-status", "facts"]) byId(id).textContent = "";
  chosen.length = 0;
  byId("user").value = "";
  document.querySelector("main").hidden = true;
  byId("forget-key").hidden = true;
  byId("key-form").hidden = false;
  say(byId("alert"), message);
  byId("key").focus();
}

async function begin() {
  facts = await ask("page/facts", { method: "POST" });
  byId("key-form").hidden = true;
  byId("forget-key").hidden = isOpen;
  document.querySelector("main").hidden = false;
  const bundle = `bundle ${facts.bundle.slice(0, 12)}`;
  byId("facts").textContent = [count(facts.items, "item"), count(facts.users, "user"), bundle].join(" · ");
  byId("columns").textContent = facts.columns.length ? `Columns: ${facts.columns.join(", ")}` : "";
  byId("where").placeholder = facts.columns.includes("price") ? "price < 20" : 'item_id != "…"';
  byId("event-field").hidden = !facts.event_types.length;
  byId("event").replaceChildren(...facts.event_types.map((one) => el("option", {}, one)));
  byId("examples").replaceChildren(...exampleButtons(facts, () => firstItem));
  byId("some-users").replaceChildren(
    ...facts.some_users.map((one) => el("button", { type: "button", onclick: () => show(one) }, el("bdi", {}, String(one)))),
  );
  if (!facts.searches) {
    byId("search-form").hidden = true;
    byId("search-status").textContent = "The model of this bundle reads no text, so that nothing can be searched for.";
  }
  watching.start();
  if (isOpen && facts.some_users.length) await show(facts.some_users[0]);
  else byId("user").focus();
}

function show(id) {
  document.querySelector("input[name=kind][value=user]").checked = true;
  byId("user").value = String(id);
  return refresh();
}

function wholeForm() {
  byId("by-user").hidden = kind() !== "user";
  byId("by-titles").hidden = kind() !== "titles";
}

async function historyOf(signal) {
  if (kind() === "titles") return { history: null, length: chosen.length };
  try {
    return await ask(`v1/users/${encodeURIComponent(user())}?last=${SHOWN}`, { signal });
  } catch (error) {
    if (error.status === 404) return { history: [], length: 0 };
    throw error;
  }
}

function showHistory({ history, length }) {
  byId("history-count").textContent = length ? `(${length.toLocaleString("en")})` : "";
  if (history === null) {
    byId("history").replaceChildren(...chosenRows(refresh));
    byId("history-note").textContent = length ? "" : "Choose some titles: they are the history.";
    return;
  }
  byId("history").replaceChildren(
    ...history.toReversed().map((one) => {
      const when = one.timestamp === null ? null : new Date(1000 * one.timestamp).toISOString().slice(0, 10);
      const about = [one.event, when].filter(Boolean).join(", ");
      const fresh = one.source === "store" ? el("span", { class: "badge" }, "new") : null;
      return el("li", {}, titleWithId(one), fresh, about ? el("small", { class: "soft" }, about) : null);
    }),
  );
  byId("history-note").textContent =
    length === 0 ? "Nothing is known of this user." : length > history.length ? `The latest ${history.length} are shown.` : "";
}

function statusOf(found, person) {
  const name = person.user === undefined ? "somebody who knows these titles" : `user ${person.user}`;
  if (!found.items.length) return `No item is left for ${name}.`;
  if (found.source === "popular") return `Nothing is known of ${name}: these are the most popular items.`;
  const fresh = found.fresh_events ? `, ${found.fresh_events} of them new since the bundle was made` : "";
  const stale = found.stale ? " The database does not answer; the newest events may be missing." : "";
  return `${count(found.items.length, "item")} for ${name}, from ${count(found.history_length, "event")}${fresh}.${stale}`;
}

function placeOf({ rank_before: before, rank_after: after }) {
  const [from, to] = [before === null ? "–" : String(before), after === null ? "out" : String(after)];
  return from === to ? from : `${from} → ${to}`;
}

function showEffects(effects, k) {
  byId("effects").hidden = effects === undefined;
  const rows = (effects ?? []).toSorted((a, b) => (a.rank_after ?? 1e9) - (b.rank_after ?? 1e9));
  byId("effects-rows").replaceChildren(
    ...rows.map((one) => {
      const change = one.change === null ? "–" : `${one.change > 0 ? "+" : ""}${number(one.change)}`;
      const cells = [titleWithId(one), one.rule, placeOf(one)].map((cell) => el("td", {}, cell));
      return el("tr", {}, ...cells, el("td", { class: "number" }, change));
    }),
  );
  byId("effects-note").textContent = rows.length
    ? `Of the first ${k}: the place before and after all rules, and what the rule added to the score.`
    : "Nothing: they moved none of these items.";
}

// Not crypto.randomUUID, which browsers have on HTTPS and localhost alone.
const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");

async function store(item) {
  const event = { event_id: newId(), user_id: user(), item_id: item.item_id };
  if (facts.event_types.length) event.event = byId("event").value;
  const found = await ask("v1/events", { body: { events: [event] } });
  if (found.refused) throw new Error(found.receipts[0].reason);
  await recommend();
}

function addOf() {
  if (kind() === "titles") return { name: "Add", act: add };
  return facts.role === "admin" ? { name: "Store event", act: (item) => doing(() => store(item))() } : null;
}

function add(item) {
  chosen.push(item);
  refresh();
}

async function recommend() {
  wholeForm();
  const person = personOf(facts);
  if (person === null) {
    newList(async () => undefined);
    showHistory({ history: kind() === "titles" ? null : [], length: 0 });
    if (kind() === "user") byId("history-note").textContent = "";
    byId("list").replaceChildren();
    byId("effects").hidden = true;
    byId("status").textContent = kind() === "titles" ? "Nobody is chosen yet." : "Type a user id.";
    return;
  }
  byId("list").setAttribute("aria-busy", "true");
  try {
    const answers = await newList(async (signal) => {
      const options = optionsOf();
      const asked = [ask("v1/recommend", { body: { ...person, ...options }, signal }), historyOf(signal)];
      return [...(await Promise.all(asked)), options.k];
    });
    if (answers === undefined) return;
    const [found, history, k] = answers;
    firstItem = found.items.at(-1)?.item_id ?? firstItem;
    const more = { person: found.source === "model" ? person : null, add: addOf() };
    const within = byId("list").contains(document.activeElement);
    byId("list").replaceChildren(...found.items.map((one) => itemRow(one, more)));
    if (within) byId("list-title").focus(); // the button that was pressed is gone
    byId("status").textContent = statusOf(found, person);
    showEffects(found.rule_effects, k);
    showHistory(history);
  } catch (error) {
    byId("list").replaceChildren();
    byId("status").textContent = "";
    byId("effects").hidden = true;
    throw error;
  } finally {
    byId("list").removeAttribute("aria-busy");
  }
}

const refresh = doing(recommend);

async function search() {
  const text = byId("search").value.trim();
  if (!text) return;
  const found = await newSearch((signal) => ask("v1/search", { body: { texts: [text], k: 10, titles: true }, signal }));
  if (found === undefined) return;
  const { items } = found.results[0];
  byId("found").replaceChildren(...items.map((one) => itemRow(one, { add: addOf() })));
  byId("search-status").replaceChildren(`${count(items.length, "item")} for “`, titleOf({ title: text }), "”.");
}

byId("by-user").addEventListener("submit", refresh);
byId("options-form").addEventListener("submit", refresh);
byId("search-form").addEventListener("submit", doing(search));
byId("forget-key").addEventListener("click", () => askForKey(""));
byId("key-form").addEventListener("submit", doing(async () => {
  setKey(byId("key").value);
  byId("key").value = "";
  await begin();
}));
for (const one of document.querySelectorAll("input[name=kind]")) one.addEventListener("change", refresh);
combobox(byId("title"), byId("title-list"), add, fail);
if (isOpen) doing(begin)();
else askForKey("");
