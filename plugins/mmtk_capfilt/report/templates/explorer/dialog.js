// An image with everything the ledger has about it. Arrow keys go on to its neighbours in the view.

class ImageDialog {
  constructor(store, pictures, sights, go) {
    this.store = store;
    this.sights = sights;
    this.pictures = pictures;
    this.go = go;
    this.title = make("h3", { tabindex: "-1" });
    this.place = make("p", { class: "note", role: "status" });
    this.body = make("div", { class: "x-body" });
    this.previous = this.button("← Previous", () => this.step(-1));
    this.next = this.button("Next →", () => this.step(1));
    this.element = make("dialog", { class: "x-dialog", "aria-label": "Picture and its texts" },
      make("div", { class: "x-head" }, this.title, this.button("Close", () => this.element.close())),
      make("div", { class: "x-steps" }, this.previous, this.next, this.place), this.body);
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("click", (event) => { if (event.target === this.element) this.element.close(); });
  }

  button(text, act) {
    const button = make("button", { type: "button", class: "x-button" }, text);
    button.addEventListener("click", act);
    return button;
  }

  key(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.step(by);
  }

  step(by) {
    const place = this.images.indexOf(this.image);
    const goal = place < 0 ? undefined : this.images[place + by];
    if (goal !== undefined) this.go(goal);
  }

  show(image, images) {
    this.image = image;
    this.images = images;
    const { store } = this;
    const place = images.indexOf(image);
    this.title.replaceChildren(make("bdi", {}, store.images.key[image]));
    this.place.textContent = place < 0 ? "not in this selection" : `${count(place + 1)} of ${count(images.length)}`;
    this.previous.disabled = place <= 0;
    this.next.disabled = place < 0 || place + 1 >= images.length;
    const tile = make("div", { class: "x-tile x-large" });
    const extras = make("div", { class: "x-extras" });
    this.pictures.show(tile, image, `Picture ${store.images.key[image]}`);
    this.showExtras(extras, image);
    this.body.replaceChildren(make("div", { class: "x-pictures" }, tile, this.facts(image),
        ...this.sights.linksOf(store.images.key[image])),
      make("div", { class: "x-candidates" }, ...store.textsOf[image].map((text) => this.candidate(text))), extras);
    if (!this.element.open) this.element.showModal();
    this.element.scrollTop = 0;
    if (!this.element.contains(document.activeElement) || document.activeElement.disabled) this.title.focus();
  }

  async showExtras(element, image) {
    const [, extras] = await this.pictures.of(image);
    element.replaceChildren(...extras.map(([label, address]) => make("figure", {},
      make("img", { src: address, alt: label }), make("figcaption", { dir: "auto" }, label))));
  }

  facts(image) {
    const { store } = this;
    return list([["known right text", store.images.label[image]], ["read from", store.shard(image)]]);
  }

  candidate(text) {
    const { store } = this;
    const name = (column) => store.name(column, text);
    const scores = store.scores.map(({ label, values }) => [label, values[text] === null ? "" : figure(values[text])]);
    const kept = name("decision") === "kept";
    return make("article", { class: `x-text ${sourceClass(name("source"))} ${kept ? "kept" : "gone"}` },
      make("p", { class: "x-verdict" }, make("span", { class: "x-source" }, name("source")), ` ${mark(name("decision"))}`),
      words(store, text),
      list([...scores, ["reason", name("reason")], ["step", name("step")],
        ["can come back", kept ? "" : store.texts.final[text] ? "no" : "with another threshold"],
        ["known noise", name("noise")], ["written by", name("written_by")],
        ["scored by", name("scored_by").split(",").join(", ")]]));
  }
}

function list(entries) {
  const present = entries.filter(([, value]) => value);
  return make("dl", { class: "x-facts" }, ...present.map(([label, value]) =>
    make("div", {}, make("dt", {}, label), make("dd", { dir: "auto" }, value))));
}
