// The page around the charts: sections, legends, tables, films, the theme, and newer data where the page is live.

let DATA = JSON.parse(document.getElementById("data").textContent);
const STATE = { hidden: new Set(), cursors: new Map(), sorts: new Map(), open: new Map(), drawing: false };
const SMALL = window.matchMedia("(max-width: 640px)");
const LIVE = document.documentElement.dataset.mode === "live";
/** Charts on the page, each with the function that draws it at its present width. */
let charts = [];

const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** Text in which backquotes mark names that are typed. */
function worded(text) {
  return text.split("`").map((part, at) => (at % 2 ? el("code", { text: part }) : document.createTextNode(part)));
}

/** A part that can be opened; stays as it is when the page is drawn again. */
function opening(key, title, open, ...children) {
  const node = el("details", { open: STATE.open.has(key) ? STATE.open.get(key) : open }, el("summary", { text: title, id: `s-${slug(key)}` }), ...children);
  node.addEventListener("toggle", () => {
    STATE.open.set(key, node.open);
    if (node.open) redraw(charts.filter((chart) => node.contains(chart.host)));
  });
  return node;
}

// ----------------------------------------------------------------------------------------------------------- figures

function sample(group) {
  const style = styleOf(group);
  return svg("svg", { width: 34, height: 12, viewBox: "0 0 34 12", "aria-hidden": "true" },
    svg("line", { x1: 1, x2: 33, y1: 6, y2: 6, stroke: style.colour, "stroke-width": 2.2, "stroke-dasharray": dashed(style) }),
    marker(group, 17, 6));
}

/** Seeds of a group in a figure, for its name in the legend. */
function seedsIn(figure, group) {
  const lines = figure.kind === "curves" ? figure.panels.flatMap((panel) => panel.lines) : [];
  const most = lines.filter((line) => line.group === group).map((line) => Math.max(...[line.n].flat()));
  return most.length ? Math.max(...most) : null;
}

function legend(task, figure, place) {
  const present = figure.kind === "final"
    ? new Set(figure.rows.map((row) => row.group))
    : new Set(figure.panels.flatMap((panel) => (panel.lines || []).map((line) => line.group)));
  const groups = figure.labels.map((_, group) => group).filter((group) => present.has(group));
  if (figure.kind !== "curves" || !groups.length) return null;
  const box = el("div", { class: "legend", role: "group", "aria-label": "Groups; press to hide or show" });
  for (const group of groups) {
    const label = figure.labels[group];
    const seeds = seedsIn(figure, group);
    box.append(
      el("button", { type: "button", class: "chip", id: `${place}-g${group}`, "aria-pressed": String(!isHidden(task, figure, group)),
        title: isHidden(task, figure, group) ? "Show in all figures" : "Hide in all figures", onclick: () => toggle(task, label) },
        sample(group),
        el("span", { text: seeds === null ? label : `${label}, ${counted(seeds, "seed")}` })));
  }
  if (groups.some((group) => isHidden(task, figure, group))) {
    box.append(el("button", { type: "button", class: "chip all", id: `${place}-all`, text: "Show all", onclick: () => showAll(task) }));
  }
  // Many names would fill a phone's screen at every figure.
  if (groups.length > 4 && SMALL.matches) return opening(`${place} groups`, counted(groups.length, "group"), place.includes("-return-"), box);
  return box;
}

function toggle(task, label) {
  const key = hiddenKey(task, label);
  if (STATE.hidden.has(key)) STATE.hidden.delete(key);
  else STATE.hidden.add(key);
  render();
}

function showAll(task) {
  for (const key of [...STATE.hidden]) if (key.startsWith(`${task.task}\n`)) STATE.hidden.delete(key);
  render();
}

