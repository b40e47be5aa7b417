// The kinds of figures. Each drawer fills a host element at its present width, from the figure's data and nothing else.

const LANE = 8;

/** What a hidden group is remembered by. */
const hiddenKey = (task, label) => `${task.task}\n${label}`;
const isHidden = (task, figure, group) => STATE.hidden.has(hiddenKey(task, figure.labels[group]));

// ------------------------------------------------------------------------------------------------------------ curves

function drawCurves(host, task, figure, panel, height, id) {
  const grids = DATA.grids;
  const lines = panel.lines.filter((line) => !isHidden(task, figure, line.group));
  const weaker = panel.weaker.filter((line) => !isHidden(task, figure, line.group));
  const marks = (figure.marks || []).filter((mark) => !isHidden(task, figure, mark.group));
  const levels = figure.levels || [];
  const uprights = figure.uprights || [];
  // The axes are those of all groups, so that hiding one does not move the others.
  const all = [...panel.lines, ...panel.weaker];
  const width = host.clientWidth;
  const values = all.flatMap((line) => [...line.y, ...(line.low || []), ...(line.high || [])]);
  const heights = [...values, ...levels.map((one) => one.height), ...panel.references.map((one) => one.height)];
  const logarithmic = panel.logarithmic;
  const wanted = panel.limits
    ? [panel.limits[0] - 0.03 * (panel.limits[1] - panel.limits[0]), panel.limits[1] + 0.03 * (panel.limits[1] - panel.limits[0])]
    : logarithmic ? paddedLog(heights) : padded(heights);
  const inside = (value) => value >= wanted[0] && value <= wanted[1];
  const yTicks = (logarithmic ? logTicks(...wanted) : ticks(...(panel.limits || wanted), 5))
    .filter(inside)
    .map((value) => [value, tickText(value, figure.percent)]);
  const xs = all.map((line) => grids[line.x]);
  const first = figure.x_title === "environment steps" ? 0 : Math.min(...xs.map((x) => x[0]));
  const last = Math.max(...xs.map((x) => x[x.length - 1]), ...uprights.map((one) => one.x));
  const lanes = figure.marks ? LANE * figure.marks.length : 0;
  const left = Math.ceil(widestOf(yTicks.map(([, text]) => text))) + 12;
  const floor = height - 36;
  const area = { left, right: width - 10, top: figure.y_title ? 20 : 8, bottom: floor - lanes, floor };
  const x = scale(first, last > first ? last : first + 1, area.left, area.right);
  const y = scale(...wanted, area.bottom - (lanes ? 3 : 0), area.top, logarithmic);
  const xTicks = ticks(x.low, x.high, Math.max(2, Math.floor((area.right - area.left) / 80))).map((value) => [value, short(value)]);

  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height });
  root.append(...axes(area, x, y, xTicks, yTicks, figure.x_title));
  if (figure.y_title) root.append(svg("text", { x: 0, y: 10, text: `${figure.y_title}${logarithmic ? " (log scale)" : ""}` }));
  for (const level of [...levels, ...panel.references]) {
    const at = round(y(level.height));
    root.append(svg("line", { class: `level ${level.dashes || ""}`, x1: area.left, x2: area.right, y1: at, y2: at }));
  }
  for (const one of uprights) {
    const at = round(x(one.x));
    root.append(svg("line", { class: `upright ${one.dashes}`, x1: at, x2: at, y1: area.top, y2: area.floor }));
    if (uprights.length <= 12) root.append(svg("text", { x: at + 3, y: area.top + 9, text: one.name }));
  }
  const several = figure.panels.length > 1 ? " panel-line" : "";
  for (const line of lines) {
    if (!line.low) continue;
    root.append(svg("path", { class: "band", fill: styleOf(line.group).colour, d: band(grids[line.x], line.low, line.high, x, y, figure.steps) }));
  }
  for (const line of weaker) {
    root.append(svg("path", { class: `line ${figure.beside === "dotted" ? "beside" : "faint"}`, stroke: styleOf(line.group).colour,
      d: path(grids[line.x], line.y, x, y) }));
  }
  for (const line of lines) {
    const style = styleOf(line.group);
    const own = grids[line.x];
    root.append(svg("path", { class: `line${several}`, stroke: style.colour, "stroke-dasharray": dashed(style), d: path(own, line.y, x, y, figure.steps) }));
    if (figure.steps) continue;
    const every = own.length <= 30 && !several ? 1 : Math.max(1, Math.floor(own.length / 8));
    for (let i = Math.floor((line.group * every) / 3) % every; i < own.length; i += every) {
      if (line.y[i] !== null && !(logarithmic && line.y[i] <= 0)) root.append(marker(line.group, x(own[i]), y(line.y[i])));
    }
  }
  (figure.marks || []).forEach((mark, lane) => {
    if (isHidden(task, figure, mark.group)) return;
    const top = area.bottom + lane * LANE + 1;
    const style = styleOf(mark.group);
    root.append(svg("path", { d: MARKERS[style.marker], fill: style.colour, transform: `translate(${area.left - 8} ${top + 3}) scale(0.85)` }));
    for (const at of grids[mark.x]) {
      root.append(svg("line", { class: "mark", stroke: style.colour, x1: round(x(at)), x2: round(x(at)), y1: top, y2: top + 6 }));
    }
  });
  const cursor = svg("g", {});
  root.append(cursor);
  const tip = el("div", { class: "tip", hidden: true });
  host.replaceChildren(root, tip);

  const stops = [...new Set([...lines, ...(lines.length ? [] : weaker)].flatMap((line) => grids[line.x]))].sort((a, b) => a - b);
  const name = (group) => figure.labels[group];
  const read = (stop) => {
    const at = round(x(stop));
    const near = (5 * (x.high - x.low)) / Math.max(1, area.right - area.left);
    const rows = [];
    const dots = [];
    const behind = [];
    for (const group of new Set([...lines, ...weaker].map((line) => line.group))) {
      const line = lines.find((one) => one.group === group);
      const point = line ? pointOf(grids[line.x], line.y, stop, figure.steps) : null;
      const more = [];
      if (point !== null) {
        const [own, value] = [grids[line.x][point], line.y[point]];
        behind.push(evidence(figure, line, point));
        more.push(interval(figure, line, point));
        if (own !== stop && !figure.steps) more.push(`at ${trimmed(own)}`);
        if (!(logarithmic && value <= 0)) {
          dots.push(svg("circle", { class: "at", r: 4.5, fill: styleOf(group).colour, cx: figure.steps ? at : round(x(own)), cy: round(y(value)) }));
        }
      }
      const beside = weaker.find((one) => one.group === group);
      const other = beside ? pointOf(grids[beside.x], beside.y, stop, false) : null;
      const besides = other === null ? "" : `${figure.beside === "dotted" ? "by chance" : "while training"} ${shown(beside.y[other], figure.percent)}`;
      const mark = marks.find((one) => one.group === group);
      const applied = mark ? nearestIn(grids[mark.x], stop) : null;
      if (applied !== null && Math.abs(grids[mark.x][applied] - stop) <= near) {
        const there = grids[mark.x][applied];
        more.push(`intervention ${entry(mark.number, applied)}${there === stop ? "" : ` at ${trimmed(there)}`}`);
      }
      if (point === null && other === null) continue;
      rows.push([styleOf(group).colour, name(group), point === null ? "-" : shown(line.y[point], figure.percent), [...more, besides].filter(Boolean).join("; ")]);
    }
    // What is behind all points alike is said once.
    const alike = new Set(behind).size === 1 ? behind[0] : "";
    if (!alike) rows.filter((row) => row[2] !== "-").forEach((row, i) => { row[3] = [row[3], behind[i]].filter(Boolean).join("; "); });
    for (const level of [...levels, ...panel.references]) rows.push([null, level.name, shown(level.height, figure.percent), ""]);
    cursor.replaceChildren(svg("line", { class: "cursor", x1: at, x2: at, y1: area.top, y2: area.floor }), ...dots);
    const where = figure.x_title === "environment steps" ? `${trimmed(stop)} env steps` : `${figure.x_title.split(",")[0]} ${trimmed(stop)}`;
    showTip(tip, host, at, where, rows, alike);
    return `${where}. ${rows.map((row) => row.slice(1).join(" ")).join(". ")}. ${alike}`;
  };
  const clear = () => {
    tip.hidden = true;
    cursor.replaceChildren();
  };
  const nearest = (px) => (stops.length ? nearestIn(stops, x.low + ((px - area.left) / (area.right - area.left)) * (x.high - x.low)) : null);
  readable(root, id, `${figure.title}${panel.title ? `, ${panel.title}` : ""}: ${counted(lines.length, "line")} against ${figure.x_title}`, stops, nearest, read, clear);
}

