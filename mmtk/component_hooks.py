"""Hooks that a component implements: methods marked by ``hookimpl``, as a plugin's module has functions."""

from __future__ import annotations

import pluggy

from mmtk import hookspecs
from mmtk.errors import PluginError
from mmtk.events import HOOKS, Listener
from mmtk.registry import nearest

_EVENTS = type("Events", (), {name: getattr(hookspecs, name) for name in HOOKS.values()})


def hooks_of(component: object, who: str, *, required: bool = False) -> list[tuple[str, Listener]]:
    """Return the listeners of a component, each with its hook's name, for ``Listeners.joined_by``.

    Args:
        component: its methods are looked at.
        who: names it for the user.
        required: whether its failure ends the stage.

    Raises:
        PluginError: it implements a hook that doesn't exist, or asks one for what it isn't given.
    """
    manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    manager.add_hookspecs(_EVENTS)
    try:
        manager.register(component, name=who)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"{who}: {str(error).splitlines()[-1]}") from error
    callers = manager.get_hookcallers(component) or []
    for hook in (caller.name for caller in callers):
        if hook not in HOOKS.values():
            near = nearest(hook, HOOKS.values())
            hint = f"did you mean '{near}'?" if near else f"a component's are: {', '.join(HOOKS.values())}"
            raise PluginError(f"{who}: unknown hook '{hook}'; {hint}")
    return [(caller.name, Listener(who, caller, required)) for caller in callers]
