"use strict";

// Everything that comes from the cluster goes into the page by textContent, never as markup.

const STATUS_EVERY = 4000;
const RUNS_EVERY = 2000;
const MARKS = {
  ready: "good", Succeeded: "good",
  failed: "bad", Failed: "bad", Cancelled: "bad", TimedOut: "bad",
  pending: "busy", Running: "busy",
};
const WORDS = { TimedOut: "Timed out" };

const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Only what changed is written: what the reader has selected or focused stays. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function mark(node, state, text = WORDS[state] || state) {
  write(node, text);
  node.className = `state ${MARKS[state] || ""}`;
}

/** One child per item, kept and moved by key, so that an update does not rebuild what is there. */
function keyed(parent, items, key, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let child = old.get(name);
    old.delete(name);
    if (!child) {
      child = create(item);
      child.dataset.key = name;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const child of old.values()) child.remove();
}

function describe(list, pairs) {
  const shown = pairs.filter(([, value]) => value);
  const flat = shown.flatMap(([name, value]) => [["dt", name, name], ["dd", name, value]]);
  keyed(list, flat, ([tag, name]) => tag + name, ([tag]) => make(tag), (child, [, , value]) => {
    if (/^http:\/\/127\.0\.0\.1:\d+$/.test(value)) {
      if (child.textContent !== value) child.replaceChildren(make("a", { href: value, rel: "noreferrer" }, value));
    } else write(child, value);
  });
}

function cells(row, values) {
  values.forEach((value, index) => {
    const cell = row.children[index];
    cell.classList.toggle("empty", !value);
    if (cell.childElementCount === 0) write(cell, value);
  });
}

function lasted(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${String(seconds % 60).padStart(2, "0")}s`;
  return `${Math.floor(minutes / 60)}h${String(minutes % 60).padStart(2, "0")}m`;
}

function ago(time) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(time)) / 1000));
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

function shortImage(image) {
  const [path, digest] = image.split("@");
  return digest ? `${path}@${digest.slice(0, 19)}` : path;
}

const lastPart = (path) => path.split("/").pop();

// What could not be read, by its source; shown until it can be read again.

const troubles = new Map();

function trouble(source, answer) {
  if (answer) troubles.set(source, [answer.error, answer.hint ? `Next: ${answer.hint}` : ""]);
  else troubles.delete(source);
  const lines = [...new Set([...troubles.values()].map(([error]) => error))];
  const hints = [...new Set([...troubles.values()].map(([, hint]) => hint).filter(Boolean))];
  const box = byId("trouble");
  if (lines.length) lines.push(...hints, "What cannot be read is shown as it was last seen; this page keeps trying.");
  if (box.dataset.shown !== lines.join("\n")) {
    box.dataset.shown = lines.join("\n");
    box.replaceChildren(...lines.map((line) => make("p", {}, line)));
  }
  box.hidden = !lines.length;
}

async function ask(path) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store" });
  } catch {
    return [null, { error: "The page's own server does not answer.", hint: "invoke dashboard" }];
  }
  try {
    const body = path.includes("/log") && response.ok ? await response.text() : await response.json();
    return response.ok ? [body, null] : [null, { ...body, status: response.status }];
  } catch {
    return [null, { error: `The page's server broke off its answer (${response.status}).`, hint: "" }];
  }
}

/** Reads again and again, pausing between two reads; not while nobody looks. */
function poll(pause, read) {
  let timer = 0;
  let reading = false;
  let again = false;
  const turn = async () => {
    if (reading) {
      again = true;
      return;
    }
    clearTimeout(timer);
    reading = true;
    if (!document.hidden) await read();
    reading = false;
    timer = setTimeout(turn, again ? 0 : pause);
    again = false;
  };
  document.addEventListener("visibilitychange", () => document.hidden || turn());
  turn();
  return turn;
}

// The environment

let read = "";