/** The point of a line that is read at a stop: the nearest, or of steps the last before; null beyond its ends. */
function pointOf(xs, ys, stop, steps) {
  if (!xs.length) return null;
  let at = nearestIn(xs, stop);
  if (steps && xs[at] > stop && at > 0) at -= 1;
  const usual = xs.length > 1 ? (xs[xs.length - 1] - xs[0]) / (xs.length - 1) : Infinity;
  return Math.abs(xs[at] - stop) <= usual && ys[at] !== null ? at : null;
}

function interval(figure, line, point) {
  if (!line.low || line.low[point] === null || line.high[point] === null) return "";
  const size = Math.max(Math.abs(line.low[point]), Math.abs(line.high[point]));
  // What is nothing beside the other bound is the rounding of a mean.
  const [low, high] = [line.low[point], line.high[point]].map((value) => (Math.abs(value) < 1e-6 * size ? 0 : value));
  return `[${shown(low, figure.percent)}, ${shown(high, figure.percent)}]`;
}

/** How many seeds and episodes are behind a point. */
function evidence(figure, line, point) {
  const n = entry(line.n, point);
  const episodes = line.episodes === undefined ? null : entry(line.episodes, point);
  return [counted(n, figure.name === "profile" ? "run" : "seed"), episodes ? counted(episodes, "episode") : ""].filter(Boolean).join(", ");
}

