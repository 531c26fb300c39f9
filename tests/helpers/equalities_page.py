"""The table of docs/models.md: how far each family is from its own implementation."""

BEGIN, END = "<!-- equalities: begin -->", "<!-- equalities: end -->"
Equalities = dict[str, dict[str, float]]


def equalities_page(page: str, equalities: Equalities) -> str:
    """Put the table between the marks of a page."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    kinds = list(dict.fromkeys(kind for own in equalities.values() for kind in own))
    lines = [
        f"| family | {' | '.join(kinds)} |",
        "|---" * (1 + len(kinds)) + "|",
        *(
            f"| {family} | {' | '.join(_figure(kind, own.get(kind)) for kind in kinds)} |"
            for family, own in equalities.items()
        ),
    ]
    return f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{tail}"


def _figure(kind: str, difference: float | None) -> str:
    if difference is None:
        return ""
    if kind.startswith("FLOPs"):
        return f"{difference:.2%}"
    return f"{difference:.0f}" if kind.startswith("greedy") else f"{difference:.1g}"