function figureCard(task, figure, place, paired) {
  const prefix = `${task.task}: `;
  const title = capital(figure.title.startsWith(prefix) ? figure.title.slice(prefix.length) : figure.title);
  const single = figure.panels.length === 1;
  const panels = el("div", { class: "panels", variables: { "--across": figure.columns }, "data-parity": single ? null : figure.panels.length % 2 ? "odd" : "even" });
  const height = figure.kind === "settings" ? 220 : single ? (paired ? 320 : 360) : 215;
  const lanes = figure.marks ? 4 * figure.marks.length : 0;
  figure.panels.forEach((panel, at) => {
    const host = el("div", { class: "chart" });
    const shownTitle = figure.kind === "final" ? "" : panel.logarithmic && figure.kind === "curves" ? `${panel.title} (log scale)` : panel.title;
    const box = el("div", { class: "panel" }, shownTitle ? el("div", { class: "panel-title", text: shownTitle }) : null, host);
    if (figure.kind === "layers" && isHidden(task, figure, panel.group)) return;
    panels.append(box);
    charts.push({ host, draw: () => DRAWERS[figure.kind](host, task, { ...figure, title }, panel, height + lanes, `${place}-p${at}`) });
  });
  return el("figure", { class: "card figure", id: place },
    el("h4", { text: title }),
    el("p", { class: "note", text: figure.note }),
    legend(task, figure, place),
    panels,
    ["map", "layers"].includes(figure.kind) ? colourScale(figure) : null,
    opening(`${place} caption`, "What this shows", false, el("p", { text: figure.caption })));
}

function colourScale(figure) {
  const [low, high] = figure.range;
  const percent = figure.kind === "layers";
  const bar = svg("svg", { width: 180, height: 10, viewBox: "0 0 180 10", "aria-hidden": "true" });
  for (let i = 0; i < 60; i += 1) bar.append(svg("rect", { x: 3 * i, y: 0, width: 3.2, height: 10, fill: heat(i / 59) }));
  const box = el("div", { class: "scale" }, el("span", { text: shown(low, percent) }), bar, el("span", { text: `${shown(high, percent)}${percent ? " of a layer's neurons are dormant" : " mean final return"}` }));
  return box;
}

/** Figures of one panel stand two by two; one that is left over has the whole width. */
function figureRows(task, section, place) {
  const rows = [];
  let waiting = null;
  const flush = () => {
    if (waiting) rows.push(figureCard(task, waiting[0], waiting[1], false));
    waiting = null;
  };
  section.figures.forEach((figure, at) => {
    const id = `${place}-${slug(figure.name)}-${at}`;
    const single = figure.panels.length === 1 && figure.kind === "curves";
    if (!single) {
      flush();
      rows.push(figureCard(task, figure, id, false));
    } else if (waiting) {
      rows.push(el("div", { class: "pair" }, figureCard(task, waiting[0], waiting[1], true), figureCard(task, figure, id, true)));
      waiting = null;
    } else {
      waiting = [figure, id];
    }
  });
  flush();
  return rows;
}

// ------------------------------------------------------------------------------------------------------------ tables

function tableCard(table, key, colours = {}) {
  const sort = STATE.sorts.get(key);
  const order = table.rows.map((_, at) => at);
  if (sort) order.sort((a, b) => compare(table, sort, a, b) || a - b);
  const numeric = table.values.map((values) => values !== null);
  const head = el("tr", {}, table.head.map((name, column) =>
    el("th", { scope: "col", "aria-sort": sort && sort.column === column ? (sort.down ? "descending" : "ascending") : null },
      el("button", { type: "button", class: "sorter", id: `${key}-c${column}`, text: name, onclick: () => sortBy(key, column) }))));
  const body = order.map((at) => el("tr", {}, table.rows[at].map((cell, column) => {
    const long = table.head[column] === "notes" || table.head[column] === "reason";
    const colour = ["group", "against"].includes(table.head[column]) ? colours[cell] : undefined;
    const content = table.code.includes(column) ? el("code", { class: cell.length <= 40 ? "short" : null, text: cell }) : document.createTextNode(cell);
    const dot = colour ? el("span", { class: "dot", variables: { "background-color": colour } }) : null;
    return el("td", { class: numeric[column] ? "number" : long ? "long" : "name" }, dot, content);
  })));
  return el("section", { class: "card table-card", id: key },
    el("h4", { text: table.title, id: `${key}-title` }),
    el("div", { class: "table-box", id: `${key}-box`, role: "region", tabindex: "0", "aria-labelledby": `${key}-title` },
      el("table", {}, el("thead", {}, head), el("tbody", {}, body))),
    table.note ? el("p", { class: "note", text: table.note }) : null);
}

/** Cells that hold nothing are last, whichever way round. */
function compare(table, { column, down }, a, b) {
  const way = down ? -1 : 1;
  const values = table.values[column];
  if (values) {
    if (values[a] === null || values[b] === null) return (values[a] === null) - (values[b] === null);
    return way * (values[a] - values[b]);
  }
  return way * table.rows[a][column].localeCompare(table.rows[b][column], "en", { numeric: true });
}

