import importlib
import subprocess
import sys

import pytest
from mmtk_capfilt.report.components import COMPONENTS

from mmtk.api import Component


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_components_name_what_exists(component: Component) -> None:
    assert component.kind == "report_section"
    for place in (component.factory, component.config or ""):
        module, _, attribute = place.partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


def test_configs_import_nothing_heavy() -> None:
    code = (
        "import sys, mmtk_capfilt.report.components, mmtk_capfilt.report.configs;"
        "import mmtk.report.components, mmtk.report.configs;"
        "print([m for m in ('torch', 'matplotlib', 'pyarrow', 'numpy', 'PIL', 'jinja2') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