// ------------------------------------------------------------------------------------------------------------- final

function drawFinal(host, task, figure, panel, height, id) {
  const rows = figure.rows.filter((row) => row.group === null || !isHidden(task, figure, row.group));
  const all = figure.rows.flatMap((row) => [row.value, row.low, row.high, ...row.runs]);
  const range = padded(all, 0.04);
  const box = el("div", { class: "final" });
  host.replaceChildren(box);
  const strips = rows.map((row) => {
    const colour = row.group === null ? DATA.reference_colour : styleOf(row.group).colour;
    const strip = el("div", { class: "final-strip" });
    box.append(
      el("div", { class: "final-name" }, el("span", { class: "dot", variables: { "background-color": colour } }), el("span", { text: row.label })),
      el("div", { class: "final-value", text: row.text }),
      strip);
    return [row, colour, strip];
  });
  const foot = el("div", { class: "final-axis" });
  box.append(foot);
  const width = foot.clientWidth;
  const x = scale(...range, 6, width - 6);
  const at = ticks(...range, Math.max(2, Math.floor(width / 90)));
  const tall = rows.length > 12 ? 24 : 32;
  strips.forEach(([row, colour, strip], place) => {
    const root = svg("svg", { viewBox: `0 0 ${width} ${tall}`, height: tall });
    for (const value of at) root.append(svg("line", { class: "grid", x1: round(x(value)), x2: round(x(value)), y1: 0, y2: tall }));
    if (row.low !== null) {
      root.append(svg("line", { x1: round(x(row.low)), x2: round(x(row.high)), y1: tall / 2, y2: tall / 2, stroke: colour, "stroke-width": 4, opacity: 0.5 }));
    }
    for (const value of row.runs) {
      root.append(svg("circle", { cx: round(x(value)), cy: tall / 2, r: 4.5, fill: "none", stroke: colour, "stroke-width": 1.3, opacity: 0.75 }));
    }
    root.append(svg("circle", { cx: round(x(row.value)), cy: tall / 2, r: 4.5, fill: colour }));
    const tip = el("div", { class: "tip", hidden: true });
    strip.append(root, tip);
    const read = () => {
      const runs = row.runs.length ? `runs: ${row.runs.map((value) => shown(value)).join(", ")}` : "";
      showTip(tip, strip, x(row.value), row.label, [[colour, "mean", row.text, runs]]);
      return `${row.label}: ${row.text}. ${runs}`;
    };
    readable(root, `${id}-${place}`, `${row.label}: ${row.text}`, ["all"], () => 0, read, () => { tip.hidden = true; });
  });
  const axis = svg("svg", { viewBox: `0 0 ${width} 36`, height: 36 });
  axis.append(svg("line", { class: "axis", x1: 0, x2: width, y1: 0.5, y2: 0.5 }));
  let free = -Infinity;
  for (const value of at) {
    const half = textWidth(short(value)) / 2;
    if (x(value) - half < free) continue;
    free = x(value) + half + 8;
    axis.append(svg("text", { x: round(x(value)), y: 15, "text-anchor": "middle", text: short(value) }));
  }
  axis.append(svg("text", { x: width, y: 31, "text-anchor": "end", text: figure.x_title }));
  foot.append(axis);
}