/** Rising, falling, and as it was. */
function sortBy(key, column) {
  const sort = STATE.sorts.get(key);
  if (!sort || sort.column !== column) STATE.sorts.set(key, { column, down: false });
  else if (!sort.down) STATE.sorts.set(key, { column, down: true });
  else STATE.sorts.delete(key);
  render();
}

// ---------------------------------------------------------------------------------------------------------- the page

function coloursOf(task) {
  const figure = task.sections.flatMap((section) => section.figures).find((one) => one.kind === "curves");
  return Object.fromEntries((figure ? figure.labels : []).map((label, group) => [label, styleOf(group).colour]));
}

function said(list, colours) {
  return el("ul", { class: "words plain" }, list.map(([label, text]) =>
    el("li", { class: "says" }, el("span", { class: "dot", variables: { "background-color": colours[label] || "transparent" } }),
      el("span", {}, label ? el("strong", { text: `${label}: ` }) : null, ...worded(text)))));
}

function taskParts(task, number) {
  const place = `t${number}`;
  const colours = coloursOf(task);
  const links = [];
  const section = (title, ...children) => {
    const id = `${place}-${slug(title)}`;
    links.push([id, title]);
    return [el("h3", { id, text: title }), ...children];
  };
  const words = el("div", { class: "card" }, el("h4", { text: "What can be said" }),
    task.verdicts.length > 10
      ? opening(`${place} verdicts`, `${counted(task.verdicts.length, "sentence")} about groups`, false, said(task.verdicts, colours))
      : said(task.verdicts, colours),
    task.comparisons.length ? el("ul", { class: "words" }, task.comparisons.map((text) => el("li", {}, ...worded(text)))) : null,
    task.forks ? el("p", { class: "words plain" }, ...worded(task.forks)) : null);
  const parts = [];
  const found = task.sections.map((one) => [one, figureRows(task, one, `${place}-${slug(one.title)}`)]);
  const results = found.find(([one]) => one.title === "Results");
  parts.push(...section("Results", ...(results ? results[1] : []), words, tableCard(task.tables[0], `${place}-table-0`, colours)));
  for (const [one, rows] of found) if (one.title !== "Results") parts.push(...section(one.title, ...rows));
  parts.push(...section("Runs", ...task.tables.slice(1).map((table, at) => tableCard(table, `${place}-table-${at + 1}`, colours)),
    task.varying.length ? el("ul", { class: "words" }, task.varying.map((text) => el("li", {}, ...worded(text)))) : null));
  parts.push(...section("More tables", ...task.more_tables.map((table, at) => tableCard(table, `${place}-more-${at}`, colours)),
    task.interventions.length ? el("div", { class: "card" }, el("h4", { text: "Settings of the interventions" }), said(task.interventions, colours)) : null));
  return [links, el("section", { class: "task", id: place },
    DATA.tasks.length > 1 ? el("h2", { text: task.task }) : null,
    DATA.tasks.length > 1 ? el("p", { class: "soft", text: task.overview }) : null,
    ...parts)];
}

function films() {
  if (!DATA.films.length) return null;
  return [el("h3", { id: "films", text: "Films" }), el("div", { class: "films" }, DATA.films.map((film, at) => {
    const name = `${film.run}`;
    if (!film.source) return el("div", { class: "card film" }, el("p", { text: name }), el("p", { class: "soft", text: `episode.gif ${film.left_out}.` }));
    // Shown only when opened: nothing on the page moves by itself.
    const picture = el("img", { alt: `An episode of ${film.run}, ${film.group}`, loading: "lazy" });
    const node = opening(`film ${film.run} ${at}`, `Play ${name}`, false, el("p", { class: "soft", text: film.group }), picture);
    const fillIn = () => { if (node.open) picture.src = film.source; };
    node.addEventListener("toggle", fillIn);
    fillIn();
    return el("div", { class: "card film" }, node);
  }))];
}

function redraw(some = charts) {
  STATE.drawing = true;
  for (const chart of some) if (chart.host.clientWidth > 0) chart.draw();
  STATE.drawing = false;
}

