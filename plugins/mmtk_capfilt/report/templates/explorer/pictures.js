// Pictures and extras of images: from the page's data, or from files beside it that are added as scripts.

class Pictures {
  constructor(data, folder) {
    this.inline = data.pictures;
    this.folder = folder;
    this.perPage = data.per_page;
    this.pages = new Map();
  }

  // Resolves to [address or null, [[label, address], …]].
  async of(image) {
    if (this.inline) return this.inline[image];
    const number = Math.floor(image / this.perPage);
    if (!this.pages.has(number)) this.pages.set(number, this.load(number));
    return (await this.pages.get(number))[image % this.perPage] ?? [null, []];
  }

  load(number) {
    const script = make("script", { src: `${this.folder}page-${String(number + 1).padStart(4, "0")}.js` });
    return new Promise((resolve) => {
      script.addEventListener("load", () => { resolve(script.pictures ?? []); script.remove(); });
      script.addEventListener("error", () => { resolve([]); script.remove(); });
      document.head.append(script);
    });
  }

  // Puts the picture into a tile once it is there, unless the tile is gone or has become another image's.
  async show(tile, image, description) {
    tile.image = image;
    const [address] = await this.of(image);
    if (tile.image !== image) return;
    tile.classList.toggle("no-picture", !address);
    tile.replaceChildren(address ? make("img", { src: address, alt: description })
      : make("span", {}, "no picture to show"));
  }
}
