"""Say what this installation has and what it can do: versions, devices, strategies, extras."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from mmtk.printable import printable

MARKS = {True: "ok", False: "no"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def execute(arguments: argparse.Namespace) -> int:
    """Return 0, or 1 where something is broken that mmtk needs."""
    from mmtk.discover.doctor import examine
    from mmtk.plugins import load_plugins

    findings = examine(load_plugins())
    if arguments.json:
        print(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        topic = ""
        for one in findings:
            if one.topic != topic:
                topic = one.topic
                print(topic)
            print(printable(f"  {MARKS[one.works]}  {one.name}: {one.detail}"))
    return int(any(one.needed and not one.works for one in findings))