/** Draws the whole page anew, and leaves it where the reader is: scrolled, focused, opened, sorted. */
function render() {
  STATE.drawing = true;
  const focused = document.activeElement && document.activeElement.id;
  const [across, down] = [window.scrollX, window.scrollY];
  const boxes = [...document.querySelectorAll(".table-box")].map((box) => [box.id, box.scrollLeft, box.scrollTop]);
  charts = [];
  const tasks = DATA.tasks.map(taskParts);
  const main = document.getElementById("main");
  document.documentElement.style.setProperty("--reference", DATA.reference_colour);
  document.getElementById("title").textContent = DATA.tasks.length === 1 ? DATA.tasks[0].task : DATA.title;
  document.getElementById("overview").textContent = DATA.overview;
  const progress = DATA.progress ? [el("h3", { id: "progress", text: "Progress" }), tableCard(DATA.progress, "progress-table")] : [];
  const movies = films();
  const left = DATA.left_out.rows.length ? [el("h3", { id: "left-out", text: "Left out" }), tableCard(DATA.left_out, "left-out-table")] : [];
  const reading = [el("h3", { id: "reading", text: "How to read the numbers" }),
    el("div", { class: "card" }, el("ul", { class: "words" }, DATA.method.map((text) => el("li", { text }))))];
  const empty = DATA.tasks.length ? [] : [el("p", { class: "empty", text: "No run here yet; they appear here by themselves." })];
  main.replaceChildren(...[...progress, ...empty, ...tasks.map(([, node]) => node), ...(movies || []), ...left, ...reading].flat());
  const links = [
    ...(progress.length ? [["progress", "Progress"]] : []),
    ...tasks.flatMap(([own], at) => (tasks.length > 1 ? [[`t${at}`, DATA.tasks[at].task]] : own)),
    ...(movies ? [["films", "Films"]] : []),
    ...(left.length ? [["left-out", "Left out"]] : []),
    ["reading", "How to read"],
  ];
  document.getElementById("nav").replaceChildren(el("ul", {}, links.map(([id, text]) =>
    el("li", {}, el("a", { href: `#${id}`, text, id: `n-${id}` })))));
  document.getElementById("footer").replaceChildren(...[
    DATA.command ? el("p", {}, "Made with ", el("code", { text: DATA.command })) : null,
    el("p", { text: DATA.versions }),
  ].filter(Boolean));
  redraw();
  for (const [id, x, y] of boxes) {
    const box = document.getElementById(id);
    if (box) [box.scrollLeft, box.scrollTop] = [x, y];
  }
  window.scrollTo({ left: across, top: down, behavior: "instant" });
  const again = focused && document.getElementById(focused);
  if (again) again.focus({ preventScroll: true });
  STATE.drawing = false;
}

// ------------------------------------------------------------------------------------------------------------- theme

const THEMES = ["system", "light", "dark"];

function remembered() {
  try {
    return localStorage.getItem("rllib_reborn.theme") || "system";
  } catch {
    return "system"; // a browser that keeps nothing for files
  }
}

function useTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  document.getElementById("theme").textContent = `Theme: ${theme}`;
  try {
    localStorage.setItem("rllib_reborn.theme", theme);
  } catch {
    // The choice then holds for this visit.
  }
}

let theme = remembered();
useTheme(THEMES.includes(theme) ? theme : "system");
document.getElementById("theme").addEventListener("click", () => {
  theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  useTheme(theme);
});

// -------------------------------------------------------------------------------------------------------------- live

const status = document.getElementById("status");

function tellStatus(lost) {
  status.hidden = false;
  status.classList.toggle("lost", lost);
  status.textContent = lost ? "No answer from rllib-reborn watch; asking again" : `Live, ${DATA.status || ""}`;
}

async function ask() {
  try {
    const answer = await fetch("data.json?wait", { headers: ask.tag ? { "If-None-Match": ask.tag } : {}, cache: "no-store" });
    if (answer.status === 200) {
      const found = await answer.json();
      ask.tag = answer.headers.get("ETag");
      DATA = found;
      render();
    } else if (answer.status !== 304) throw new Error(`status ${answer.status}`);
    tellStatus(false);
    setTimeout(ask, 200); // the server answers when there is something new
  } catch {
    tellStatus(true);
    setTimeout(ask, 1000);
  }
}

// ------------------------------------------------------------------------------------------------------------- start

let width = 0;
let frame = 0;
new ResizeObserver(() => {
  const now = document.getElementById("main").clientWidth;
  if (now === width) return;
  width = now;
  cancelAnimationFrame(frame);
  frame = requestAnimationFrame(() => redraw());
}).observe(document.getElementById("main"));
SMALL.addEventListener("change", render);
window.addEventListener("beforeprint", () => {
  for (const node of document.querySelectorAll("details.caption, .figure details")) node.open = true;
});
render();
width = document.getElementById("main").clientWidth;
if (LIVE) ask();
