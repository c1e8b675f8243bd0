"""The HTML report of a run: one self-contained page, made of sections that plugins can add to."""
