// Shows what /readyz, /metrics and, with the ops token, /api/v1/table say. What they say is text here, never markup.
"use strict";

const EVERY = 5000;
/** So long may a look take. */
const LIMIT = 4000;
/** What grew counts for so long. */
const LATELY = 60000;
/** So many are named in a line. */
const NAMED = 10;

const REQUESTS = "passbridge_requests_total";
/** What deserves a look where it grew, in words; nothing of a series that is as it should be. */
const GROWS = {
  passbridge_faults_total: ({ fault }) => fault !== "client" && `requests refused, fault ${fault}`,
  passbridge_old_server_total: ({ answer }) => answer === "5xx" && "answers 5xx of the old server",
  passbridge_old_api_total: ({ answer }) => answer === "5xx" && "answers 5xx of the old API",
  passbridge_api_answers_cut_total: () => "answers of APIs that broke off",
  passbridge_api_servers_passed_over_total: () => "times that a server of a route was passed over",
  passbridge_panics_total: () => "faults of the program itself (panics)",
  passbridge_audit_lost_total: () => "records of the audit that found no room",
  passbridge_log_lost_total: () => "lines of the log left out",
  passbridge_connections_turned_away_total: () => "connections turned away",
  passbridge_connections_not_accepted_total: () => "connections not accepted, for want of open files or memory",
};
/** What deserves a look while it is not 0. */
const STANDS = {
  passbridge_canary_stepped_back: () => "canaries stepped back",
  passbridge_revocations_untold: () => "revocations that the realm has not heard yet",
};

const byId = (id) => document.getElementById(id);
let token = "";

/** An element with a text, and maybe elements below it. */
function element(name, text, ...below) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...below);
  return made;
}

/** Every series of /metrics: its metric and labels, and a number. */
function series(text) {
  const found = [];
  for (const line of text.split("\n").filter((line) => line !== "" && !line.startsWith("#"))) {
    const whole = line.slice(0, line.lastIndexOf(" "));
    const labels = {};
    for (const [, key, value] of whole.matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g)) {
      labels[key] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
    }
    found.push({ ...labels, whole, metric: whole.split("{")[0], count: Number(line.slice(whole.length + 1)) });
  }
  return found;
}

/** What grew between two looks of the last minute, a step for each look: since when, and the series by how much. */
let steps = [];
/** Counters as the look before found them, and when that was. */
let before = null;

function grow(all, at) {
  const counts = new Map(all.filter(({ metric }) => metric in GROWS || metric === REQUESTS).map((one) => [one.whole, one.count]));
  if (before !== null) {
    const had = (whole) => before.counts.get(whole) ?? 0;
    // Where one counts less than it did, the bridge was started anew, and all count from nothing.
    const anew = [...before.counts.keys()].some((whole) => (counts.get(whole) ?? 0) < had(whole));
    const more = all.filter(({ whole }) => counts.has(whole))
      .map((one) => ({ ...one, count: one.count - (anew ? 0 : had(one.whole)) }));
    steps.push({ since: before.at, more: more.filter(({ count }) => count > 0) });
  }
  before = { at, counts };
  steps = steps.filter(({ since }, index) => at - since <= LATELY || index === steps.length - 1);
}

/** A line for all that has the same words: how much, and who has most of it. */
function lines(found, words) {
  const sums = new Map();
  for (const one of found) {
    const word = one.count > 0 && words[one.metric]?.(one);
    if (!word) continue;
    if (!sums.has(word)) sums.set(word, new Map());
    const whose = one.client ?? one.server ?? "";
    sums.get(word).set(whose, (sums.get(word).get(whose) ?? 0) + one.count);
  }
  return [...sums].map(([word, by]) => {
    const most = [...by].filter(([whose]) => whose !== "").sort(([, one], [, other]) => other - one);
    const named = most.slice(0, NAMED).map(([whose, count]) => `${whose} ${count}`);
    if (most.length > NAMED) named.push(`and ${most.length - NAMED} more`);
    const sum = [...by.values()].reduce((one, other) => one + other);
    return `${word}: ${sum}` + (named.length > 0 ? ` (${named.join(", ")})` : "");
  });
}

