"""A case bundle: a record as one zip of JSON, which reopens without weights.

    manifest.json         format and version, provenance, what is missing, SHA-256 of each exhibit's file
    exhibits/NAME.json    one exhibit: metrics, charts as Vega-Lite, tables, data, notes

Reading one is reading a stranger's file. It holds data only, never code; its count, sizes and ratio are bounded while
it is unpacked, whatever its headers claim, and the number of values in it before any of them is made; it is unpacked in
memory, so no path of it ever meets the disk; all of it has to follow one schema, and its charts the grammar of ours.
"""

import hashlib
import json
import math
import zipfile
import zlib
from dataclasses import asdict
from io import BytesIO
from typing import Any

import jsonschema
import pandas as pd

from projlens_core.analyses.exhibit import Chart, Exhibit, Metric, Table
from projlens_core.errors import InvalidInput, Unsupported
from projlens_core.report.drawing import StoredChart, specification
from projlens_core.report.inert import require_inert
from projlens_core.report.record import Missing, Provenance, Record
from projlens_core.report.schema import EXHIBIT, MANIFEST
from projlens_core.runtime.plain import as_json, plain
from projlens_core.runtime.text import printable

FORMAT, FORMAT_VERSION = "projlens-case", 2
MANIFEST_FILE = "manifest.json"
MAX_FILES = 64
MAX_ZIPPED = 64 * 2**20  # bytes of the bundle itself
MAX_FILE = 64 * 2**20  # bytes of one file, unpacked
MAX_TOTAL = 192 * 2**20  # bytes of all of them
MAX_VALUES = 3_000_000  # of JSON, in all files together: each becomes an object of 50 bytes and more
MAX_DEPTH = 40  # of tables in tables
MAX_CHARTS = 400  # in all exhibits together
MAX_CELL = 1_000_000  # characters of a table's cell
_ENTRY = b"PK\x01\x02"  # how each entry of a zip's directory begins
_EPOCH = (1980, 1, 1, 0, 0, 0)  # one date for all files: the same record makes the same bytes


def pack(record: Record) -> bytes:
    """The bundle of a record; the same record makes the same bytes. InvalidInput if it exceeds what `unpack` reads."""
    files = {f"exhibits/{exhibit.key}.json": _json(_exhibit_dict(exhibit)) for exhibit in record.exhibits}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "title": record.title,
        "provenance": asdict(record.provenance),
        "missing": [asdict(part) for part in record.missing],
        "exhibits": [{"file": name, "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()],
    }
    files = {MANIFEST_FILE: _json(manifest), **files}
    _check_values(files)
    for name, data in files.items():
        if len(data) > MAX_FILE:
            raise InvalidInput(
                f"{name} has {len(data):,} bytes, more than the {MAX_FILE:,} that a bundle's file holds."
            )
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def unpack(data: bytes) -> Record:
    """The record in a bundle.

    Raises Unsupported for another version of the format, and InvalidInput, in one sentence, for anything that is not
    a bundle as `pack` writes it: not a zip, damaged, changed after it was written, too large, not following the
    schema, or with a chart that would load something.
    """
    if len(data) > MAX_ZIPPED:
        raise InvalidInput(f"The bundle has {len(data):,} bytes, more than the {MAX_ZIPPED:,} that are read.")
    files = _unzipped(data)
    _check_values(files)
    if MANIFEST_FILE not in files:
        raise InvalidInput(f"The file holds no {MANIFEST_FILE}, so it is no case bundle of ProjLens.")
    manifest = _parsed(MANIFEST_FILE, files[MANIFEST_FILE])
    _check_format(manifest)
    _check_schema(MANIFEST_FILE, manifest, MANIFEST)
    _check_depth(MANIFEST_FILE, manifest["provenance"]["settings"])
    listed = {entry["file"]: entry["sha256"] for entry in manifest["exhibits"]}
    if listed.keys() != files.keys() - {MANIFEST_FILE} or len(listed) != len(manifest["exhibits"]):
        odd = sorted(listed.keys() ^ (files.keys() - {MANIFEST_FILE}))
        raise InvalidInput(f"The bundle's manifest and its files disagree{_about(odd)}; it was changed or cut.")
    exhibits, charts = [], 0
    for name, digest in listed.items():
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise InvalidInput(f"{printable(name)} is not what the bundle's manifest says; it was changed.")
        document = _parsed(name, files[name])
        _check_schema(name, document, EXHIBIT)
        _check_depth(name, document["data"])
        charts += len(document["charts"])
        if charts > MAX_CHARTS:
            raise InvalidInput(f"The bundle holds more than the {MAX_CHARTS} charts that are read.")
        exhibits.append(_exhibit(name, document))
    if len({exhibit.key for exhibit in exhibits}) != len(exhibits):
        raise InvalidInput("The bundle holds two exhibits of one name.")
    return Record(
        title=manifest["title"],
        provenance=Provenance(**manifest["provenance"]),
        exhibits=tuple(exhibits),
        missing=tuple(Missing(**part) for part in manifest["missing"]),
    )


def _unzipped(data: bytes) -> dict[str, bytes]:
    """The files by name, each read at most to its bound: what the directory says of sizes is not believed."""
    if data.count(_ENTRY) > 4 * MAX_FILES:  # before the directory is read, an object an entry
        raise InvalidInput(f"The bundle holds more than the {MAX_FILES} files that are read.")
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_FILES:
                raise InvalidInput(f"The bundle holds {len(entries):,} files, more than the {MAX_FILES} that are read.")
            if len({entry.filename for entry in entries}) != len(entries):
                raise InvalidInput("The bundle holds two files of one name.")
            files, total = {}, 0
            for entry in entries:
                name = printable(entry.filename)
                if entry.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED) or entry.flag_bits & 1:
                    raise InvalidInput(f"{name} is packed in a way that a case bundle is not.")
                with archive.open(entry) as file:
                    held = file.read(min(MAX_FILE, MAX_TOTAL - total) + 1)
                total += len(held)
                if len(held) > MAX_FILE or total > MAX_TOTAL:
                    raise InvalidInput(f"{name} unpacks to more than a case bundle holds; it was not read.")
                files[entry.filename] = held
            return files
    # what zipfile raises on damage; RuntimeError and NotImplementedError for encryption and odd methods
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, IndexError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"The file is no case bundle, or a damaged one ({_reason(error)}).") from error


