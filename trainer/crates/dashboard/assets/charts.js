// SPDX-License-Identifier: Apache-2.0
// Charts in SVG: lines, bars, histograms, and gauges, each with a table of the same figures.
//
// No library: the pages are served as they are written, without a build step, and need four simple
// forms. A library would be many times the size of everything else here.

import { el, replace, svg, unique } from "./dom.js";
import { count } from "./format.js";
import { localTable } from "./table.js";

const HEIGHT = 240;
const MARGIN = { top: 12, right: 30, bottom: 38, left: 54 };
/** Number of distinguishable series. The colours are in the style sheet, as are the dashes. */
const SERIES = 6;

/** Returns at most `about` round numbers across a range, with steps of `least` or more. */
export function ticks(low, high, about = 5, least = 0) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const power = Math.max(least, 10 ** Math.floor(Math.log10(span / about)));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= about);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + step * 1e-9; n += 1) found.push(n * step);
  return found;
}

/** Returns the ticks of a horizontal axis, `about` of them, with their texts. */
function ticksAcross({ format, least }, [low, high], about) {
  const values = ticks(low, high, Math.max(2, Math.floor(about)), least);
  return values.map((value) => ({ value, text: (format ?? plain)(value) }));
}

/** Returns the least and the greatest of each of as many groups, so that no peak is lost. */
export function thin(points, groups) {
  if (points.length <= groups * 2) return points;
  const kept = [];
  for (let group = 0; group < groups; group += 1) {
    const from = Math.floor((group * points.length) / groups);
    const part = points.slice(from, Math.floor(((group + 1) * points.length) / groups));
    let [low, high] = [part[0], part[0]];
    for (const point of part) {
      if (point[1] < low[1]) low = point;
      if (point[1] > high[1]) high = point;
    }
    kept.push(...(low[0] <= high[0] ? [low, high] : [high, low]));
  }
  return kept;
}

function bounds(values, fromZero) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (fromZero) low = Math.min(0, low);
  if (low === high) high = low + (Math.abs(low) || 1);
  return [low, high];
}

const plain = (value) => {
  const size = Math.abs(value);
  if (size >= 10_000) return count(value);
  return String(Number(value.toPrecision(size >= 100 ? 5 : 4)));
};

/** Returns a chart that is drawn anew when its width changes, with its figures as a table. */
function figure({ title, description, draw, tabled, legend = null }) {
  const box = el("div", { class: "plot" });
  let width = 0;
  const render = () => {
    width = box.clientWidth;
    if (width > 0) replace(box, draw(Math.max(width, 240)));
  };
  new ResizeObserver(() => box.clientWidth !== width && render()).observe(box);
  const details = el("details", { class: "figures" }, el("summary", {}, "Figures as a table"));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(tabled());
  });
  const heading = el("figcaption", {}, title);
  return el("figure", { class: "chart" }, heading, legend, box, details, hidden(description));
}

const hidden = (text) => el("p", { class: "visually-hidden" }, text);

/** Returns the frame of a plot with axes, grid, units, title and description. */
function frame({ title, description, width, x, y, xTicks, yTicks }) {
  const [name, about] = [unique("chart"), unique("chart")];
  const root = svg(
    "svg",
    { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img" },
    svg("title", { id: name }, title),
    svg("desc", { id: about }, description),
  );
  root.setAttribute("aria-labelledby", `${name} ${about}`);
  const right = width - MARGIN.right;
  const bottom = HEIGHT - MARGIN.bottom;
  for (const tick of yTicks) {
    const at = y.place(tick);
    root.append(
      svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: at, y2: at }),
      svg(
        "text",
        { class: "tick", x: MARGIN.left - 8, y: at + 4, "text-anchor": "end" },
        (y.format ?? plain)(tick),
      ),
    );
  }
  for (const tick of xTicks) {
    root.append(
      svg(
        "text",
        { class: "tick", x: x.place(tick.value), y: bottom + 17, "text-anchor": "middle" },
        tick.text,
      ),
    );
  }
  root.append(
    svg("line", { class: "axis", x1: MARGIN.left, x2: right, y1: bottom, y2: bottom }),
    svg("text", { class: "unit", x: right, y: HEIGHT - 4, "text-anchor": "end" }, x.label),
    svg("text", { class: "unit", x: 2, y: HEIGHT - 4 }, y.label),
  );
  return root;
}

const scale = (low, high, from, to) => (value) =>
  from + ((value - low) / (high - low || 1)) * (to - from);

const placed = (value) => Math.round(value * 10) / 10;

