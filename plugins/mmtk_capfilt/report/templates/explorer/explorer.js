// Brings the explorers on the page to life. The address is the only state: links, keys and controls change it.

function startExplorer(root) {
  const section = root.closest("section");
  const anchor = section.id;
  const data = JSON.parse(section.querySelector("script.section-data").textContent);
  const store = new Store(data);
  if (!store.size) return;
  const pictures = new Pictures(data, section.dataset.files ?? "");
  const address = (view) => viewAddress(anchor, view);
  let view = readView(anchor, location.hash, store.scores) ?? emptyView();
  let found = null;
  let images = [];

  const replace = (next) => {
    history.replaceState(null, "", address(next));
    render(next);
  };
  const change = (edit) => {
    const next = structuredClone(view);
    edit(next);
    replace(next);
  };
  const cards = new Cards(store, pictures, address);
  const dialog = new ImageDialog(store, pictures, new Sights(store, address), (image) => replace({ ...view, image: store.images.key[image] }));
  const charts = new Charts(store, address);
  const controls = new Controls(root, store, change);
  const status = root.querySelector('[data-part="status"]');
  root.querySelector('[data-part="charts"]').append(charts.element);
  root.querySelector('[data-part="cards"]').append(cards.element);
  root.append(dialog.element);
  dialog.element.addEventListener("close", () => {
    if (!readView(anchor, location.hash, store.scores)) {
      view = { ...view, image: "" };
      goToAddressed();
      return;
    }
    if (view.image) replace({ ...view, image: "" });
    cards.focus(dialog.image);
  });

  // Only the dialog changes when the address differs in the image alone, so cards keep their place and focus.
  function render(next) {
    const [before, after] = [view, next].map((one) => address({ ...one, image: "" }));
    view = next;
    if (!found || before !== after) {
      found = store.matches(view);
      images = store.imagesOf(found, view.sort);
      controls.update(view);
      charts.update(view);
      cards.update(view, found, images);
      const texts = found.reduce((sum, hit) => sum + hit, 0);
      status.textContent = `${count(texts)} of ${counted(store.size, "text")}, on ${count(images.length)} of ${counted(store.textsOf.length, "picture")}`;
    }
    const image = view.image ? store.places.get(view.image) : undefined;
    if (image !== undefined) dialog.show(image, images);
    else if (dialog.element.open) dialog.element.close();
  }

  for (const link of section.querySelectorAll("a[data-view]")) link.href = `#${anchor}?${link.dataset.view}`;
  root.hidden = false;
  render(view);
  if (location.hash.startsWith(`#${anchor}?`) && !view.image) root.scrollIntoView();
  window.addEventListener("hashchange", () => {
    const next = readView(anchor, location.hash, store.scores);
    if (next) render(next);
    else if (dialog.element.open) dialog.element.close();
    if (next && !next.image && location.hash.includes("?")) status.scrollIntoView({ block: "start" });
  });
}

for (const root of document.querySelectorAll(".explorer")) startExplorer(root);