async function readStatus() {
  const [status, failure] = await ask("/api/status");
  trouble("status", failure);
  if (failure) {
    mark(byId("overall"), "unknown");
    return;
  }
  read = status.read;
  write(byId("name"), status.name);
  const notReady = status.steps.filter((step) => step.verdict !== "ready");
  document.title = `${notReady.length ? "✗" : "✓"} ${status.name} · tekton-bootstrap`;
  const overall = notReady.length === 0 ? "ready" : notReady.some((step) => step.verdict === "failed") ? "failed" : "pending";
  mark(byId("overall"), overall, notReady.length ? `${notReady.length} of ${status.steps.length} steps not ready` : "ready");
  showNext(status.next);
  showServing(status.serving, status.endpoints.app);
  showSteps(status.steps);
  describe(byId("places"), [
    ...Object.entries(status.endpoints),
    ["kubeconfig", status.kubeconfig], ["context", status.context], ["images from", status.supply],
  ]);
}

function showNext(next) {
  write(byId("next-why"), next.why);
  write(byId("next-command"), next.command);
  byId("copy").hidden = !navigator.clipboard;
}

function showServing(serving, address) {
  const where = `${serving.deployment} in namespace ${serving.namespace}`;
  write(byId("serving-why"), serving.why ? `${where}: ${serving.why}` : where);
  describe(byId("serving"), [
    ...Object.entries(serving.answer).map(([name, value]) => [name, String(value)]),
    ["pods", serving.pods], ["image", shortImage(serving.image)], ["address", serving.why ? "" : address],
  ]);
}

function showSteps(steps) {
  const create = () => make("tr", { role: "row" },
    make("th", { role: "rowheader", scope: "row", class: "whole" }), make("td", { role: "cell" }, make("span")),
    make("td", { role: "cell" }), make("td", { role: "cell", class: "number" }));
  keyed(byId("steps"), steps, (step) => step.name, create, (row, step) => {
    mark(row.children[1].firstElementChild, step.verdict);
    cells(row, [step.name, step.verdict, step.why, `${step.seconds.toFixed(1)} s`]);
  });
}

// Runs