function legendOf(series) {
  if (series.length < 2) return null;
  const entry = ({ name }, number) =>
    el(
      "li",
      {},
      svg(
        "svg",
        { width: 22, height: 10, "aria-hidden": "true" },
        svg("line", { class: `line s${number % SERIES}`, x1: 0, x2: 22, y1: 5, y2: 5 }),
      ),
      name,
    );
  return el("ul", { class: "legend" }, series.map(entry));
}

/**
 * Returns a chart of lines. A series has a `name` and `points` of `[x, y]`, sorted by x. With the
 * arrow keys, or with a pointer, the values at a point are read.
 */
export function lineChart({ title, description, series, x, y, fromZero = false }) {
  const shown = series.filter(({ points }) => points.length > 0);
  if (shown.length === 0) return el("p", { class: "empty" }, `${title}: no figures yet.`);
  const all = shown.flatMap(({ points }) => points);
  const [left, right] = bounds(
    all.map(([value]) => value),
    false,
  );
  const [low, high] = bounds(
    all.map(([, value]) => value),
    fromZero,
  );
  const readout = el("output", { class: "readout", "aria-live": "polite" });
  const draw = (width) => {
    const place = {
      x: scale(left, right, MARGIN.left, width - MARGIN.right),
      y: scale(low, high, HEIGHT - MARGIN.bottom, MARGIN.top),
    };
    const root = frame({
      title,
      description,
      width,
      x: { ...x, place: place.x },
      y: { ...y, place: place.y },
      xTicks: ticksAcross(x, [left, right], width / 110),
      yTicks: ticks(low, high, 5, y.least),
    });
    shown.forEach(({ points }, number) => {
      const line = thin(points, Math.floor(width / 2)).map(
        ([at, value]) => `${placed(place.x(at))},${placed(place.y(value))}`,
      );
      root.append(svg("polyline", { class: `line s${number % SERIES}`, points: line.join(" ") }));
      if (points.length === 1) {
        const [at, value] = points[0];
        root.append(
          svg("circle", {
            class: `dot s${number % SERIES}`,
            r: 4,
            cx: place.x(at),
            cy: place.y(value),
          }),
        );
      }
    });
    follow(root, shown, place, readout, { x, y });
    return root;
  };
  const tabled = () =>
    localTable({
      caption: title,
      columns: [
        {
          title: x.label,
          cell: ([at]) => (x.format ?? plain)(at),
          number: true,
        },
        ...shown.map(({ name, points }) => {
          const values = new Map(points);
          const cell = ([at]) => (values.has(at) ? plain(values.get(at)) : "–");
          return { title: `${name} (${y.label})`, cell, number: true };
        }),
      ],
      rows: [...new Set(all.map(([at]) => at))].sort((a, b) => b - a).map((at) => [at]),
    });
  const chart = figure({ title, description, draw, tabled, legend: legendOf(shown) });
  chart.querySelector(".plot").after(readout);
  return chart;
}

/** Lets a pointer and the arrow keys read a chart of lines. */
function follow(root, series, place, readout, { x, y }) {
  const points = series[0].points;
  const cursor = svg("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom });
  cursor.style.visibility = "hidden";
  root.append(cursor);
  root.setAttribute("tabindex", "0");
  let index = points.length - 1;
  const show = (next) => {
    index = Math.min(Math.max(next, 0), points.length - 1);
    const [at] = points[index];
    cursor.setAttribute("x1", place.x(at));
    cursor.setAttribute("x2", place.x(at));
    cursor.style.visibility = "visible";
    const values = series.map(({ name, points: own }) => {
      const found = own.find(([value]) => value === at);
      return found ? `${name} ${plain(found[1])} ${y.label}` : null;
    });
    const read = values.filter(Boolean).join(" · ");
    readout.textContent = `${x.label} ${(x.format ?? plain)(at)}: ${read}`;
  };
  root.addEventListener("pointermove", ({ offsetX }) => {
    let [low, high] = [0, points.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (place.x(points[middle][0]) < offsetX) low = middle + 1;
      else high = middle;
    }
    const isLeft =
      low > 0 && offsetX - place.x(points[low - 1][0]) < place.x(points[low][0]) - offsetX;
    show(isLeft ? low - 1 : low);
  });
  root.addEventListener("keydown", (event) => {
    const far = Math.max(1, Math.round(points.length / 20));
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      PageUp: -far,
      PageDown: far,
      Home: -points.length,
      End: points.length,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(index + steps[event.key]);
  });
  root.addEventListener("focus", () => show(index));
}

/**
 * Returns horizontal bars. An item has a `label`, a `value`, the `text` of the value, and maybe a
 * `kind` for its colour. A `shown` element may stand for the label. The longest bar has the
 * greatest value, or `most`.
 */
export function barChart({ title, description, items, unit, labels, most = null }) {
  if (items.length === 0) return el("p", { class: "empty" }, `${title}: no figures yet.`);
  const high =
    most ??
    bounds(
      items.map(({ value }) => value),
      true,
    )[1];
  const row = ({ label, shown, value, text, kind = 0 }) =>
    el(
      "li",
      {},
      el("span", { class: "label" }, shown ?? label),
      svg(
        "svg",
        {
          class: "bar",
          viewBox: "0 0 100 10",
          preserveAspectRatio: "none",
          "aria-hidden": "true",
        },
        svg("rect", { class: "track", width: 100, height: 10 }),
        svg("rect", {
          class: `fill s${kind % SERIES}`,
          height: 10,
          width: placed(Math.max(0, (100 * value) / high)),
        }),
      ),
      el("span", { class: "value" }, text ?? `${plain(value)} ${unit}`),
    );
  const tabled = () =>
    localTable({
      caption: title,
      columns: [
        { title: labels, cell: ({ label }) => label },
        { title: unit, cell: ({ value, text }) => text ?? plain(value), number: true },
      ],
      rows: items,
    });
  const details = el("details", { class: "figures" }, el("summary", {}, "Figures as a table"));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(tabled());
  });
  const list = el("ul", { class: "bars", "aria-label": title }, items.map(row));
  return el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, title),
    list,
    details,
    hidden(description),
  );
}