def _check_values(files: dict[str, bytes]) -> None:
    """InvalidInput for more values than are read, before one is made of the text.

    A comma or a bracket stands before every value but the first, so that there are no more values than these; those
    in texts are counted with them.
    """
    values = sum(data.count(b",") + data.count(b"[") + data.count(b"{") for data in files.values())
    if values > MAX_VALUES:
        raise InvalidInput(f"The bundle holds {values:,} values, more than the {MAX_VALUES:,} that are read.")


def _parsed(name: str, data: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"it holds {constant}")

    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{printable(name)} of the bundle is not JSON ({_reason(error)}).") from error


def _check_format(manifest: object) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InvalidInput(f"{MANIFEST_FILE} is not that of a case bundle of ProjLens.")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise Unsupported(
            f"The bundle has format version {_cut(str(manifest.get('format_version'))[:20])}, and this ProjLens reads "
            f"{FORMAT_VERSION} only: results of different versions are not mixed; generate it again with this one."
        )


def _check_schema(name: str, document: object, schema: dict) -> None:
    # the first, not the best: a document may be wrong in a million places
    error = next(jsonschema.Draft202012Validator(schema).iter_errors(document), None)
    if error is not None:
        place = "/".join(map(str, error.absolute_path)) or "its top"
        raise InvalidInput(
            f"{printable(name)} of the bundle is not as expected at {_cut(place)}: {_cut(error.message)}."
        )


def _check_depth(name: str, value: object, depth: int = 0) -> None:
    """What comes next walks through it by recursion."""
    if depth > MAX_DEPTH:
        raise InvalidInput(f"{printable(name)} of the bundle is nested more than {MAX_DEPTH} deep.")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(name, item, depth + 1)


def _exhibit_dict(exhibit: Exhibit) -> dict:
    return vars(exhibit) | {
        "metrics": [asdict(metric) for metric in exhibit.metrics],
        "charts": [_chart_dict(chart) for chart in exhibit.charts],
        "tables": [_table_dict(table) for table in exhibit.tables],
        "notes": list(exhibit.notes),
    }


def _chart_dict(chart: Chart) -> dict:
    spec: Any = plain(specification(chart.chart))  # as it will be read: numpy's numbers are Python's
    require_inert(spec)
    return {"name": chart.name, "spec": spec, "caption": chart.caption, "alt": chart.alt}


def _table_dict(table: Table) -> dict:
    frame = table.frame.astype(object).where(table.frame.notna(), None)
    return {
        "name": table.name,
        "columns": [str(column) for column in frame.columns],
        "rows": frame.to_numpy().tolist(),
        "caption": table.caption,
        "help": table.help,
    }


def _exhibit(name: str, document: dict) -> Exhibit:
    parts = {
        "metrics": tuple(Metric(**metric) for metric in document["metrics"]),
        "charts": tuple(_chart(name, chart) for chart in document["charts"]),
        "tables": tuple(_table(name, table) for table in document["tables"]),
        "notes": tuple(document["notes"]),
    }
    return Exhibit(**document | parts)  # the schema has let through these names and no other


def _chart(name: str, document: dict) -> Chart:
    spec = document["spec"]
    try:
        require_inert(spec)
    except InvalidInput as error:
        raise InvalidInput(f"{printable(name)}, chart {printable(document['name'])}: {error}") from error
    return Chart(document["name"], StoredChart(spec), document["caption"], document["alt"])


def _table(name: str, document: dict) -> Table:
    columns, place = document["columns"], f"{printable(name)}, table {printable(document['name'])}"
    if len(set(columns)) != len(columns):
        raise InvalidInput(f"{place}: two columns have one name.")
    if any(not isinstance(row, list) or len(row) != len(columns) for row in document["rows"]):
        raise InvalidInput(f"{place}: a row is not as wide as the head.")
    if not all(_is_cell(cell) for row in document["rows"] for cell in row):
        raise InvalidInput(f"{place}: a cell is no number and no text of up to {MAX_CELL:,} characters.")
    frame = pd.DataFrame(document["rows"], columns=columns)
    return Table(document["name"], frame, document["caption"], document["help"])


def _is_cell(value: object) -> bool:
    match value:
        case None | bool():
            return True
        case str():
            return len(value) <= MAX_CELL
        case int():
            return -(2**63) <= value < 2**63
        case float():
            return math.isfinite(value)  # JSON has larger ones than there are
    return False


def _json(document: dict) -> bytes:
    return as_json(document).encode()


def _about(names: list[str]) -> str:
    return f" about {printable(names[0])}" if names else ""


def _reason(error: Exception) -> str:
    return _cut(" ".join(str(error).split()).rstrip(".") or type(error).__name__)


def _cut(text: str) -> str:
    return printable(text if len(text) <= 160 else text[:159] + "…")