// ---------------------------------------------------------------------------------------------------------- settings

function drawSettings(host, task, figure, panel, height, id) {
  const width = host.clientWidth;
  const colour = DATA.styles[0].colour;
  const everything = figure.panels.flatMap((one) => [...one.means.flatMap((m) => [m.y, m.low, m.high]), ...one.seeds.map((s) => s[1])]);
  // One range for all panels, so that a setting that matters little looks so.
  const range = padded([...everything, ...figure.levels.map((one) => one.height)], 0.06);
  const yTicks = ticks(...range, 5).map((value) => [value, short(value)]);
  const left = Math.ceil(widestOf(yTicks.map(([, text]) => text))) + 12;
  const floor = height - 24;
  const area = { left, right: width - 10, top: 20, bottom: floor, floor };
  const places = panel.means.map((one) => one.place);
  const logarithmic = !panel.listed && panel.logarithmic;
  const wide = panel.listed ? [-0.4, Math.max(...places) + 0.4] : logarithmic ? paddedLog(places) : padded(places);
  const x = scale(...wide, area.left, area.right, logarithmic);
  const y = scale(...range, area.bottom, area.top);
  const xTicks = panel.listed
    ? panel.means.map((one) => [one.place, one.value])
    : (logarithmic ? logTicks(...wide) : ticks(...wide, 4)).map((value) => [value, tickText(value, false)]);
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, height });
  root.append(...axes(area, x, y, xTicks, yTicks, ""));
  root.append(svg("text", { x: 0, y: 10, text: figure.y_title }));
  for (const level of figure.levels) {
    const at = round(y(level.height));
    root.append(svg("line", { class: "level", x1: area.left, x2: area.right, y1: at, y2: at }));
  }
  for (const [place, value] of panel.seeds) {
    root.append(svg("circle", { cx: round(x(place)), cy: round(y(value)), r: 4, fill: "none", stroke: colour, opacity: 0.55, "stroke-width": 1.3 }));
  }
  for (const one of panel.means) {
    if (one.low === null) continue;
    root.append(svg("line", { x1: round(x(one.place)), x2: round(x(one.place)), y1: round(y(one.low)), y2: round(y(one.high)), stroke: colour, "stroke-width": 4, opacity: 0.5 }));
  }
  // Between drawn values there are other settings as well: a line would show their noise as a curve.
  if (panel.listed) root.append(svg("path", { class: "line panel-line", stroke: colour, d: path(places, panel.means.map((one) => one.y), x, y) }));
  for (const one of panel.means) root.append(svg("circle", { cx: round(x(one.place)), cy: round(y(one.y)), r: 4, fill: colour }));
  const cursor = svg("g", {});
  root.append(cursor);
  const tip = el("div", { class: "tip", hidden: true });
  host.replaceChildren(root, tip);
  const ordered = [...panel.means].sort((a, b) => a.place - b.place);
  const stops = ordered.map((one) => one.place);
  const read = (stop) => {
    const one = ordered.find((mean) => mean.place === stop);
    const at = round(x(stop));
    cursor.replaceChildren(svg("line", { class: "cursor", x1: at, x2: at, y1: area.top, y2: area.floor }));
    const interval = one.low === null ? "" : `[${shown(one.low)}, ${shown(one.high)}] `;
    const seeds = panel.seeds.filter(([place]) => place === stop).map(([, value]) => shown(value));
    const rows = [[colour, "mean", shown(one.y), `${interval}over ${counted(one.points, "point")}`], [null, "by seed", seeds.join(", "), ""],
      ...figure.levels.map((level) => [null, level.name, shown(level.height), ""])];
    const head = `${panel.title.split(".").pop()} ${one.value}`;
    showTip(tip, host, at, head, rows);
    return `${head}. ${rows.map((row) => row.slice(1).join(" ")).join(". ")}`;
  };
  const nearest = (px) => {
    const distances = stops.map((stop) => Math.abs(x(stop) - px));
    return distances.indexOf(Math.min(...distances));
  };
  readable(root, id, `${figure.title}, ${panel.title}`, stops, nearest, read, () => {
    tip.hidden = true;
    cursor.replaceChildren();
  });
}

