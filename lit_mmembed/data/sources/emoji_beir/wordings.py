"""How captions and edits are worded: each split has its own templates, so no evaluation string is a training string."""

from lit_mmembed.data.sources.emoji_beir.concepts import TONES, Concept

SPLITS = ("train", "val", "test")

CAPTIONS = {
    "train": (
        "{label}",
        "a drawing of {label}",
        "an icon that shows {label}",
        "{label}, a picture for {one} and {two}",
        "{one}: {label}",
        "this means {one}, drawn as {label}",
    ),
    "val": (
        "an emoji of {label}, used for {one}",
        "{two} and {one}, shown as {label}",
        "a picture in which you see {label}",
    ),
    "test": (
        "{label} as a small picture ({one})",
        "an emoji that means {two}: {label}",
        "what you see is {label}, for {one}",
    ),
}
"""With the label."""

HINTS = {
    "train": ("something for {one}, {two} and {three}", "{one}, {two}, {three}"),
    "val": ("a picture that means {one}, {two} and also {three}", "{three} with {one} and {two}"),
    "test": ("an emoji used for {one}, for {two} or for {three}", "{two}: an icon of {one} and {three}"),
}
"""Without it: three tags."""

PLAIN = {
    "train": ("{label}", "a drawing of {label}", "an icon that shows {label}", "a picture of {label}", "{label} drawn"),
    "val": ("an emoji of {label}", "a picture in which you see {label}"),
    "test": ("{label} as a small picture", "what you see is {label}", "an emoji that means {label}"),
}
"""For concepts with fewer than two tags."""

TONED = {
    "train": ("{label} with {tone} skin", "{label}, {tone} skin tone", "{tone} skin, {label}"),
    "val": ("{label} in a {tone} skin tone",),
    "test": ("{label} whose skin is {tone}",),
}

EDITS: dict[str, dict[str, tuple[str, ...]]] = {
    "tone": {
        "train": (
            "The same with {to} skin",
            "Change the skin tone to {to}",
            "Make the skin {to}",
            "{to} skin instead of {from_}",
        ),
        "val": ("Now with a {to} skin tone", "The skin must be {to}, not {from_}"),
        "test": (
            "Not {from_} skin but {to}",
            "As it is, only the skin is {to} now",
            "Show this in a {to} tone of skin",
        ),
    },
    "person": {
        "train": ("The same as a {to}", "Change the {from_} to a {to}", "A {to} instead of a {from_}"),
        "val": ("Now show a {to}", "Make it a {to}, not a {from_}"),
        "test": ("Not a {from_} but a {to}", "As it is, only it is a {to} now", "Show this with a {to}"),
    },
    "facing": {
        "train": ("The same but {to}", "Change the direction: {to}"),
        "val": ("Now {to}", "Make it {to}"),
        "test": ("As it is, only {to} now", "Show this {to}"),
    },
    "colour": {
        "train": ("The same in {to}", "Change the colour to {to}", "Make it {to}", "{to} instead of {from_}"),
        "val": ("Now in {to}", "The colour must be {to}, not {from_}"),
        "test": ("Not {from_} but {to}", "As it is, only the colour is {to} now", "Show this with {to} as its colour"),
    },
    "time": {
        "train": ("Set the clock to {to}", "Change the time to {to}", "{to} instead of {from_}"),
        "val": ("Now at {to}", "The clock must show {to}"),
        "test": ("Not {from_} but {to}", "As it is, only the time is {to} now", "Show this clock at {to}"),
    },
}


def words_of(concept: Concept, template: str) -> str:
    """Name a concept, with its skin tone where it has one."""
    if not concept.has_tones:
        return concept.label
    return template.format(label=concept.label, tone=TONES[concept.tone])


def sentence(text: str) -> str:
    """Write a text as M-BEIR's files have it: first letter capital, a full stop unless it ends like a sentence."""
    text = " ".join(text.split()).strip('"')
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."
