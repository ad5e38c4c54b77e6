"""What the pages share within one browser session: the case, the image, uploads. All session_state keys are here.

The URL carries the case and, if it is one that ships with ProjLens, the image; it wins over the session, so that a
link or the browser's back button reopens what it says.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import streamlit as st

from dashboard import links
from projlens_core.cases.case import PROJECTOR_ONLY, Case
from projlens_core.errors import InvalidInput
from projlens_core.inputs.images import NamedImage
from projlens_core.inputs.pairs import SAME
from projlens_core.report.record import Record
from projlens_core.sources import PREFIX, ZooEntry

CASE = "case"
IMAGE = "picture"  # content hash of the image on screen
PATCH = "patch"  # begins the keys of the chosen patch; its name in the URL
UPLOADS = "uploads"  # {content hash: Image}, newest last
MERGED = "merged"  # [(file name, name of the image with the same pixels)] of the last upload
DELETED = "deleted"  # {content hash: NamedImage} of the last deletion
SELECTED = "selected"  # content hashes of the images picked out in the gallery
REFUSED = "refused"  # [(file name, sentence)] of the last upload
UPLOAD_ROUND = "upload_round"  # part of the uploader's key: a new number empties it
BATCH = "batch"  # the last Batch
STOPPED = "stopped"  # the user stopped what was running

RECORD = "record"  # (case, the Record last made of it)
STORED = "stored"  # the Record of the bundle that was opened
BUNDLE_REFUSED = "bundle_refused"  # the sentence that says why the last one was not
BUNDLE_ROUND = "bundle_round"  # part of its uploader's key

MAX_PIXELS = 200_000_000  # of all uploads of a session together; 600 MB
MAX_UPLOADS = 1_000  # images of a session
PARAMS = ("base", "suspect", "control", PROJECTOR_ONLY)  # of a case, in the URL
IMAGE_PARAM = "picture"
FOUND_TRIGGERS = "found_triggers"  # {suspect: the TriggerSpec that a search found}
MADE_TRIGGERS = "made_triggers"  # {how it was made: the user's own TriggerSpec}
TRIGGER_REFUSED = "trigger_refused"  # {how: the sentence that says why the last one is none}
TRIGGER = "trigger"  # the picker's key, and its name in the URL


def sync(zoo: Mapping[str, ZooEntry]) -> None:
    """Bring URL and session in line: called once, first thing, by the router.

    Raises InvalidInput, and there is no case, if the URL names only half of one: figures of another case in its place
    would be taken for those of the one that was meant.
    """
    links.begin()
    params = st.query_params.to_dict()
    wrong = None
    if not params.keys().isdisjoint(PARAMS):
        try:
            _put(Case.from_params(params))
        except InvalidInput as error:
            wrong = error
    if wrong is not None:
        st.session_state[CASE] = None
    elif current_case() is None:
        st.session_state[CASE] = default_case(zoo)
    for name in (UPLOADS, FOUND_TRIGGERS, MADE_TRIGGERS, TRIGGER_REFUSED):
        st.session_state.setdefault(name, {})
    for name in (REFUSED, MERGED):
        st.session_state.setdefault(name, [])
    st.session_state.setdefault(UPLOAD_ROUND, 0)
    if case := current_case():
        _write_url(case)
    if wrong is not None:
        raise wrong


def address() -> dict[str, str]:
    """What a link to another page takes along: the case, the image, the trigger. With it, that page adds nothing to
    the address, and the browser's back button leaves it in one press."""
    now = st.query_params.to_dict()
    return {name: now[name] for name in (*PARAMS, IMAGE_PARAM) if name in now} | links.shared()


def write_address() -> None:
    """Have the address say what the page does: called where its controls are drawn, and last by the router."""
    links.write((*PARAMS, IMAGE_PARAM))


def current_case() -> Case | None:
    """The case on screen; None if nothing was chosen and there is no zoo to choose from."""
    return st.session_state.get(CASE)


