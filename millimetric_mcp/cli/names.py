"""Names of projects and origins of websites, as people write them on the command line."""

from collections.abc import Iterator, Sequence
from unicodedata import name as describe
from unicodedata import normalize

from millimetric_mcp.api.control import TEST_SUFFIX, Control
from millimetric_mcp.cli.confirmation import confirm
from millimetric_mcp.contract.keys import normalise_origin

_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK"})
_MAX_PROJECT_CHARS = 64 - len(TEST_SUFFIX)


def check_name(option: str, name: str) -> Iterator[str]:
    """Yield what is wrong with a project's name."""
    if not (name.isprintable() and 0 < len(name) <= _MAX_PROJECT_CHARS):
        yield f"{option}: use 1 to {_MAX_PROJECT_CHARS} printable characters."
    if (usual := normalize("NFKC", name)) != name:
        yield f"{option}: {name!r} looks like another name. Write {usual!r}."
    elif len({describe(char, "").partition(" ")[0] for char in name} & _ALIKE) > 1:
        yield f"{option}: {name!r} mixes alphabets that look alike. Use the letters of one."
    if name.endswith(TEST_SUFFIX):
        yield f"{option}: don't end the name with{TEST_SUFFIX}; use --env test instead."


def confirm_new_name(control: Control, name: str, *, yes: bool, besides: str | None = None) -> bool:
    """Return whether to use the name: it exists, or is unlike all others, or the person agrees.

    ``besides`` is the name that it replaces.

    Raises:
        SettingsError: it is like another one, and no person can be asked.
    """
    similar = control.projects.find_similar(name, besides=besides)
    if similar is None:
        return True
    question = f"There is a project {similar}. Is {name} really another one?"
    return confirm(question, yes=yes)


def read_origins(texts: Sequence[str]) -> list[str]:
    """Return origins as browsers write them; `check_origins` found nothing wrong."""
    return [origin for origin in map(_read_origin, texts) if origin]


def check_origins(texts: Sequence[str]) -> Iterator[str]:
    """Yield what is wrong with origins."""
    for text in texts:
        if _read_origin(text) is None:
            with_scheme = _read_origin(f"https://{text}")
            yield f"--origin: {text!r} is not an origin. " + (
                f"Did you mean {with_scheme}? Add https://www.… as another --origin if you use it."
                if with_scheme
                else "Write https://shop.example or http://localhost:5173: no path, no wildcard, "
                "an international name as xn--…"
            )


def _read_origin(text: str) -> str | None:
    return normalise_origin(text.removesuffix("/"))
