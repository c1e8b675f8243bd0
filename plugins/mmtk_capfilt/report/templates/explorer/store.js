// The ledger's texts, and which of them a view has. Nothing in here knows of the page.

class Store {
  constructor(data) {
    this.images = data.images;
    this.texts = data.texts;
    this.scores = data.scores;
    this.size = data.texts.text.length;
    this.textsOf = data.images.key.map(() => []);
    data.texts.image.forEach((image, text) => this.textsOf[image].push(text));
    this.places = new Map(data.images.key.map((key, image) => [key, image]).reverse());
    this.search = { query: "", hits: null };
  }

  name(column, text) {
    const { names, codes } = this.texts[column];
    return names[codes[text]];
  }

  shard(image) {
    const { names, codes } = this.images.shard;
    return names[codes[image]];
  }

  // Returns 1 for each text that the view has; `without` is a column whose own filter is left out.
  matches(view, without = "") {
    const found = new Uint8Array(this.size).fill(1);
    for (const name of CHOICES) {
      if (name !== without && view[name].length) this.narrowToNames(found, name, view[name]);
    }
    if (without !== "reason") {
      if (view.step) this.narrowToNames(found, "step", [view.step]);
      if (view.reason) this.narrowToNames(found, "reason", [view.reason]);
    }
    for (const { name, values } of this.scores) {
      const [from, to] = view.ranges[name] ?? [null, null];
      if (from === null && to === null) continue;
      values.forEach((value, text) => {
        if (value === null || (from !== null && value < from) || (to !== null && value >= to)) found[text] = 0;
      });
    }
    const hits = this.hits(view.query);
    if (hits) hits.forEach((hit, text) => { if (!hit) found[text] = 0; });
    return found;
  }

  narrowToNames(found, column, wanted) {
    const { names, codes } = this.texts[column];
    const allowed = names.map((name) => wanted.includes(name));
    codes.forEach((code, text) => { if (!allowed[code]) found[text] = 0; });
  }

  // Texts that have every word of the query, in themselves or in their image's key; null for an empty query.
  hits(query) {
    const words = folded(query).split(/\s+/).filter(Boolean);
    if (!words.length) return null;
    if (this.search.query !== query) {
      this.haystack ??= this.texts.text.map((text, index) =>
        `${folded(text)}\n${folded(this.images.key[this.texts.image[index]])}`);
      this.search = { query, hits: this.haystack.map((text) => words.every((word) => text.includes(word))) };
    }
    return this.search.hits;
  }

  // How many of the texts found have each name of a column.
  tally(found, column) {
    const { names, codes } = this.texts[column];
    const totals = names.map(() => 0);
    codes.forEach((code, text) => { totals[code] += found[text]; });
    return totals;
  }

  // The images with a text that was found, in the order that `sort` asks for; images without the score come last.
  imagesOf(found, sort) {
    const present = [];
    this.textsOf.forEach((texts, image) => { if (texts.some((text) => found[text])) present.push(image); });
    const [name, direction] = sort.split(":");
    const score = this.scores.find((one) => `score.${one.name}` === name);
    if (!score) return present;
    const best = direction === "asc" ? Math.min : Math.max;
    const keyed = present.map((image) => {
      const values = this.textsOf[image].filter((text) => found[text] && score.values[text] !== null)
        .map((text) => score.values[text]);
      return [image, values.length ? best(...values) : null];
    });
    const sign = direction === "asc" ? 1 : -1;
    keyed.sort(([one, a], [other, b]) =>
      Number(a === null) - Number(b === null) || (a === null ? 0 : sign * (a - b)) || one - other);
    return keyed.map(([image]) => image);
  }
}

function folded(text) {
  return text.normalize("NFKC").toLowerCase();
}
