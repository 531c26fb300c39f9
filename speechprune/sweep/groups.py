"""Points that are reported as one, and which of them the others are tested against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from speechprune.inference.point import Point


@dataclass(frozen=True)
class PointGroup:
    """Points that differ in nothing but their seed; ``rows`` are their places in the grid."""

    name: str
    settings: dict[str, Any]
    rows: list[int]

    def agrees_with(self, settings: dict[str, Any]) -> bool:
        """Whether it has all of the settings."""
        return all(name in self.settings and self.settings[name] == settings[name] for name in settings)


def group_points(points: Sequence[Point]) -> list[PointGroup]:
    """The groups of a grid, each where its first point is."""
    groups: dict[str, PointGroup] = {}
    for row, point in enumerate(points):
        settings = {name: value for name, value in point.settings.items() if name != "seed"}
        groups.setdefault(point.group_name, PointGroup(point.group_name, settings, [])).rows.append(row)
    return list(groups.values())


def check_reference(points: Sequence[Point], reference: dict[str, Any] | None) -> None:
    """Refuse a reference that is not in the grid, with a ValueError."""
    groups = group_points(points)
    if reference is not None and not any(group.agrees_with(reference) for group in groups):
        wanted = ", ".join(f"{name}: {value}" for name, value in reference.items())
        raise ValueError(
            f"reference {{{wanted}}} is no point of the grid; its points are "
            + ", ".join(group.name for group in groups)
        )


def find_reference(
    group: PointGroup, groups: Sequence[PointGroup], reference: dict[str, Any] | None
) -> PointGroup | None:
    """The one group that a group is tested against; None if there isn't exactly one other.

    Parameters
    ----------
    reference
        Settings that it has. Where several groups have them, it is the one that also has this group's
        pruning rate, and if those are several still, its phase 1 budget.
    """
    if reference is None:
        return None
    found = [other for other in groups if other.agrees_with(reference)]
    for name in ("pruning_rate", "phase1_budget"):
        if len(found) > 1:
            found = [other for other in found if other.settings.get(name) == group.settings.get(name)]
    return found[0] if len(found) == 1 and found[0] is not group else None
