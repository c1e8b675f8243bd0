// The form above the pictures: it reads the view, and asks for another one.

const NAMES = { decision: "Decision", source: "Source", noise: "Known noise" };

class Controls {
  constructor(root, store, change) {
    this.store = store;
    this.change = change;
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    this.query = part("query");
    this.sort = part("sort");
    this.reason = part("reason");
    this.clear = part("clear");
    this.chips = CHOICES.filter((name) => store.texts[name].names.some(Boolean)).map((name) => this.choice(name));
    part("choices").append(...this.chips.map(({ element }) => element));
    this.ranges = store.scores.map((score) => this.range(score));
    part("ranges").append(...this.ranges.map(({ element }) => element));
    part("more").hidden = !store.scores.length && store.texts.reason.names.every((name) => !name);
    this.reasons = this.fillReasons();
    this.fillSorts();
    this.query.addEventListener("input", () => change((view) => { view.query = this.query.value; }));
    this.sort.addEventListener("change", () => change((view) => { view.sort = this.sort.value; }));
    this.clear.addEventListener("click", () => change((view) =>
      Object.assign(view, emptyView(), { sort: view.sort })));
    this.reason.addEventListener("change", () => change((view) => {
      [view.step, view.reason] = JSON.parse(this.reason.value);
    }));
  }

  choice(column) {
    const { names } = this.store.texts[column];
    const boxes = names.map((name, code) => {
      const box = make("input", { type: "checkbox", class: "hidden-text" });
      const number = make("b");
      box.addEventListener("change", () => this.change((view) => {
        view[column] = view[column].filter((one) => one !== name).concat(box.checked ? [name] : []);
      }));
      return { name, code, box, number };
    }).filter(({ name }) => name);
    const element = make("fieldset", { class: "x-chips" }, make("legend", {}, NAMES[column]),
      ...boxes.map(({ name, box, number }) => make("label", {}, box, make("span", {}, `${name} `, number))));
    return { column, boxes, element };
  }

  range(score) {
    const input = (end) => {
      const box = make("input", { type: "number", step: "any", inputmode: "decimal", "aria-label": `${score.label}, ${end}`,
        placeholder: end === "from" ? score.edges[0] : score.edges[score.edges.length - 1] });
      box.addEventListener("input", () => this.change((view) => setRange(view, score.name, from.value, to.value)));
      return box;
    };
    const [from, to] = [input("from"), input("below")];
    const element = make("div", { class: "x-range" }, make("span", {}, score.label), from, make("span", {}, "to below"), to);
    return { name: score.name, from, to, element };
  }

  fillReasons() {
    const { step, reason } = this.store.texts;
    const seen = new Map();
    step.codes.forEach((code, text) => {
      const [one, why] = [step.names[code], reason.names[reason.codes[text]]];
      if (!why) return;
      if (!seen.has(one)) seen.set(one, new Set());
      seen.get(one).add(why);
    });
    const options = [];
    const option = (parent, chosen, label) => {
      const element = make("option", { value: JSON.stringify(chosen) }, label);
      options.push({ element, chosen, label });
      parent.append(element);
    };
    option(this.reason, ["", ""], "any");
    for (const [one, reasons] of seen) {
      const group = make("optgroup", { label: one || "reading" });
      if (one && reasons.size > 1) option(group, [one, ""], `any of ${one}`);
      for (const why of reasons) option(group, [one, why], why);
      this.reason.append(group);
    }
    return options;
  }

  fillSorts() {
    this.sort.append(make("option", { value: "" }, "the ledger’s order"));
    for (const { name, label } of this.store.scores) {
      this.sort.append(make("option", { value: `score.${name}:desc` }, `${label}, highest first`),
        make("option", { value: `score.${name}:asc` }, `${label}, lowest first`));
    }
  }

  update(view) {
    const { store } = this;
    if (this.query.value !== view.query) this.query.value = view.query;
    this.sort.value = view.sort;
    if (this.sort.selectedIndex < 0) this.sort.selectedIndex = 0;
    this.clear.hidden = !narrows(view);
    for (const { column, boxes } of this.chips) {
      const totals = store.tally(store.matches(view, column), column);
      for (const { name, code, box, number } of boxes) {
        box.checked = view[column].includes(name);
        number.textContent = count(totals[code]);
      }
    }
    for (const { name, from, to } of this.ranges) {
      const ends = view.ranges[name] ?? [null, null];
      [from, to].forEach((box, end) => {
        if (document.activeElement !== box) box.value = ends[end] ?? "";
      });
    }
    this.updateReasons(view);
  }

  updateReasons(view) {
    const { step, reason } = this.store.texts;
    const found = this.store.matches(view, "reason");
    const totals = new Map();
    const add = (...chosen) => totals.set(JSON.stringify(chosen), (totals.get(JSON.stringify(chosen)) ?? 0) + 1);
    found.forEach((hit, text) => {
      if (!hit) return;
      add("", "");
      const [one, why] = [step.names[step.codes[text]], reason.names[reason.codes[text]]];
      if (!why) return;
      add(one, why);
      if (one) add(one, "");
    });
    for (const { element, chosen, label } of this.reasons) {
      element.textContent = `${label} (${count(totals.get(JSON.stringify(chosen)) ?? 0)})`;
      element.selected = chosen[0] === view.step && chosen[1] === view.reason;
    }
  }
}