def choose_case(case: Case) -> None:
    """Make `case` the one on screen, here and in the URL."""
    if _put(case):
        links.forget()
    _write_url(case)


def choose_zoo(zoo: Mapping[str, ZooEntry], suspect: str) -> None:
    """Make the zoo's case of this suspect the one on screen; nothing changes where the zoo has no base."""
    if case := zoo_case(zoo, suspect):
        choose_case(case)


def default_case(zoo: Mapping[str, ZooEntry]) -> Case | None:
    """The zoo's first suspect against its base, beside its first control: a dashboard never opens on nothing."""
    suspect = next((name for name, entry in zoo.items() if entry.role == "suspect"), None)
    return zoo_case(zoo, suspect) if suspect else None


def zoo_case(zoo: Mapping[str, ZooEntry], suspect: str) -> Case | None:
    """The zoo model `suspect` against the base of its kind, with the first other control; None if there is no base."""
    kind = {name: entry.role for name, entry in zoo.items() if entry.tiny == zoo[suspect].tiny}
    base = next((name for name, role in kind.items() if role == "base"), None)
    control = next((name for name, role in kind.items() if role == "control" and name != suspect), None)
    if base is None:
        return None
    return Case(PREFIX + base, PREFIX + suspect, PREFIX + control if control else None)


def uploads() -> dict[str, NamedImage]:
    """The images uploaded in this session, by content hash."""
    return st.session_state.setdefault(UPLOADS, {})


def everything(samples: Iterable[NamedImage], *, uploads_first: bool = False) -> dict[str, NamedImage]:
    """Samples and uploads by content hash, each once: an upload with a sample's pixels is the sample, of which more is
    known."""
    shipped, own = {sample.sha256: sample for sample in samples}, uploads()
    return own | shipped if uploads_first else shipped | own | shipped


def add_uploads(images: list[NamedImage], refused: list[tuple[str, str]], samples: Iterable[NamedImage] = ()) -> None:
    """Keep freshly decoded uploads, show the last of them, and remember which were refused and why.

    One with the pixels of an upload or sample that is there already is no second image: it is kept under both names,
    and that is remembered, too.
    """
    kept, shipped = uploads(), {sample.sha256: sample for sample in samples}
    st.session_state[MERGED] = []
    for image in images:
        same = kept.get(image.sha256) or shipped.get(image.sha256)
        if same is not None and image.name in same.name.split(SAME):
            image = same
        elif same is not None:
            st.session_state[MERGED].append((image.name, same.name))
            image = replace(image, name=f"{same.name}{SAME}{image.name}")
        held = sum(p.pixels.width * p.pixels.height for p in kept.values())
        full = len(kept) == MAX_UPLOADS or held + image.pixels.width * image.pixels.height > MAX_PIXELS
        if full and image.sha256 not in kept:
            full_of = f"uploads hold {len(kept):,} of {MAX_UPLOADS:,} images and {held:,} of {MAX_PIXELS:,} pixels"
            refused.append((image.name, f"Not kept: {full_of}; clear them first."))
            continue
        kept[image.sha256] = image
        st.session_state[IMAGE] = image.sha256
    st.session_state[REFUSED] = refused
    st.session_state[UPLOAD_ROUND] += 1


def clear_uploads() -> None:
    """Take away all uploads and refusals."""
    delete_uploads(list(uploads()))
    st.session_state[REFUSED] = st.session_state[MERGED] = []


def delete_uploads(keys: Iterable[str]) -> None:
    """Take away the uploads of these content hashes; the last deletion can be undone. What is none is left alone."""
    kept = uploads()
    wanted = set(keys)
    gone = {key: kept.pop(key) for key in list(kept) if key in wanted}  # in the order in which they came
    if gone:
        st.session_state[DELETED] = gone
        selected().difference_update(gone)


