// What all charts are made of: elements, numbers as text, scales, axes, and the box that reads values.

const SVG = "http://www.w3.org/2000/svg";

/** An element. All text goes in as text: nothing of the data is ever read as HTML. */
function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key === "variables") for (const [name, v] of Object.entries(value)) node.style.setProperty(name, v);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child) node.append(child);
  return node;
}

// ---------------------------------------------------------------------------------------------------------- numbers

/** Four significant digits; whole numbers whole. */
function shown(value, percent = false) {
  if (value === null || value === undefined) return "-";
  if (percent) return `${trimmed(100 * value)} %`;
  return trimmed(value);
}

function trimmed(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e9 || size < 1e-4) return value.toExponential(2);
  if (Number.isInteger(value) || size >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(4)));
}

/** 20k and 1.5M, as the figures of the report have it. */
function short(value) {
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (size >= unit) return `${Number((value / unit).toPrecision(4))}${letter}`;
  }
  return String(Number(value.toPrecision(4)));
}

function tickText(value, percent) {
  if (percent) return `${Number((100 * value).toPrecision(4))} %`;
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(0);
  return short(value);
}

const entry = (listOrOne, at) => (Array.isArray(listOrOne) ? listOrOne[at] : listOrOne);
const counted = (n, noun) => `${n.toLocaleString("en-US")} ${noun}${n === 1 ? "" : "s"}`;

// ----------------------------------------------------------------------------------------------------------- scales

function scale(low, high, from, to, logarithmic = false) {
  const place = logarithmic ? Math.log10 : (v) => v;
  const [a, b] = [place(low), place(high)];
  const of = (value) => (b === a ? (from + to) / 2 : from + ((place(value) - a) / (b - a)) * (to - from));
  return Object.assign(of, { low, high, logarithmic });
}

/** Round numbers within low..high, about as many as asked for. */
function ticks(low, high, about) {
  if (!(high > low)) return [low];
  const rough = (high - low) / Math.max(1, about);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found.length < 3 && about < 12 ? ticks(low, high, about + 1) : found;
}

function logTicks(low, high) {
  const powers = [];
  for (let p = Math.ceil(Math.log10(low) - 1e-9); p <= Math.log10(high) + 1e-9; p += 1) powers.push(Number(`1e${p}`));
  if (powers.length >= 2) {
    const every = Math.ceil(powers.length / 6);
    return powers.filter((_, at) => at % every === 0);
  }
  return ticks(low, high, 4).filter((value) => value > 0);
}

/** The range of values with a little room, and of one value alone with some. */
function padded(values, room = 0.05) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value === null || value === undefined) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const margin = (high - low) * room || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}

function paddedLog(values) {
  const positive = values.filter((value) => value > 0);
  const [low, high] = padded(positive.map(Math.log10), 0.04);
  return [10 ** low, 10 ** high];
}

/** A colour of the map of colours for a share of its range. */
function heat(share) {
  const stops = DATA.heat_colours;
  const at = Math.min(Math.max(share, 0), 1) * (stops.length - 1);
  const before = Math.min(Math.floor(at), stops.length - 2);
  const mixed = [1, 3, 5].map((i) => {
    const [a, b] = [stops[before], stops[before + 1]].map((stop) => parseInt(stop.slice(i, i + 2), 16));
    return Math.round(a + (b - a) * (at - before));
  });
  return `rgb(${mixed.join(",")})`;
}

// ------------------------------------------------------------------------------------------------------ lines, marks

const MARKERS = {
  o: "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0 -6.8 0Z",
  s: "M-3 -3H3V3H-3Z",
  "^": "M0 -3.8L3.7 2.8H-3.7Z",
  D: "M0 -4L4 0L0 4L-4 0Z",
  v: "M0 3.8L3.7 -2.8H-3.7Z",
  P: "M-1.4 -3.8H1.4V-1.4H3.8V1.4H1.4V3.8H-1.4V1.4H-3.8V-1.4H-1.4Z",
};

