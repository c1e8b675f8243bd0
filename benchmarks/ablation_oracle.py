"""What the ablation would show if captioner or filter made no mistake: true labels in their place.

Takes finished runs of recipes/capfilt_ablation.yaml, as ``make ablation`` leaves them. In the pairs that its
captioner's pass wrote, each synthetic caption becomes the picture's true label, or wrong web texts are left
out, or both; then it pre-trains on them and evaluates, with all settings of the ablation.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.ablation_table import COMPARED, FIGURES, SPLITS
from benchmarks.seed_runs import Spread, TableError, markdown, read, seed_list, shown, spread
from mmtk.api import RawSample, TarShard, read_columns
from mmtk.data.readers.webdataset import WebDatasetReader
from mmtk.errors import MmtkError

WAYS = {
    "captioner": "a captioner that is always right",
    "filter": "a filter that is always right",
    "both": "both",
}
SOURCES = {"web": "-web", "synthetic": "-syn"}


def make_dataset(run: Path, way: str, folder: Path) -> None:
    """Write the pairs of ``run`` as perfect parts would have left them."""
    truth = {
        row["key"]: row
        for row in read_columns(run / "emoji" / "truth.parquet", ["key", "clean", "label"]).to_pylist()
    }
    folder.mkdir(parents=True, exist_ok=True)
    shard = TarShard(folder / "pairs-000000.tar")
    for sample in perfect(WebDatasetReader(path=run / "capfilt_captioner" / "dataset"), truth, way):
        shard.write(sample)
    shard.finish()


def perfect(
    reader: Sequence[RawSample] | WebDatasetReader, truth: Mapping[str, Mapping[str, Any]], way: str
) -> Iterator[RawSample]:
    """The samples that a perfect part or two would leave; human ones stay."""
    for index in range(len(reader)):
        sample = reader[index]
        source = next((one for one, ending in SOURCES.items() if ending in sample.key), "human")
        known = truth.get(sample.key.partition(SOURCES.get(source, "\n"))[0], {})
        if source == "web" and way != "captioner" and not known["clean"]:
            continue
        if source == "synthetic":
            if way == "filter":
                continue
            sample = dataclasses.replace(sample, texts=(known["label"],))
        yield sample


def oracle_recipe(run: Path, folder: Path) -> dict[str, Any]:
    """The recipe that trains and evaluates on the perfect pairs, made of the run's own."""
    recipe = read(run / "recipe.resolved.yaml", yaml.safe_load)
    stages = {name: recipe["stages"][name] for name in ("emoji", "vocabulary")}
    for way in WAYS:
        training = copy.deepcopy(recipe["stages"]["pretrain_captioner"])
        training["data"]["sources"]["pairs"]["reader"]["path"] = str((folder / "pairs" / way).absolute())
        evaluation = copy.deepcopy(recipe["stages"]["evaluate_captioner"])
        evaluation["checkpoint"] = {"from": f"pretrain_{way}.checkpoint"}
        stages |= {f"pretrain_{way}": training, f"evaluate_{way}": evaluation}
    return recipe | {"name": "ablation_oracle", "run_dir": str(folder.absolute()), "stages": stages}


def do_seed(run: Path, folder: Path) -> None:
    """Raises TableError when the run is not finished or the training fails."""
    for way in WAYS:
        make_dataset(run, way, folder / "pairs" / way)
    path = folder / "oracle.yaml"
    path.write_text(yaml.safe_dump(oracle_recipe(run, folder), sort_keys=False), encoding="utf-8")
    if code := subprocess.call([sys.executable, "-m", "mmtk", "run", str(path)], stdout=sys.stderr):
        raise TableError(f"{path} ended with exit code {code}")


def figures(folder: Path, way: str) -> dict[str, float]:
    """What the ablation compares, each as the mean of the splits."""
    metrics = read(folder / f"evaluate_{way}" / "metrics.json", yaml.safe_load)
    return {
        name: sum(metrics[f"{split}/{FIGURES[name]}"] for split in SPLITS) / len(SPLITS) for name in COMPARED
    }


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    def cells(runs: Sequence[Mapping[str, float]]) -> list[str]:
        spreads: list[Spread | None] = [spread([run[name] for run in runs]) for name in COMPARED]
        return [shown(one) for one in spreads]

    return markdown([["pairs of", *COMPARED], *([name, *cells(runs)] for name, runs in found.items())])


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--seeds", type=seed_list, default=[0, 1, 2], metavar="0,1,2")
    parser.add_argument("--ablation", type=Path, default=Path("runs/ablation_table"), metavar="FOLDER")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation_oracle"), metavar="FOLDER")
    options = parser.parse_args(argv)
    folders = {
        seed: (options.ablation / f"seed-{seed}", options.runs / f"seed-{seed}") for seed in options.seeds
    }
    try:
        for run, folder in folders:
            do_seed(run, folder)
        found = {
            "no CapFilt": [figures(run, "none") for run, _ in folders],
            "captioner and filter as trained": [figures(run, "both") for run, _ in folders],
            **{name: [figures(folder, way) for _, folder in folders] for way, name in WAYS.items()},
        }
    except MmtkError as error:
        print(f"ablation_oracle: {error}", file=sys.stderr)
        return 2
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