// --------------------------------------------------------------------------------------------------------------- map

function drawMap(host, task, figure, panel, height, id) {
  const width = host.clientWidth;
  const [rows, columns] = [figure.row_names, figure.column_names];
  const left = Math.ceil(widestOf(rows)) + 14;
  const cell = Math.max(34, Math.min(58, (height - 56) / rows.length));
  const area = { left, right: width - 2, top: 18, bottom: 18 + cell * rows.length };
  const across = (area.right - area.left) / columns.length;
  const tall = area.bottom + 38;
  const [low, high] = figure.range;
  const root = svg("svg", { viewBox: `0 0 ${width} ${tall}`, height: tall });
  for (const [row, column, value] of panel.cells) {
    const share = high > low ? (value - low) / (high - low) : 0.5;
    root.append(
      svg("rect", { x: round(area.left + column * across), y: round(area.top + row * cell), width: round(across - 1.5), height: round(cell - 1.5), fill: heat(share) }),
      svg("text", { class: "cell-text", x: round(area.left + (column + 0.5) * across), y: round(area.top + (row + 0.5) * cell), text: Number(value.toPrecision(3)),
        "data-ink": share < 0.5 ? "light" : "dark" }));
  }
  for (const text of root.querySelectorAll("[data-ink]")) text.style.fill = text.dataset.ink === "light" ? "#fff" : "#111";
  rows.forEach((name, row) => root.append(svg("text", { x: area.left - 7, y: area.top + (row + 0.5) * cell + 4, "text-anchor": "end", text: name })));
  columns.forEach((name, column) => root.append(svg("text", { x: area.left + (column + 0.5) * across, y: area.bottom + 15, "text-anchor": "middle", text: name })));
  root.append(svg("text", { x: 0, y: 10, text: figure.y_title }), svg("text", { x: area.right, y: area.bottom + 31, "text-anchor": "end", text: figure.x_title }));
  const cursor = svg("g", {});
  root.append(cursor);
  const tip = el("div", { class: "tip", hidden: true });
  host.replaceChildren(root, tip);
  const stops = panel.cells.map(([row, column]) => [row, column]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const read = (stop) => {
    const [row, column, value, runs] = panel.cells.find((one) => one[0] === stop[0] && one[1] === stop[1]);
    cursor.replaceChildren(svg("rect", { class: "frame", x: round(area.left + column * across), y: round(area.top + row * cell), width: round(across - 1.5), height: round(cell - 1.5) }));
    const head = `${figure.y_title} ${rows[row]}, ${figure.x_title} ${columns[column]}${panel.title ? `, ${panel.title}` : ""}`;
    showTip(tip, host, area.left + (column + 0.5) * across, head, [[null, "mean return", shown(value), counted(runs, "run")]]);
    return `${head}: mean return ${shown(value)}, ${counted(runs, "run")}`;
  };
  const nearest = (px, py) => {
    const [row, column] = [Math.floor((py - area.top) / cell), Math.floor((px - area.left) / across)];
    const found = stops.findIndex((stop) => stop[0] === row && stop[1] === column);
    return found < 0 ? null : found;
  };
  readable(root, id, `${figure.title}${panel.title ? `, ${panel.title}` : ""}`, stops, nearest, read, () => {
    tip.hidden = true;
    cursor.replaceChildren();
  });
}

// ------------------------------------------------------------------------------------------------------------ layers

function drawLayers(host, task, figure, panel, height, id) {
  const grids = DATA.grids;
  const width = host.clientWidth;
  const names = figure.row_names;
  const lane = panel.marks.length ? 10 : 0;
  const left = Math.min(Math.ceil(widestOf(names)) + 12, Math.round(width * 0.42));
  const tall = Math.max(14, Math.min(26, 220 / names.length));
  const top = 4 + lane;
  const bottom = top + tall * names.length;
  const area = { left, right: width - 10, top, bottom, floor: bottom };
  const last = Math.max(...figure.panels.flatMap((one) => one.rows.map((row) => grids[row.edges][grids[row.edges].length - 1])), 1);
  const x = scale(0, last, area.left, area.right);
  const full = bottom + 36;
  const canvas = el("canvas", { "aria-hidden": "true" });
  const sharp = Math.min(3, window.devicePixelRatio || 1);
  [canvas.width, canvas.height] = [Math.max(1, Math.round((area.right - area.left) * sharp)), Math.max(1, Math.round((bottom - top) * sharp))];
  Object.assign(canvas.style, { left: `${area.left}px`, top: `${top}px`, width: `${area.right - area.left}px`, height: `${bottom - top}px` });
  const paint = canvas.getContext("2d");
  for (const row of panel.rows) {
    const edges = grids[row.edges].map((value) => (x(value) - area.left) * sharp);
    row.y.forEach((value, i) => {
      if (value === null) return;
      paint.fillStyle = heat(value);
      const from = Math.floor(edges[i]);
      paint.fillRect(from, Math.round(row.row * tall * sharp), Math.max(1, Math.ceil(edges[i + 1]) - from), Math.round((tall - 1) * sharp));
    });
  }
  const root = svg("svg", { viewBox: `0 0 ${width} ${full}`, height: full });
  names.forEach((name, row) => root.append(fitted(name, left - 10, { x: area.left - 7, y: round(top + (row + 0.5) * tall + 4), "text-anchor": "end" })));
  const xTicks = ticks(0, last, Math.max(2, Math.floor((area.right - area.left) / 80))).map((value) => [value, short(value)]);
  for (const [value, text] of xTicks) {
    const at = round(x(value));
    root.append(svg("line", { class: "axis", x1: at, x2: at, y1: bottom, y2: bottom + 4 }), svg("text", { x: at, y: bottom + 16, "text-anchor": "middle", text }));
  }
  root.append(svg("text", { x: area.right, y: bottom + 31, "text-anchor": "end", text: figure.x_title }));
  for (const mark of panel.marks) {
    for (const at of grids[mark.x]) {
      root.append(svg("line", { class: "mark", stroke: styleOf(mark.group).colour, x1: round(x(at)), x2: round(x(at)), y1: 3, y2: 11 }));
    }
  }
  const cursor = svg("g", {});
  root.append(cursor);
  const tip = el("div", { class: "tip", hidden: true });
  host.replaceChildren(canvas, root, tip);
  const stops = [...new Set(panel.rows.flatMap((row) => grids[row.x]))].sort((a, b) => a - b);
  const read = (stop) => {
    const at = round(x(stop));
    cursor.replaceChildren(svg("line", { class: "cursor", x1: at, x2: at, y1: top, y2: bottom }));
    const rows = panel.rows
      .map((row) => [row, pointOf(grids[row.x], row.y, stop, false)])
      .filter(([, point]) => point !== null)
      .map(([row, point]) => [heat(row.y[point]), names[row.row], shown(row.y[point], true), counted(entry(row.n, point), "seed")]);
    const head = `${trimmed(stop)} env steps`;
    showTip(tip, host, at, head, rows);
    return `${head}. ${rows.map((row) => row.slice(1).join(" ")).join(". ")}`;
  };
  const nearest = (px) => (stops.length ? nearestIn(stops, ((px - area.left) / (area.right - area.left)) * last) : null);
  readable(root, id, `${figure.title}, ${panel.title}: ${counted(panel.rows.length, "layer")} against ${figure.x_title}`, stops, nearest, read, () => {
    tip.hidden = true;
    cursor.replaceChildren();
  });
}

const DRAWERS = { curves: drawCurves, final: drawFinal, settings: drawSettings, map: drawMap, layers: drawLayers };
