// What is looked at, as it stands in the address behind the section's anchor: #ANCHOR?source=web&decision=dropped

const CHOICES = ["decision", "source", "noise"];

function emptyView() {
  return { decision: [], source: [], noise: [], step: "", reason: "", query: "", sort: "", ranges: {}, image: "" };
}

// Returns null for an address that isn't about the section. Unknown names are kept: they match nothing.
function readView(anchor, hash, scores) {
  const start = `#${anchor}?`;
  if (hash !== `#${anchor}` && !hash.startsWith(start)) return null;
  const parameters = new URLSearchParams(hash.slice(start.length));
  const view = emptyView();
  for (const name of CHOICES) view[name] = parameters.getAll(name);
  for (const name of ["step", "reason", "query", "sort", "image"]) view[name] = parameters.get(name) ?? "";
  for (const { name } of scores) {
    const [from, to = ""] = (parameters.get(`score.${name}`) ?? "").split("..");
    setRange(view, name, from, to);
  }
  return view;
}

// A range takes in its low end and not its high one, as a threshold does; an empty end is open.
function setRange(view, name, low, high) {
  const [from, to] = [low, high].map((end) => {
    const text = String(end).trim();
    return text !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
  });
  if (from === null && to === null) delete view.ranges[name];
  else view.ranges[name] = [from, to];
}

function viewAddress(anchor, view) {
  const parameters = new URLSearchParams();
  for (const name of CHOICES) for (const value of view[name]) parameters.append(name, value);
  for (const [name, [from, to]] of Object.entries(view.ranges)) {
    parameters.set(`score.${name}`, `${from ?? ""}..${to ?? ""}`);
  }
  for (const name of ["step", "reason", "query", "sort", "image"]) {
    if (view[name]) parameters.set(name, view[name]);
  }
  const text = parameters.toString();
  return text ? `#${anchor}?${text}` : `#${anchor}`;
}

function narrows(view) {
  return CHOICES.some((name) => view[name].length) || Boolean(view.step || view.reason || view.query.trim())
    || Object.keys(view.ranges).length > 0;
}
