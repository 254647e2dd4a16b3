"""A configuration's network in a few words."""

from __future__ import annotations


def summary(config: dict[str, object]) -> str:
    """A configuration's network in a few words, such as `inverted_se/avg luma w16 d4 32px`."""
    model = config["model"]
    assert isinstance(model, dict)  # noqa: S101 (a resolved configuration)

    def name(choice: object) -> str:
        return str(next(iter(choice))) if isinstance(choice, dict) else str(choice)

    sequence = model["sequence"]
    # What a sequence model has no use for is absent: one that brings its own head is named in its place.
    parts = [name(model[part]) for part in ("backbone", "head" if "head" in model else "sequence") if part in model]
    depth = f" d{model['depth']}" if "depth" in model else ""
    frames = ""
    if sequence != "none":
        seen = next(iter(sequence.values()))
        frames = f" x{seen['frames']}" + " differences" * seen.get("differences", False)
    return f"{'/'.join(parts)} {model['color']} w{model['width']}{depth} {model['image_size']}px{frames}"
