// The routes of the server, asked with the key that was typed; the key is in this variable and nowhere else.

let key = "";

export const setKey = (text) => {
  key = text.trim();
};

export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function ask(path, { body, method = body === undefined ? "GET" : "POST", signal, text = false } = {}) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body !== undefined) headers["content-type"] = "application/json";
  const sent = { method, headers, signal, credentials: "omit", cache: "no-store", body: body && JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(new URL(path, document.baseURI), sent);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The server does not answer.");
  }
  if (answer.ok) return text ? answer.text() : answer.json();
  const problem = await answer.json().catch(() => ({}));
  throw new Refusal(answer.status, problem.detail ?? `The server answered ${answer.status}.`);
}

// Runs one task at a time: a new one makes the answer of the one before worthless.
export function latest() {
  let running = new AbortController();
  return async (task) => {
    running.abort();
    const mine = (running = new AbortController());
    try {
      const found = await task(mine.signal);
      return mine.signal.aborted ? undefined : found;
    } catch (error) {
      if (mine.signal.aborted) return undefined;
      throw error;
    }
  };
}
