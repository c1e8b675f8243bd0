from mmtk.api import Component, hookimpl


@hookimpl
def mmtk_components() -> list[Component]:
    return [Component("capfilt_step", "slow", "mmtk_slow_step.step:Slow", summary="scores and writes slowly")]