def deleted() -> dict[str, NamedImage]:
    """What the last deletion took away, until it is undone."""
    return st.session_state.get(DELETED, {})


def undo_delete() -> None:
    """Bring back what the last deletion took away."""
    add_uploads(list(deleted().values()), [])
    st.session_state[DELETED] = {}


def selected() -> set[str]:
    """The content hashes of the images that were picked out in the gallery; some may be gone by now."""
    return st.session_state.setdefault(SELECTED, set())


def choose_image(key: str) -> None:
    """Make the image with this content hash the one on screen."""
    st.session_state[IMAGE] = key


def patch_key(tokens: int) -> str:
    """The key of the number of the chosen patch of an image of so many, counted from 1, row by row; 0 for none."""
    return links.number(PATCH, 0, tokens, 0, f"{PATCH} of {tokens}")


def choose_patch(token: int, tokens: int) -> None:
    """Make the patch of this token, counted from 0, the one whose numbers are shown."""
    st.session_state[f"{PATCH} of {tokens}"] = token + 1


def current_patch(tokens: int) -> int | None:
    """The chosen patch, counted from 0; None if none of an image of so many was chosen."""
    number = st.session_state.get(patch_key(tokens))
    return number - 1 if number else None


def current_image(samples: tuple[NamedImage, ...]) -> NamedImage | None:
    """The image on screen: the chosen one, else the one the URL names, else the first there is."""
    offered = everything(samples)
    chosen = offered.get(st.session_state.get(IMAGE, ""))
    if named := links.news(IMAGE_PARAM):
        chosen = next((p for p in samples if p.name == named), chosen)
    if chosen is None:
        chosen = next(iter(offered.values()), None)
    if chosen is None:
        return None
    st.session_state[IMAGE] = chosen.sha256
    named = st.query_params.get(IMAGE_PARAM)
    sample = next((each for each in samples if each.sha256 == chosen.sha256), None)  # an upload may be that, too
    if sample is not None:
        if named != sample.name and (named or sample is not samples[0]):  # the first is shown without being named
            links.put(IMAGE_PARAM, sample.name)
    elif named:
        st.query_params.pop(IMAGE_PARAM)  # an upload cannot be reopened from a link
    return chosen


def stop() -> None:
    """Callback of a click that interrupts what is running: the script starts again without it."""
    st.session_state[STOPPED] = True


def stopped() -> bool:
    """Whether the script runs because of such a click; true once a click."""
    return st.session_state.pop(STOPPED, False)


def show_stored(record: Record) -> None:
    """Show a bundle's record in the place of the case's own."""
    st.session_state[STORED] = record
    st.session_state[BUNDLE_REFUSED] = None
    _empty_bundle_uploader()


def refuse_stored(reason: str) -> None:
    """Say why a bundle was not opened; what was shown before stays."""
    st.session_state[BUNDLE_REFUSED] = reason
    _empty_bundle_uploader()


def close_stored() -> None:
    """Back to the case."""
    st.session_state[STORED] = st.session_state[BUNDLE_REFUSED] = None


def _empty_bundle_uploader() -> None:
    st.session_state[BUNDLE_ROUND] = st.session_state.get(BUNDLE_ROUND, 0) + 1


def _put(case: Case) -> bool:
    """Take up a case, and say whether its suspect is another one.

    That one starts with its own trigger: what was chosen before was chosen for another.
    """
    former = current_case()
    another = former is None or case.suspect != former.suspect
    if another:
        st.session_state.pop(TRIGGER, None)
    st.session_state[CASE] = case
    return another


def _write_url(case: Case) -> None:
    """All of the case at once: each message to the browser that changes the address is a step of its history."""
    now, wanted = st.query_params.to_dict(), case.to_params()
    if {name: now[name] for name in PARAMS if name in now} == wanted:
        return
    for name in PARAMS:
        if name in now and name not in wanted:
            st.query_params.pop(name)
    st.query_params.update(wanted)
