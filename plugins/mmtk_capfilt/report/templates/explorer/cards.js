// The pictures of a view with their texts, a few at a time.

const FEW = 48;

class Cards {
  constructor(store, pictures, address) {
    this.store = store;
    this.pictures = pictures;
    this.address = address;
    this.list = make("ul", { class: "x-cards" });
    this.more = make("button", { type: "button", class: "x-button" });
    this.more.addEventListener("click", () => this.extend(this.shown + FEW, true));
    this.element = make("div", {}, this.list, make("p", { class: "x-more" }, this.more));
  }

  update(view, found, images) {
    Object.assign(this, { view, found, images, shown: 0 });
    this.list.replaceChildren();
    this.extend(FEW, false);
  }

  extend(number, move) {
    const first = this.shown;
    this.shown = Math.min(number, this.images.length);
    for (const image of this.images.slice(first, this.shown)) this.list.append(this.card(image));
    const left = this.images.length - this.shown;
    this.more.hidden = left === 0;
    this.more.textContent = `Show ${count(Math.min(FEW, left))} more of ${count(left)}`;
    if (move && this.list.children[first]) this.list.children[first].querySelector("a").focus();
  }

  card(image) {
    const { store } = this;
    const key = store.images.key[image];
    const sorted = store.scores.find(({ name }) => this.view.sort.startsWith(`score.${name}:`)) ?? store.scores[0];
    const tile = make("span", { class: "x-tile" });
    this.pictures.show(tile, image, `Picture ${key}`);
    const link = make("a", { href: this.address({ ...this.view, image: key }), class: "x-open" }, tile,
      make("span", { class: "x-key" }, make("bdi", {}, key)));
    const texts = store.textsOf[image].map((text) => {
      const element = candidate(store, text, sorted);
      if (!this.found[text]) element.classList.add("unmatched");
      return element;
    });
    return make("li", { class: "x-card" }, link, make("div", { class: "x-texts" }, ...texts));
  }

  // Puts the focus on an image's card, so that whoever closes the dialog is where they were.
  focus(image) {
    const place = this.images.indexOf(image);
    if (place < 0) return;
    if (place >= this.shown) this.extend(place + 1, false);
    this.list.children[place].querySelector("a").focus();
  }
}

function candidate(store, text, score) {
  const decision = store.name("decision", text);
  const source = store.name("source", text);
  const verdict = make("p", { class: "x-verdict" }, make("span", { class: "x-source" }, source), ` ${mark(decision)}`);
  if (score && score.values[text] !== null) {
    verdict.append(make("span", { class: "x-score", title: score.label }, figure(score.values[text])));
  }
  const noise = store.name("noise", text);
  const reason = [store.name("reason", text), noise && noise !== "right" ? `known noise: ${noise}` : ""].filter(Boolean).join("; ");
  return make("div", { class: `x-text ${sourceClass(source)} ${decision === "kept" ? "kept" : "gone"}` }, verdict,
    words(store, text), reason ? make("p", { class: "x-reason", dir: "auto" }, reason) : null);
}

function words(store, text) {
  const written = store.texts.text[text];
  if (!written.trim()) return make("p", { class: "x-words note" }, "(no text)");
  const inner = store.name("decision", text) === "kept" ? written : make("del", {}, written);
  return make("p", { class: "x-words", dir: "auto" }, inner);
}

function mark(decision) {
  return { kept: "✓ kept", dropped: "✕ dropped", failed: "✕ failed" }[decision] ?? decision;
}