const styleOf = (group) => DATA.styles[group] || { colour: DATA.reference_colour, dashes: [], marker: "o" };

function marker(group, x, y) {
  const style = styleOf(group);
  return svg("path", { d: MARKERS[style.marker], fill: style.colour, transform: `translate(${round(x)} ${round(y)})` });
}

const round = (value) => Math.round(value * 10) / 10;
const dashed = (style) => (style.dashes.length ? style.dashes.map((d) => 2 * d).join(" ") : null);

/** The path through points, broken where a value is missing; of steps each value holds up to the next point. */
function path(xs, ys, x, y, steps = false) {
  let d = "";
  let open = false;
  for (let i = 0; i < xs.length; i += 1) {
    if (ys[i] === null || (y.logarithmic && ys[i] <= 0)) {
      open = false;
      continue;
    }
    const [px, py] = [round(x(xs[i])), round(y(ys[i]))];
    d += open ? (steps ? `H${px}V${py}` : `L${px} ${py}`) : `M${px} ${py}`;
    open = true;
  }
  return d;
}

function band(xs, low, high, x, y, steps = false) {
  let d = "";
  for (let i = 0; i < xs.length; ) {
    if (low[i] === null || high[i] === null || (y.logarithmic && low[i] <= 0)) {
      i += 1;
      continue;
    }
    let end = i;
    const known = (k) => k < xs.length && low[k] !== null && high[k] !== null && !(y.logarithmic && low[k] <= 0);
    while (known(end + 1)) end += 1;
    const above = [];
    const below = [];
    for (let k = i; k <= end; k += 1) {
      const px = round(x(xs[k]));
      const [py, qy] = [round(y(high[k])), round(y(low[k]))];
      if (steps && k > i) {
        above.push(`${px} ${round(y(high[k - 1]))}`);
        below.push(`${px} ${round(y(low[k - 1]))}`);
      }
      above.push(`${px} ${py}`);
      below.push(`${px} ${qy}`);
    }
    d += `M${above.join("L")}L${below.reverse().join("L")}Z`;
    i = end + 1;
  }
  return d;
}

// ------------------------------------------------------------------------------------------------------------- axes

function textWidth(text) {
  textWidth.context ||= document.createElement("canvas").getContext("2d");
  textWidth.context.font = `11px ${getComputedStyle(document.documentElement).getPropertyValue("--sans")}`;
  return textWidth.context.measureText(text).width;
}

/** The text cut in its middle to what fits, whole in the title that a browser shows. */
function fitted(text, room, attributes) {
  let cut = text;
  for (let keep = text.length - 1; keep > 4 && textWidth(cut) > room; keep -= 1) {
    cut = `${text.slice(0, Math.ceil(keep / 2))}…${text.slice(text.length - Math.floor(keep / 2))}`;
  }
  return svg("text", { ...attributes, text: cut }, cut === text ? null : svg("title", { text }));
}

/** Grid, ticks and titles of a plot area. `xTicks` and `yTicks`: [value, text]. */
function axes(area, x, y, xTicks, yTicks, xTitle) {
  const parts = [];
  for (const [value, text] of yTicks) {
    const at = round(y(value));
    parts.push(svg("line", { class: "grid", x1: area.left, x2: area.right, y1: at, y2: at }));
    parts.push(svg("text", { x: area.left - 7, y: at + 4, "text-anchor": "end", text }));
  }
  let free = -Infinity;
  for (const [value, text] of xTicks) {
    const at = round(x(value));
    const half = textWidth(text) / 2;
    if (at - half < free) continue;
    free = at + half + 8;
    parts.push(svg("line", { class: "grid", x1: at, x2: at, y1: area.top, y2: area.bottom }));
    parts.push(svg("text", { x: at, y: area.floor + 16, "text-anchor": "middle", text }));
  }
  parts.push(svg("line", { class: "axis", x1: area.left, x2: area.right, y1: area.floor, y2: area.floor }));
  parts.push(svg("line", { class: "axis", x1: area.left, x2: area.left, y1: area.top, y2: area.floor }));
  if (xTitle) {
    parts.push(svg("text", { x: area.right, y: area.floor + 31, "text-anchor": "end", text: xTitle }));
  }
  return parts;
}