let newest = "";
const chosen = () => (location.hash.match(/^#run\/(.+)$/) || ["", ""])[1] || newest;

async function readRuns() {
  const [answer, failure] = await ask("/api/runs");
  trouble("runs", failure);
  if (failure) {
    if (byId("runs-table").hidden) write(byId("runs-note"), "not known");
    return;
  }
  const first = answer.runs.length ? answer.runs[0].run : "";
  const changed = first !== newest;
  newest = first;
  showRuns(answer.runs);
  byId("runs-table").hidden = answer.runs.length === 0;
  write(byId("runs-note"), answer.left_out ? `${answer.left_out} older ones are left out: invoke runs --limit 1000`
    : answer.runs.length ? "" : "Nothing has run yet. Start one: invoke test-run");
  if (changed) turnRun();
}

function showRuns(runs) {
  const create = (run) => make("tr", { role: "row" },
    make("th", { role: "rowheader", scope: "row" }, make("a", { href: `#run/${run.run}` }, run.run)),
    make("td", { role: "cell" }, make("span")),
    make("td", { role: "cell", class: "code" }), make("td", { role: "cell" }, make("span", { class: "short" })),
    make("td", { role: "cell", class: "whole" }), make("td", { role: "cell", class: "number" }), make("td", { role: "cell", class: "code" }),
    make("td", { role: "cell", class: "number" }, make("time")));
  keyed(byId("runs"), runs, (run) => run.run, create, (row, run) => {
    mark(row.children[1].firstElementChild, run.state);
    row.children[1].title = run.why;
    row.children[2].title = run.commit;
    write(row.children[3].firstElementChild, run.branch);
    row.children[3].title = run.branch;
    row.children[6].title = run.image;
    when(row.children[7].firstElementChild, run.created);
    cells(row, [run.run, run.state, run.commit.slice(0, 7), run.branch, run.by, lasted(run.seconds),
      lastPart(shortImage(run.image)), run.created]);
  });
  markChosen();
}

function markChosen() {
  for (const row of byId("runs").children) {
    const is = row.dataset.key === chosen();
    row.classList.toggle("chosen", is);
    const link = row.querySelector("a");
    if (is) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

function when(node, time) {
  if (!time) return;
  node.dateTime = time;
  node.title = new Date(time).toLocaleString();
  write(node, ago(time));
}

// One run

let shown = "";
let lines = {};

async function readRun() {
  const name = chosen();
  if (!name) {
    byId("run").hidden = true;
    return;
  }
  const [run, failure] = await ask(`/api/runs/${encodeURIComponent(name)}`);
  if (name !== chosen()) return;
  trouble("run", failure);
  if (failure) {
    if (shown !== name) byId("run").hidden = true;
    return;
  }
  if (shown !== name) {
    shown = name;
    lines = {};
    byId("tasks").replaceChildren();
    for (const source of [...troubles.keys()]) if (source.startsWith("log ")) troubles.delete(source);
  }
  showRun(run);
  await Promise.all(run.tasks.map((task) => readLog(name, task)));
}

function showRun(run) {
  byId("run").hidden = false;
  write(byId("run-title"), `Run ${run.run}`);
  mark(byId("run-state"), run.state);
  write(byId("run-why"), [run.why.replace(/^failed /, ""), run.seconds ? lasted(run.seconds) : ""].filter(Boolean).join(" · "));
  describe(byId("run-facts"), [
    ["commit", run.commit], ["branch", run.branch], ["started by", run.by], ["image", shortImage(run.image)],
    ["repository", run.params.REPO],
  ]);
  byId("whole-log").href = `/api/runs/${encodeURIComponent(run.run)}/log`;
  keyed(byId("tasks"), run.tasks, (task) => `${task.name}/${task.has_log}`, createTask, updateTask);
}

function createTask(task) {
  const head = [make("span", { class: "turn", "aria-hidden": "true" }), make("span", { class: "name" }, task.name),
    make("span"), make("span", { class: "number" }), make("span", { class: "why" })];
  if (!task.has_log) return make("li", {}, make("div", { class: "task" }, ...head));
  const log = make("pre", { class: "log", tabindex: "0", role: "log", "aria-live": "off", "aria-label": `Log of ${task.name}` });
  const details = make("details", {}, make("summary", { class: "task" }, ...head), make("dl", { class: "results" }), log);
  details.addEventListener("toggle", () => {
    if (details.open) turnRun();
  });
  return make("li", {}, details);
}

function updateTask(item, task) {
  const head = item.querySelector(".task");
  mark(head.children[2], task.state);
  write(head.children[3], lasted(task.seconds));
  write(head.children[4], task.why || runningStep(task));
  const details = item.querySelector("details");
  if (!details) return;
  describe(details.querySelector("dl"), Object.entries(task.results).map(([name, value]) => [name, value.trim()]));
  // Opened once by us when it becomes interesting; from then on the reader decides.
  const interesting = MARKS[task.state] === "busy" ? "busy" : MARKS[task.state] === "bad" ? "bad" : "";
  if (interesting && item.dataset.opened !== interesting) {
    item.dataset.opened = interesting;
    details.open = true;
  }
}

function runningStep(task) {
  const step = task.over ? null : task.steps.find((each) => each.state === "Running");
  return step ? `step ${step.name}` : "";
}

async function readLog(name, task) {
  const item = [...byId("tasks").children].find((child) => child.dataset.key === `${task.name}/true`);
  const details = item && item.querySelector("details");
  if (!details || !details.open || lines[task.name] === "whole") return;
  const [text, failure] = await ask(`/api/runs/${encodeURIComponent(name)}/log?task=${encodeURIComponent(task.name)}`);
  if (name !== shown) return;
  trouble(`log ${task.name}`, failure);
  if (failure) return;
  append(details.querySelector("pre"), text || (task.over ? "(nothing was printed)" : "(nothing was printed yet)"));
  if (task.over) lines[task.name] = "whole";
}

/** Adds what is new, so that a selection stays, and follows the end if the reader is there. */
function append(log, text) {
  const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  const old = log.textContent;
  if (text === old) return;
  if (old && text.startsWith(old)) log.append(text.slice(old.length));
  else log.textContent = text;
  if (atEnd) log.scrollTop = log.scrollHeight;
}

// The page

byId("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(byId("next-command").textContent);
  write(byId("copy"), "Copied");
  setTimeout(() => write(byId("copy"), "Copy"), 1500);
});

addEventListener("hashchange", async () => {
  markChosen();
  if (!location.hash.startsWith("#run/")) return;
  await turnRun();
  byId("run-title").focus();
});

setInterval(() => {
  if (read) write(byId("fresh"), `looked ${ago(read)}`);
}, 1000);

poll(STATUS_EVERY, readStatus);
const turnRun = poll(RUNS_EVERY, readRun);
poll(RUNS_EVERY, readRuns);
