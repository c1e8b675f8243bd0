// Links between a picture's dialog and its entries in the sections gradcam of this page, there and back.

class Sights {
  constructor(store, address) {
    this.ids = new Map();
    for (const sight of document.querySelectorAll(".sight[data-key]")) {
      const { key } = sight.dataset;
      if (!store.places.has(key)) continue;
      this.ids.set(key, [...(this.ids.get(key) ?? []), sight.id]);
      sight.querySelector(".key").append(" ",
        make("a", { href: address({ ...emptyView(), image: key }) }, "All its texts and scores"));
    }
  }

  linksOf(key) {
    return (this.ids.get(key) ?? []).map((id) =>
      make("p", { class: "note" }, make("a", { href: `#${id}` }, "Where the filter sees the words")));
  }
}

// Goes to what the address names, behind a dialog that had the focus.
function goToAddressed() {
  const goal = document.getElementById(location.hash.slice(1));
  goal?.scrollIntoView({ block: "start" });
  goal?.focus({ preventScroll: true });
}