/** All that is not as it should be, a line each. */
function amiss(ready, all, lately) {
  return [
    ...(ready.realm === "unreachable" ? ["the realm cannot be reached"] : []),
    ...(ready.store === "writable" ? [] : ["the store takes no writes"]),
    ...(ready.audit === "failing" ? ["the audit cannot be written"] : []),
    ...(ready.mappings.current ? [] : ["the last load of the mappings was refused"]),
    ...lines(all, STANDS),
    ...lines(lately, GROWS),
  ];
}

/** One row for each client that is known or was counted. */
function rows(all, lately, table) {
  const clients = new Map();
  const row = (id) => {
    if (!clients.has(id)) clients.set(id, { stage: "", given: 0, passed: 0, calls: 0, refused: new Map(), lately: new Map() });
    return clients.get(id);
  };
  const requests = (found) => found.filter(({ metric }) => metric === REQUESTS);
  const add = (causes, cause, count) => causes.set(cause, (causes.get(cause) ?? 0) + count);
  for (const [id, client] of Object.entries(table.clients ?? {})) row(id).stage = client.stage;
  for (const { client, endpoint, outcome, count } of requests(all)) {
    const one = row(client);
    if (outcome === "passed") one.passed += count;
    else if (outcome !== "ok") add(one.refused, outcome, count);
    else if (endpoint === "token") one.given += count;
    else if (endpoint === "api" || endpoint === "authz") one.calls += count;
  }
  for (const { client, outcome, count } of requests(lately)) {
    if (outcome !== "ok" && outcome !== "passed") add(row(client).lately, outcome, count);
  }
  return [...clients].sort(([one], [other]) => (one < other ? -1 : 1));
}

function show(ready, all, table) {
  const { mappings } = ready;
  const lately = steps.flatMap(({ more }) => more);
  const wrong = amiss(ready, all, lately);
  // One look alone cannot tell what grows.
  const [state, how] = !ready.ready ? ["drains", "bad"]
    : wrong.length > 0 ? ["serves, and deserves a look", "bad"]
    : steps.length === 0 ? ["asks once more ...", ""] : ["is well", "good"];
  byId("state").textContent = state;
  byId("state").className = how;
  const time = (at) => new Date(at).toTimeString().slice(0, 17);
  byId("as-of").textContent = `As of ${time(before.at)}` + (steps.length > 0 ? `; what grew, since ${time(steps[0].since)}` : "");
  byId("amiss").replaceChildren(...wrong.map((line) => element("li", line)));
  const facts = {
    generation: mappings.generation, digest: mappings.digest, clients: mappings.clients,
    realm: ready.realm, store: ready.store, audit: ready.audit, version: table.version ?? "",
    "needs a restart": (table.needs_restart ?? []).join(", "),
  };
  const told = Object.entries(facts).filter(([, value]) => value !== "");
  byId("facts").replaceChildren(...told.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
  byId("refused").replaceChildren(...mappings.refused.map((finding) => element("li", finding)));
  byId("clients").replaceChildren(...rows(all, lately, table).map(([id, one]) => {
    const causes = (refused) => [...refused].map(([cause, count]) => `${cause} ${count}`).join(", ");
    const cells = [id, one.stage, one.given, one.passed, one.calls, causes(one.refused), causes(one.lately)];
    return element("tr", "", ...cells.map((cell) => element("td", String(cell))));
  }));
}

async function table(signal) {
  if (token === "") return {};
  const answer = await fetch("api/v1/table", { headers: { authorization: `Bearer ${token}` }, signal });
  const body = await answer.json();
  byId("denied").textContent = answer.ok ? "" : body.error;
  return answer.ok ? body : {};
}

async function lookOnce() {
  try {
    const signal = AbortSignal.timeout(LIMIT);
    // 503 while it drains: what it says counts all the same.
    const [ready, metrics, known] = await Promise.all([
      fetch("readyz", { signal }).then((answer) => answer.json()),
      fetch("metrics", { signal }).then((answer) => answer.text()),
      table(signal),
    ]);
    const all = series(metrics);
    grow(all, Date.now());
    show(ready, all, known);
  } catch {
    byId("state").textContent = "does not answer";
    byId("state").className = "bad";
  }
}

let last = Promise.resolve();
let next;

/** Looks when the look before has ended, and again a while after. */
function look() {
  last = last.then(lookOnce).then(() => {
    clearTimeout(next);
    next = setTimeout(look, EVERY);
  });
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  look();
});
look();