const widestOf = (texts) => Math.max(0, ...texts.map(textWidth));

// ----------------------------------------------------------------------------------------------------------- reading

/** The box beside the cursor, under the chart where neither side has room. `rows`: [colour or null, name, value, more]. */
function showTip(tip, host, atX, head, rows, alike = "") {
  tip.replaceChildren(el("div", { class: "tip-head", text: head }, alike ? el("span", { class: "tip-more", text: `, ${alike}${rows.length > 1 ? " each" : ""}` }) : null));
  for (const [colour, name, value, more] of rows) {
    tip.append(
      el("div", { class: "tip-row" },
        el("span", { class: "dot", variables: { "background-color": colour || "transparent" } }),
        el("div", {},
          el("div", { class: "tip-name", text: name }),
          el("div", {}, el("span", { class: "tip-value", text: value }), more ? el("span", { class: "tip-more", text: ` ${more}` }) : null))));
  }
  tip.hidden = false;
  tip.style.left = "0";
  const width = tip.offsetWidth;
  const room = host.clientWidth;
  const beside = atX + 14 + width <= room ? atX + 14 : atX - 14 - width;
  const fits = beside >= 0;
  tip.style.left = `${Math.round(fits ? beside : Math.max(0, Math.min(room - width, atX - width / 2)))}px`;
  tip.style.top = fits ? "0" : `${host.clientHeight + 4}px`;
}

/** A chart that can be read by pointer, touch and keys. `stops`: places along it; `read(stop)` shows one, `clear()` none. */
function readable(root, id, label, stops, nearest, read, clear) {
  const set = (at, aloud) => {
    if (at === null || !stops.length) {
      STATE.cursors.delete(id);
      clear();
      return;
    }
    STATE.cursors.set(id, stops[at]);
    const words = read(stops[at]);
    if (aloud) document.getElementById("announce").textContent = words;
  };
  const now = () => {
    const stop = STATE.cursors.get(id);
    const at = stops.findIndex((one) => sameStop(one, stop));
    return at < 0 ? null : at;
  };
  root.setAttribute("tabindex", "0");
  root.setAttribute("role", "img");
  root.setAttribute("aria-label", `${label}. Left and right arrow keys read its values.`);
  root.id = id;
  root.addEventListener("pointermove", (event) => {
    const box = root.getBoundingClientRect();
    set(nearest(event.clientX - box.left, event.clientY - box.top), false);
  });
  root.addEventListener("pointerdown", (event) => {
    const box = root.getBoundingClientRect();
    set(nearest(event.clientX - box.left, event.clientY - box.top), false);
  });
  root.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse" && !STATE.drawing) set(null, false);
  });
  root.addEventListener("keydown", (event) => {
    const last = stops.length - 1;
    const at = now();
    const far = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowRight: () => (at === null ? 0 : Math.min(last, at + far)),
      ArrowLeft: () => (at === null ? last : Math.max(0, at - far)),
      Home: () => 0,
      End: () => last,
      Escape: () => null,
    };
    if (!(event.key in moves) || !stops.length) return;
    event.preventDefault();
    set(moves[event.key](), true);
  });
  root.addEventListener("blur", () => {
    if (!STATE.drawing) set(null, false);
  });
  const kept = now();
  if (kept !== null) read(stops[kept]);
}

const sameStop = (a, b) => a !== undefined && b !== undefined && JSON.stringify(a) === JSON.stringify(b);

/** The place in a rising list that is nearest to a value. */
function nearestIn(list, value) {
  let low = 0;
  let high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] <= value) low = middle;
    else high = middle;
  }
  return high >= 0 && Math.abs(list[high] - value) < Math.abs(list[low] - value) ? high : low;
}
