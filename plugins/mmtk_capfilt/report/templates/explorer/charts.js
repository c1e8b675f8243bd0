// Histograms of a score, one per source: kept texts upwards, dropped ones downwards. Each bar is a link to its texts.

const CHART = { width: 360, half: 64, middle: 18 };
const FATES = ["kept", "dropped"];

class Charts {
  constructor(store, address) {
    this.store = store;
    this.address = address;
    this.element = make("div", { class: "x-charts" });
    this.charts = [];
    for (const score of store.scores) {
      for (const [code, source] of store.texts.source.names.entries()) {
        const totals = this.binned(score, code, null);
        if (totals.kept.some(Boolean) || totals.dropped.some(Boolean)) this.add(score, code, source, totals);
      }
    }
  }

  // Numbers by fate and bin of the texts of a source; `found` narrows them down.
  binned(score, source, found) {
    const { store } = this;
    const totals = Object.fromEntries(FATES.map((fate) => [fate, new Array(score.edges.length - 1).fill(0)]));
    const { names, codes } = store.texts.decision;
    store.texts.source.codes.forEach((code, text) => {
      const value = score.values[text];
      const bins = totals[names[codes[text]]];
      if (code !== source || value === null || !bins || (found && !found[text])) return;
      bins[binOf(score.edges, value)] += 1;
    });
    return totals;
  }

  add(score, code, source, totals) {
    const highest = Math.max(...totals.kept, ...totals.dropped);
    const bins = score.edges.length - 1;
    const parts = [];
    const label = `${score.label}, ${source} texts`;
    const svg = draw("svg", {
      class: `x-chart ${sourceClass(source)}`, viewBox: `0 0 ${CHART.width} ${2 * CHART.half + CHART.middle + 4}`,
      role: "group", "aria-label": `${label}: histogram, kept above, dropped below. Arrow keys move between bars.`,
    });
    for (const fate of FATES) {
      for (let bin = 0; bin < bins; bin += 1) {
        const total = totals[fate][bin];
        if (!total) continue;
        const bar = draw("rect", this.box(fate, bin, bins, total / highest));
        const rest = draw("rect", { ...this.box(fate, bin, bins, total / highest), class: "x-all" });
        bar.classList.add("x-found", fate);
        const [low, high] = [score.edges[bin], score.edges[bin + 1]];
        const title = draw("title");
        const link = draw("a", { class: "x-bin", tabindex: parts.length ? -1 : 0 }, title,
          draw("rect", { ...this.box(fate, bin, bins, 1), class: "x-target" }), rest, bar);
        parts.push({ link, bar, title, fate, bin, total, low, high });
        svg.append(link);
      }
    }
    svg.append(...this.axis(score, source));
    svg.addEventListener("keydown", (event) => moveAmong(event, parts.map((part) => part.link)));
    this.charts.push({ score, code, source, parts, highest });
    const sum = totals.kept.reduce((a, b) => a + b, 0) + totals.dropped.reduce((a, b) => a + b, 0);
    this.element.append(make("figure", {}, make("figcaption", {}, label, " ",
      make("span", { class: "note" }, `(${count(sum)})`)), svg));
  }

  box(fate, bin, bins, share) {
    const width = CHART.width / bins;
    const height = share ? Math.max(1.5, share * CHART.half) : 0;
    const y = fate === "kept" ? 2 + CHART.half - height : 2 + CHART.half + CHART.middle;
    return { x: (bin * width + 0.75).toFixed(2), y: y.toFixed(2), width: (width - 1.5).toFixed(2), height: height.toFixed(2) };
  }

  axis(score, source) {
    const { edges } = score;
    const [low, high] = [edges[0], edges[edges.length - 1]];
    const y = 2 + CHART.half + CHART.middle - 5;
    const ends = [[low, 0, "start"], [(low + high) / 2, CHART.width / 2, "middle"], [high, CHART.width, "end"]];
    const parts = ends.map(([value, x, anchor]) =>
      draw("text", { x, y, "text-anchor": anchor, class: "x-tick" }, String(Number(value.toPrecision(3)))));
    const threshold = score.thresholds[source];
    if (threshold !== undefined && threshold >= low && threshold <= high) {
      const x = ((threshold - low) / (high - low)) * CHART.width;
      parts.push(draw("line", { x1: x, x2: x, y1: 0, y2: 2 * CHART.half + CHART.middle + 4, class: "x-threshold" },
        draw("title", {}, `threshold ${threshold}`)));
    }
    return parts;
  }

  // Fills each bar as far as its texts are in the view, but for the filters that the bar's own link would set.
  update(view) {
    for (const { score, code, source, parts, highest } of this.charts) {
      const open = { ...view, source: [], decision: [], ranges: { ...view.ranges } };
      delete open.ranges[score.name];
      const found = this.binned(score, code, this.store.matches(open));
      const bins = score.edges.length - 1;
      for (const part of parts) {
        const number = found[part.fate][part.bin];
        for (const [name, value] of Object.entries(this.box(part.fate, part.bin, bins, number / highest))) {
          part.bar.setAttribute(name, value);
        }
        const target = this.target(view, score, source, part);
        part.link.setAttribute("href", this.address(target));
        const text = `${score.label} from ${part.low} to ${part.high}: ${counted(number, `${part.fate} ${source} text`)}`;
        part.title.textContent = number === part.total ? text : `${text} of ${count(part.total)}`;
        part.link.setAttribute("aria-label", part.title.textContent);
        const current = JSON.stringify(view.ranges[score.name]) === JSON.stringify(target.ranges[score.name])
          && view.source.join() === source && view.decision.join() === part.fate;
        if (current) part.link.setAttribute("aria-current", "true");
        else part.link.removeAttribute("aria-current");
      }
    }
  }

  target(view, score, source, { fate, bin, low, high }) {
    const last = score.edges.length - 2;
    const range = [bin === 0 ? null : low, bin === last ? null : high];
    const ranges = { ...view.ranges };
    if (last === 0) delete ranges[score.name];
    else ranges[score.name] = range;
    return { ...view, source: [source], decision: [fate], step: "", reason: "", ranges, image: "" };
  }
}

function binOf(edges, value) {
  let bin = edges.length - 2;
  while (bin > 0 && value < edges[bin]) bin -= 1;
  return bin;
}

// One stop for the Tab key per chart: arrow keys, Home and End move among its links.
function moveAmong(event, links) {
  const place = links.indexOf(event.target.closest("a"));
  const goals = { ArrowRight: place + 1, ArrowDown: place + 1, ArrowLeft: place - 1, ArrowUp: place - 1, Home: 0, End: links.length - 1 };
  const goal = links[goals[event.key]];
  if (!goal) return;
  event.preventDefault();
  for (const link of links) link.setAttribute("tabindex", link === goal ? 0 : -1);
  goal.focus();
}
