"""Whether a repaired folder is what its sidecar says, and whether all else in it is still the suspect's."""

from dataclasses import dataclass
from pathlib import Path

from projlens_core.errors import InvalidInput
from projlens_core.repair.form import form_of
from projlens_core.repair.writer import FORMAT, SIDECAR, places, sha256_outside, unlisted, values_hash
from projlens_core.runtime.files import open_regular
from projlens_core.runtime.text import printable
from projlens_core.sources import Source, resolve
from projlens_core.weights.projector import read_projector
from projlens_core.weights.selection import is_plain
from projlens_core.weights.tensorfile import parse_json

MAX_SIDECAR = 10_000_000  # bytes


@dataclass(frozen=True)
class Checked:
    """One thing that was looked at, whether it holds, and what was found; holds is None for what was not compared."""

    what: str
    holds: bool | None
    found: str


@dataclass(frozen=True)
class Verification:
    """All checks of a folder, and its sidecar."""

    checks: tuple[Checked, ...]
    sidecar: dict

    @property
    def holds(self) -> bool:
        """Whether nothing that was compared disagrees."""
        return all(check.holds is not False for check in self.checks)


def read_sidecar(folder: Path) -> dict:
    """The sidecar of a repaired folder; NotFound without one, InvalidInput for one that is none."""
    path = folder / SIDECAR
    with open_regular(path, f"{printable(str(path))} does not exist; give a folder that `projlens repair` wrote.") as f:
        if f.size > MAX_SIDECAR:
            raise InvalidInput(f"{printable(str(path))} is larger than {MAX_SIDECAR:,} bytes; it is no sidecar.")
        document = parse_json(f.read(), SIDECAR)
    files, changed = document.get("files"), document.get("changed")
    sound = isinstance(files, dict) and files and all(is_plain(n) and isinstance(v, dict) for n, v in files.items())
    sound = sound and isinstance(changed, list) and all(isinstance(each, dict) for each in changed)
    if document.get("format") != FORMAT or not sound:
        raise InvalidInput(f"{printable(str(path))} is not a sidecar of format {FORMAT}; repair the suspect again.")
    return document


def verify(folder: Path, base: Source | str | None = None, suspect: Source | str | None = None) -> Verification:
    """Compare the folder with its sidecar, and with the suspect that it was made of, where that is given.

    base: what an adapter lies on. The sidecar is no signature: whoever can change the folder can change it, too.
    """
    sidecar = read_sidecar(folder)
    checks = [_file(folder, name, said) for name, said in sidecar["files"].items()]
    strangers = unlisted(folder, list(sidecar["files"]))
    checks.append(Checked("files that the sidecar does not list", not strangers, strangers or "none"))
    if base is None and sidecar.get("adapter_ranks"):
        checks.append(Checked("values of the projector", None, "an adapter; give its base to compare them"))
    else:
        found = values_hash(read_projector(_read_as(folder, sidecar), base))
        checks.append(_same("values of the projector", found, sidecar.get("repaired_values_sha256")))
    if suspect is None:
        checks.append(Checked("all but the projector, against the suspect", None, "give the suspect to compare it"))
    else:
        checks += _against(sidecar, suspect if isinstance(suspect, Source) else resolve(suspect), base)
    return Verification(tuple(checks), sidecar)


def _read_as(folder: Path, sidecar: dict) -> Source:
    """The folder, or the one file in it, with the family that the user said it is of."""
    lone, family = sidecar.get("lone"), sidecar.get("family")
    path = folder / lone if isinstance(lone, str) and is_plain(lone) else folder
    return resolve(f"{path}#{family}") if isinstance(family, str) else resolve(path)


def _file(folder: Path, name: str, said: dict) -> Checked:
    path = folder / name
    if path.is_symlink() or not path.is_file():
        return Checked(name, False, "is missing")
    return _same(name, sha256_outside(path, ()), said.get("sha256"))


def _same(what: str, found: str, said: object) -> Checked:
    return Checked(what, found == said, f"SHA-256 {found[:16]}…" + ("" if found == said else ", not the one stated"))


def _against(sidecar: dict, suspect: Source, base: Source | str | None) -> list[Checked]:
    """The suspect's own files, without the bytes that were replaced, against what the sidecar says of them."""
    form = form_of(suspect, resolve(base) if isinstance(base, str) else base)
    own = {(info.file.name, info.begin, info.nbytes) for info in places(form).values()}
    strange = [each for each in sidecar["changed"] if tuple(each.get(k) for k in ("file", "begin", "bytes")) not in own]
    checks = [
        Checked("only the projector changed", not strange, f"{len(strange)} other places" if strange else "so it is")
    ]
    for name in form.files:
        spans = [
            (each["begin"], each["begin"] + each["bytes"])
            for each in sidecar["changed"]
            if each.get("file") == name and all(type(each.get(k)) is int for k in ("begin", "bytes"))
        ]
        said = sidecar["files"].get(name, {})
        expected = said.get("unchanged_sha256" if spans else "sha256")
        checks.append(_same(f"{name} without the projector, in the suspect", sha256_outside(form.folder / name, spans),
                            expected))  # fmt: skip
    return checks