/** Returns a histogram. A bin has its bounds `from` and `to`, and a `value`. */
export function histogram({ title, description, bins, x, y }) {
  if (bins.length === 0) return el("p", { class: "empty" }, `${title}: no figures yet.`);
  const [, high] = bounds(
    bins.map(({ value }) => value),
    true,
  );
  const draw = (width) => {
    const [first, last] = [bins[0].from, bins.at(-1).to];
    const place = {
      x: scale(first, last, MARGIN.left, width - MARGIN.right),
      y: scale(0, high, HEIGHT - MARGIN.bottom, MARGIN.top),
    };
    const root = frame({
      title,
      description,
      width,
      x: { ...x, place: place.x },
      y: { ...y, place: place.y },
      xTicks: ticksAcross(x, [first, last], width / 80),
      yTicks: ticks(0, high, 5, y.least),
    });
    for (const { from, to, value } of bins) {
      const [start, end, top] = [place.x(from), place.x(to), place.y(value)];
      const label = `${(x.format ?? plain)(from)} to ${(x.format ?? plain)(to)}: ${plain(value)}`;
      root.append(
        svg(
          "rect",
          {
            class: "fill s0",
            x: start + 1,
            y: top,
            width: Math.max(1, end - start - 2),
            height: HEIGHT - MARGIN.bottom - top,
            rx: 2,
          },
          svg("title", {}, label),
        ),
      );
    }
    return root;
  };
  const tabled = () =>
    localTable({
      caption: title,
      columns: [
        {
          title: x.label,
          number: true,
          cell: ({ from, to }) => `${(x.format ?? plain)(from)} to ${(x.format ?? plain)(to)}`,
        },
        { title: y.label, cell: ({ value }) => plain(value), number: true },
      ],
      rows: bins,
    });
  return figure({ title, description, draw, tabled });
}

/** Returns a gauge of a value between 0 and 1, or an empty one for a value that is not known. */
export function gauge({ title, value, text, help = null }) {
  const [radius, start] = [40, Math.PI * 0.75];
  const point = (share) => {
    const angle = start + share * Math.PI * 1.5;
    return `${placed(50 + radius * Math.cos(angle))} ${placed(50 + radius * Math.sin(angle))}`;
  };
  const arc = (share) =>
    `M ${point(0)} A ${radius} ${radius} 0 ${share > 2 / 3 ? 1 : 0} 1 ${point(share)}`;
  const isKnown = typeof value === "number";
  const share = isKnown ? Math.min(Math.max(value, 0), 1) : 0;
  const about = isKnown ? text : "not measured";
  const root = svg(
    "svg",
    { viewBox: "0 0 100 92", role: "img", class: "gauge" },
    svg("title", {}, `${title}: ${about}`),
    svg("path", { class: "track", d: arc(1) }),
    share > 0.002 ? svg("path", { class: "arc", d: arc(share) }) : null,
    svg("text", { class: "figure", x: 50, y: 57, "text-anchor": "middle" }, isKnown ? text : "–"),
  );
  return el(
    "div",
    { class: "dial" },
    root,
    el("p", { class: "dial-name" }, title),
    help ? el("p", { class: "muted small" }, help) : null,
  );
}
