"""Reads Parquet files of any writer into columns that each have a fixed type."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from whc.data import shards
from whc.errors import DataError, problem

IMAGE_COLUMNS = ("image_bytes", "image")  # of whc, and of Hugging Face

# Types of times written as text, in the order of the attempts: numbers, then ISO 8601.
_TIME_TYPES = (pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC"))
_CHUNK_BYTES = 1 << 20
_FRAME_RATE = "whc.frame_rate"

MAX_UNPACKED_BYTES = 1 << 30  # of a small file; large files may unpack to _MAX_RATIO times their size
_MAX_RATIO = 100
_MIN_CELL_BYTES = 8  # of a row in a column


@dataclass(frozen=True)
class Content:
    """All rows of a data set.

    `columns` has those of split, image_path, video_id, person_id, source (large_string), timestamp (numbers in order of
    time; all empty if the text holds no times) and labels (of the readers' types) that the files have. `encoded` has
    the image files (large_binary), None if no column holds or names images. `names` are the columns of the first file,
    `frame_rate` is in frames a second. `fingerprint` changes with the files and the pictures that they name. `metadata`
    are those whose names begin with `whc.`.
    """

    columns: pa.Table
    encoded: pa.ChunkedArray | None
    names: tuple[str, ...]
    frame_rate: float | None
    fingerprint: str
    metadata: Mapping[str, str]


Columns = dict[str, pa.ChunkedArray]
Reader = Callable[[str, pa.ChunkedArray, Mapping[bytes, bytes]], Columns]
"""Converts a column to columns of fixed types, from its name, its values, and the file's metadata.

Raises pa.ArrowException if the column is of another kind.
"""
Readers = Mapping[str, tuple[str, Reader]]


def read(paths: Sequence[Path], label_readers: Readers) -> Content:
    """Read Parquet files or folders of shards as one data set.

    Columns may be dictionaries, or large or view types; images may be bytes, lists of bytes, or structs of bytes and
    path as Hugging Face's `datasets` writes them; their metadata also name integer labels. If a row has no bytes, the
    file of image_path is read, relative to the folder of the Parquet file. A file without a column split takes the
    split from its own name.

    Several files or folders have people and clips of their own, which get different names.

    Args:
        paths: Parquet files or folders, at least one.
        label_readers: for each label column, the required type in words, and its reader.

    Raises:
        DataError: a file is missing or corrupt, a column has another type, or the pictures of image_path are missing;
            or several files have different frame rates or label names.
    """
    readers = _COLUMN_READERS | dict(label_readers)
    parts = [_read_source(path, readers) for path in paths]
    if len(parts) == 1:
        return parts[0]
    rates = {part.frame_rate for part in parts}
    if len(rates) > 1:
        rule = "all must have the same frame rate"
        next_step = "build them again with the same --fps"
        raise DataError(problem(f"{paths[0]}, {paths[1]}", rule, sorted(map(str, rates)), next_step))
    _check_metadata(parts, paths)
    return Content(
        columns=pa.concat_tables(
            [_with_distinct_names(part, i) for i, part in enumerate(parts)], promote_options="permissive"
        ),
        encoded=_all_encoded(parts),
        names=tuple(dict.fromkeys(name for part in parts for name in part.names)),
        frame_rate=rates.pop(),
        fingerprint=hashlib.sha256("".join(part.fingerprint for part in parts).encode()).hexdigest()[:16],
        metadata={name: text for part in reversed(parts) for name, text in part.metadata.items()},
    )


def _check_metadata(parts: Sequence[Content], paths: Sequence[Path]) -> None:
    """Refuse data sets that tell different things of their labels, such as what the class numbers stand for."""
    for key in dict.fromkeys(key for part in parts for key in part.metadata if key != _FRAME_RATE):
        texts = list(dict.fromkeys(part.metadata[key] for part in parts if key in part.metadata))
        if len(texts) > 1:
            rule = f"all must have the same metadata {key}"
            next_step = "build them again with the same options"
            raise DataError(problem(", ".join(map(str, paths)), rule, texts, next_step))


def _with_distinct_names(part: Content, number: int) -> pa.Table:
    """The columns of a part, with its number in the names of people and clips."""
    columns = {name: part.columns[name] for name in part.columns.column_names}
    for name in ("person_id", "video_id"):
        if name in columns:
            beginning, between = (pa.scalar(text, pa.large_string()) for text in (f"{number}:", ""))
            columns[name] = pc.binary_join_element_wise(beginning, columns[name], between)
    return pa.table(columns)


def _all_encoded(parts: Sequence[Content]) -> pa.ChunkedArray | None:
    columns = [part.encoded for part in parts]
    if any(column is None for column in columns):
        return None
    return pa.chunked_array([chunk for column in columns if column is not None for chunk in column.chunks])


def _read_source(path: Path, readers: Readers) -> Content:
    """Read a Parquet file or a folder of shards."""
    files, digest = shards.data_files(path), hashlib.sha256()
    tables, names = zip(*(_read_file(file, readers) for file in files), strict=True)
    cleaned = [_cleaned(table, readers, file) for table, file in zip(tables, files, strict=True)]
    for file in files:
        _add_file(digest, file, is_shard=len(files) > 1)
    # A column that some shards lack is empty in them.
    combined = pa.concat_tables(cleaned, promote_options="permissive")
    encoded = combined["image_bytes"] if "image_bytes" in combined.column_names else None
    if "image_path" in combined.column_names:
        encoded = _with_files(path, files[0].parent, combined["image_path"], encoded, digest)
    metadata = tables[0].schema.metadata or {}
    return Content(
        columns=combined.select([name for name in combined.column_names if name != "image_bytes"]),
        encoded=encoded,
        names=tuple(names[0]),
        frame_rate=_frame_rate(tables[0].schema, files[0]),
        fingerprint=digest.hexdigest()[:16],
        metadata={
            name.decode(errors="replace"): text.decode(errors="replace")
            for name, text in metadata.items()
            if name.startswith(b"whc.")
        },
    )


def column_names(path: Path) -> tuple[str, ...]:
    """Names of the columns of a data set, as they are in its first file.

    Raises:
        DataError: the data set is missing or corrupt.
    """
    file = shards.data_files(path)[0]
    with _readable(file):
        return tuple(pq.read_schema(file).names)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason, _, _ = str(error).partition("\n")
        raise DataError(f"{file}: must be a readable Parquet file, got: {reason}; copy or build it again") from error


def _read_file(file: Path, readers: Readers) -> tuple[pa.Table, list[str]]:
    """The columns that data sets use, not yet converted, and the names of all columns."""
    with _readable(file):
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            image = next((name for name in IMAGE_COLUMNS if name in names), None)
            used_names = [name for name in names if name in readers or name == image]
            _check_size(opened.metadata, len(used_names), file)
            table = opened.read(used_names)
        table.validate(full=True)
    repeated = next((name for name in used_names if used_names.count(name) > 1), None)
    if repeated:
        count = used_names.count(repeated)
        raise DataError(problem(f"{file}: {repeated}", "must be one column", count, "drop the others"))
    return table, names


def _check_size(metadata: pq.FileMetaData, columns: int, file: Path) -> None:
    """Refuse a small file that unpacks to very many bytes; real pictures are compressed already."""
    groups = (metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    unpacked_bytes = max(sum(groups), metadata.num_rows * columns * _MIN_CELL_BYTES)
    limit_bytes = max(MAX_UNPACKED_BYTES, _MAX_RATIO * file.stat().st_size)
    if unpacked_bytes > limit_bytes:
        rule = f"must not unpack to more than {limit_bytes} bytes"
        raise DataError(problem(str(file), rule, unpacked_bytes, "build it again"))


def _add_file(digest: Any, file: Path, is_shard: bool) -> None:
    if is_shard:  # its split may come from its name
        digest.update(file.name.encode("utf-8", "surrogateescape"))
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)


def _cleaned(table: pa.Table, readers: Readers, file: Path) -> pa.Table:
    """The columns that data sets use, each converted to its type."""
    columns: Columns = {}
    for name in table.column_names:
        kind, reader = ("bytes", _images) if name in IMAGE_COLUMNS else readers[name]
        try:
            parts = reader(name, _plain(table[name]), table.schema.metadata or {})
        except pa.ArrowException as error:
            rule = f"must be a column of {kind}"
            raise DataError(problem(f"{file}: {name}", rule, str(table[name].type), "convert the column")) from error
        # A column of the file has priority over a column that the reader of another column adds.
        columns |= {part: values for part, values in parts.items() if part == name or part not in table.column_names}
    split = shards.split_in_name(file)
    if "split" not in columns and split:
        columns["split"] = pa.chunked_array([pa.repeat(pa.scalar(split, pa.large_string()), table.num_rows)])
    return pa.table(columns)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary column as its values; any other column unchanged."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _required(is_right: bool) -> None:
    if not is_right:
        raise pa.ArrowTypeError  # as for a column that Arrow cannot convert


def text(name: str, column: pa.ChunkedArray, metadata: Mapping[bytes, bytes]) -> Columns:
    """Read a column of text."""
    del metadata
    _required(_is_text(column.type) or pa.types.is_null(column.type))
    return {name: column.cast(pa.large_string())}


def _names(name: str, column: pa.ChunkedArray, metadata: Mapping[bytes, bytes]) -> Columns:
    del metadata
    return {name: column.cast(pa.large_string())}


def integers(name: str, column: pa.ChunkedArray, metadata: Mapping[bytes, bytes]) -> Columns:
    """Read a column of integers, as int64."""
    del metadata
    _required(pa.types.is_integer(column.type) or pa.types.is_null(column.type))
    return {name: column.cast(pa.int64())}


def numbers(name: str, column: pa.ChunkedArray, metadata: Mapping[bytes, bytes]) -> Columns:
    """Read a column of numbers of any kind, as float64; empty cells stay empty."""
    del metadata
    kind = column.type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    _required(is_number or pa.types.is_null(kind))
    return {name: column.cast(pa.float64())}


def _times(name: str, column: pa.ChunkedArray, metadata: Mapping[bytes, bytes]) -> Columns:
    del metadata
    kind = column.type
    if _is_text(kind):
        column, kind = _read_times(column), pa.null()
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        column = column.cast(pa.int32())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not pa.types.is_floating(column.type):
        column = column.cast(pa.int64())
    return {name: column}


def _read_times(text: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_trim_whitespace(text.cast(pa.large_string()))
    for kind in _TIME_TYPES:
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            continue
    return pa.chunked_array([pa.nulls(len(text))])


def _images(name: str, column: pa.ChunkedArray, metadata: Mapping[bytes, bytes]) -> Columns:
    """Read image files, and their paths if a struct has them."""
    del name
    paths: Columns = {}
    if pa.types.is_struct(column.type):
        fields = {field.name: field.type for field in column.type}
        _required("bytes" in fields)
        if "path" in fields:
            paths = _names("image_path", pc.struct_field(column, "path"), metadata)
        column = _plain(pc.struct_field(column, "bytes"))
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = pa.chunked_array([_joined(chunk) for chunk in column.chunks], pa.large_binary())
    _required(not _is_text(column.type))
    return paths | {"image_bytes": column.cast(pa.large_binary())}


def _joined(lists: pa.Array) -> pa.Array:
    """Lists of numbers 0..255 as bytes; lists of bytes are not copied."""
    lists = lists.cast(pa.large_list(pa.uint8()))
    _required(lists.values.null_count == 0)
    buffers = [*lists.buffers()[:2], lists.values.buffers()[1]]
    if lists.values.offset:
        buffers[2] = buffers[2].slice(lists.values.offset)
    return pa.Array.from_buffers(pa.large_binary(), len(lists), buffers, offset=lists.offset)


_COLUMN_READERS: dict[str, tuple[str, Reader]] = {
    "split": ("text", text),
    "image_path": ("text", _names),
    "video_id": ("text or numbers", _names),
    "person_id": ("text or numbers", _names),
    "source": ("text or numbers", _names),
    "timestamp": ("numbers or times", _times),
}


def class_names(metadata: Mapping[bytes, bytes]) -> list[str]:
    """The class names of `label` in the metadata of Hugging Face's `datasets`; empty if there are none."""
    try:
        node = json.loads(metadata.get(b"huggingface", b"{}"))
    except (ValueError, RecursionError):
        return []
    for key in ("info", "features", "label", "names"):
        node = node.get(key) if isinstance(node, dict) else None
    return [str(name) for name in node] if isinstance(node, list) else []


def class_labels(numbers: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    """Names of class numbers; a number without a name becomes its own name, and a negative number is an empty cell."""

    def name(number: int | None) -> str | None:
        if number is None or number < 0:
            return None
        return names[number] if number < len(names) else str(number)

    return pa.chunked_array([pa.array(map(name, numbers.to_pylist()), pa.large_string())])


def _frame_rate(schema: pa.Schema, file: Path) -> float | None:
    text = (schema.metadata or {}).get(_FRAME_RATE.encode())
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        rule = "must be a number of frames a second"
        raise DataError(problem(f"{file}: metadata whc.frame_rate", rule, text.decode(errors="replace"), "mend it"))
    return rate


def _with_files(
    path: Path, folder: Path, names: pa.ChunkedArray, encoded: pa.ChunkedArray | None, digest: Any
) -> pa.ChunkedArray:
    """Image files; rows without bytes get the content of the file in image_path."""
    if encoded is None:
        encoded = pa.chunked_array([pa.nulls(len(names), pa.large_binary())])
    is_empty = pc.equal(pc.fill_null(pc.binary_length(encoded), 0), 0).to_numpy()
    rows = np.flatnonzero(is_empty & pc.is_valid(names).to_numpy())
    if not len(rows):
        return encoded
    paths = [folder / name for name in names.take(rows).to_pylist()]
    with ThreadPoolExecutor() as pool:
        new_contents = list(pool.map(_file_content, paths))
    if not any(new_contents):
        if is_empty.all():
            rule = f"must name pictures that are there, got none of {len(rows)}, the first {str(paths[0])!r}"
            raise DataError(f"{path}: image_path: {rule}; put the pictures there, or build the file with image_bytes")
        return encoded
    contents = encoded.to_pylist()
    for row, content in zip(rows.tolist(), new_contents, strict=True):
        digest.update(hashlib.sha256(content).digest())
        contents[row] = content
    return pa.chunked_array([pa.array(contents, pa.large_binary())])


def _file_content(path: Path) -> bytes:
    """The content of a picture's file, empty if it cannot be read; paths may have Windows separators."""
    for spelling in (path, Path(str(path).replace("\\", "/"))):
        try:
            if spelling.is_file():
                return spelling.read_bytes()
        except (OSError, ValueError):  # ValueError: a name that no file system allows
            continue
    return b""
