"""``python -m mmtk`` is ``mmtk``."""

from mmtk.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
