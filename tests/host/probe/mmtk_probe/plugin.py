from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    return [
        Component(
            "stage", "write", "mmtk_probe.stages:Write", "mmtk_probe.configs:WriteConfig", "writes a text"
        ),
        Component("stage", "misspelt", "mmtk_probe.stages:Wriet", "mmtk_probe.configs:WriteConfig", "fails"),
        Component(
            "stage", "page", "mmtk_probe.stages:Page", "mmtk_probe.configs:PageConfig", "writes a report"
        ),
        Component(
            "stage", "draw", "mmtk_probe.stages:Draw", "mmtk_probe.configs:DrawConfig", "draws numbers"
        ),
        Component(
            "stage", "together", "mmtk_probe.stages:Together", "mmtk_probe.configs:TogetherConfig", "meets"
        ),
    ]
