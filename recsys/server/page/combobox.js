// A field that proposes items by a part of their title: arrows, Enter and Escape as the ARIA pattern has them.

import { ask, latest } from "./api.js";
import { el, titleOf } from "./dom.js";

const WAIT = 150;

export function combobox(input, list, choose, fail) {
  const newest = latest();
  let items = [];
  let at = -1;
  let timer = 0;

  function close() {
    clearTimeout(timer);
    items = [];
    list.hidden = true;
    list.replaceChildren();
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function mark(place) {
    at = place;
    [...list.children].forEach((one, i) => one.setAttribute("aria-selected", String(i === at)));
    if (at < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", `${list.id}-${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    }
  }

  function take(place) {
    const item = items[place];
    input.value = "";
    close();
    choose(item);
  }

  function show(found) {
    items = found;
    list.replaceChildren(
      ...items.map((one, i) =>
        el("li", { id: `${list.id}-${i}`, role: "option", "aria-selected": "false", onclick: () => take(i) }, titleOf(one)),
      ),
    );
    if (!items.length) list.append(el("li", { class: "soft", role: "option", "aria-disabled": "true" }, "No title has that in it"));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(items.length ? 0 : -1);
  }

  async function propose() {
    const text = input.value.trim();
    try {
      const found = await newest(async (signal) =>
        text ? (await ask("page/titles", { body: { text }, signal })).items : [],
      );
      if (found === undefined) return;
      if (text) show(found);
      else close();
    } catch (error) {
      close();
      fail(error);
    }
  }

  list.addEventListener("pointerdown", (event) => event.preventDefault());
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(propose, WAIT);
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && list.hidden && input.value.trim()) propose();
    else if (step && items.length) mark((at + step + items.length) % items.length);
    else if (event.key === "Enter" && at >= 0 && items.length) take(at);
    else if (event.key === "Escape" && !list.hidden) close();
    else return;
    event.preventDefault();
  });
}
