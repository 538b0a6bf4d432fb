// Shows what /readyz, /metrics and, with the ops token, /api/v1/table say. What they say is text here, never markup.
"use strict";

const EVERY = 5000;
const byId = (id) => document.getElementById(id);
let token = "";

/** An element with a text, and maybe elements below it. */
function element(name, text, ...below) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...below);
  return made;
}

/** The series of a metric: labels and a number each. */
function series(text, name) {
  const found = [];
  for (const line of text.split("\n").filter((line) => line.startsWith(name + "{"))) {
    const labels = {};
    for (const [, key, value] of line.matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g)) {
      labels[key] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    found.push({ ...labels, count: Number(line.slice(line.lastIndexOf(" ") + 1)) });
  }
  return found;
}

/** One row for each client that is known or was counted. */
function rows(metrics, table) {
  const clients = new Map();
  const row = (id) => {
    if (!clients.has(id)) clients.set(id, { stage: "", given: 0, passed: 0, calls: 0, refused: new Map() });
    return clients.get(id);
  };
  for (const [id, client] of Object.entries(table.clients ?? {})) row(id).stage = client.stage;
  for (const { client, endpoint, outcome, count } of series(metrics, "passbridge_requests_total")) {
    const one = row(client);
    if (outcome === "passed") one.passed += count;
    else if (outcome !== "ok") one.refused.set(outcome, (one.refused.get(outcome) ?? 0) + count);
    else if (endpoint === "token") one.given += count;
    else if (endpoint === "api" || endpoint === "authz") one.calls += count;
  }
  return [...clients].sort(([one], [other]) => (one < other ? -1 : 1));
}

function show(ready, metrics, table) {
  const { mappings } = ready;
  const good = ready.ready && mappings.current && ready.realm !== "unreachable" && ready.store === "writable" && ready.audit !== "failing";
  byId("state").textContent = !ready.ready ? "drains" : good ? "is well" : "serves, and deserves a look";
  byId("state").className = good ? "good" : "bad";
  const facts = {
    generation: mappings.generation, digest: mappings.digest, clients: mappings.clients,
    realm: ready.realm, store: ready.store, audit: ready.audit, version: table.version ?? "",
    "needs a restart": (table.needs_restart ?? []).join(", "),
  };
  const told = Object.entries(facts).filter(([, value]) => value !== "");
  byId("facts").replaceChildren(...told.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
  byId("refused").replaceChildren(...mappings.refused.map((finding) => element("li", finding)));
  byId("clients").replaceChildren(...rows(metrics, table).map(([id, one]) => {
    const refused = [...one.refused].map(([cause, count]) => `${cause} ${count}`).join(", ");
    const cells = [id, one.stage, one.given, one.passed, one.calls, refused];
    return element("tr", "", ...cells.map((cell) => element("td", String(cell))));
  }));
}

async function table() {
  if (token === "") return {};
  const answer = await fetch("api/v1/table", { headers: { authorization: `Bearer ${token}` } });
  const body = await answer.json();
  byId("denied").textContent = answer.ok ? "" : body.error;
  return answer.ok ? body : {};
}

async function look() {
  try {
    // 503 while it drains: what it says counts all the same.
    const [ready, metrics, known] = await Promise.all([
      fetch("readyz").then((answer) => answer.json()),
      fetch("metrics").then((answer) => answer.text()),
      table(),
    ]);
    show(ready, metrics, known);
  } catch {
    byId("state").textContent = "does not answer";
    byId("state").className = "bad";
  }
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  look();
});
look();
setInterval(look, EVERY);
