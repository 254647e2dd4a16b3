"""A folder of pictures with label files: which file belongs to which picture, and in which format they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Self

from whc.data.sources import SkippedFile
from whc.data.split_names import split_named
from whc.errors import DataError, problem
from whc.tasks.detection import coco, listing, voc, yolo
from whc.tasks.detection.annotations import Annotations

FOLDERS_OF_LABELS = {"images": ("labels", "annotations", "Annotations"), "JPEGImages": ("Annotations", "labels")}

_LOOKED_AT = 50  # label files that may have no box before a folder is no folder of labels
_LOOKS_LIKE_LABELS: Mapping[str, Callable[[Path], bool]] = {
    yolo.SUFFIX: yolo.looks_like_labels,
    voc.SUFFIX: voc.looks_like_labels,
}


@dataclass(frozen=True)
class LabelledFolder:
    """Names of all files below a folder; `label_path` is where labels lie, if told.

    A picture's labels lie beside it, or in the folder of labels (`labels`) beside the last folder of pictures
    (`images`) in its path. Paths are text, as there may be many.
    """

    root: Path
    names: Sequence[str]
    label_path: Path | None

    @classmethod
    def listed(cls, root: Path, label_path: Path | None, left_out: list[SkippedFile]) -> Self:
        """List a folder; what cannot be looked at is added to `left_out`."""
        return cls(root, listing.names_below(root, left_out), label_path)

    @cached_property
    def pictures(self) -> list[str]:
        """Names of those files that are pictures."""
        return listing.pictures_among(self.root, self.names)

    def annotations(self) -> Annotations:
        """What the label files say.

        Raises:
            DataError: there are none, or those of several formats, or one is not as it must be.
        """
        formats = self.formats
        if len(formats) > 1:
            next_step = "name the folder or the .json file of the labels with --labels"
            raise DataError(problem(str(self.root), "must have labels of one format", formats, next_step))
        if not formats:
            rule = (
                "must hold labels of its pictures, .txt (YOLO) or .xml (VOC) beside them or in labels/, or .json (COCO)"
            )
            where = self.label_path or self.root
            raise DataError(f"{where}: {rule}, got none that hold a box; name their folder or file with --labels")
        if formats == [coco.SUFFIX]:
            return coco.read(self._json_files, self.root, self.pictures)
        (suffix,) = formats
        files = {name: Path(path) for name, path in self._files[suffix].items()}
        shown = {name: self._shown(path) for name, path in files.items()}
        if suffix == voc.SUFFIX:
            found = voc.read(files, shown, self.root)
        else:
            found = yolo.read(files, shown, self._name_files())
        self._tell_unused(suffix, found)
        return found

    @cached_property
    def formats(self) -> list[str]:
        """Suffixes of the label files that are there and hold a box."""
        if self.label_path is not None and not self.label_path.is_dir():
            return [coco.SUFFIX]
        found = [coco.SUFFIX] if self._json_files else []
        for suffix, looks_like_labels in _LOOKS_LIKE_LABELS.items():
            filled = (path for path in map(Path, self._files[suffix].values()) if path.stat().st_size)
            if any(looks_like_labels(path) for path, _ in zip(filled, range(_LOOKED_AT), strict=False)):
                found.append(suffix)
        return found

    @cached_property
    def _json_files(self) -> list[Path]:
        path = self.label_path
        if path is None:
            files = coco.json_files(self.root, self.names)
        elif path.is_dir():
            files = [path / name for name in listing.names_below(path, []) if name.lower().endswith(coco.SUFFIX)]
        else:
            return [path]
        return [file for file in files if coco.looks_like_labels(file)]

    @cached_property
    def _candidates(self) -> Mapping[str, list[str]]:
        """Paths of files by suffix that may be labels; lists of splits and of classes are none."""
        if self.label_path is None:
            outside = (Path(path) for path in _beside(str(self.root)))
            roots = [path for path in outside if path.is_dir() and not path.is_relative_to(self.root)]
        else:
            roots = [self.label_path]
        listed = {root: listing.names_below(root, []) for root in roots}
        if self.label_path is None:
            listed[self.root] = list(self.names)
        found: dict[str, list[str]] = {suffix: [] for suffix in _LOOKS_LIKE_LABELS}
        for root, names in listed.items():
            for name in names:
                suffix = name[-4:].lower()
                if suffix in found and (not _is_reserved(name) or _LOOKS_LIKE_LABELS[suffix](root / name)):
                    found[suffix].append(f"{root}/{name}")
        return found

    @cached_property
    def _files(self) -> Mapping[str, dict[str, str]]:
        """The label file of each picture that has one, by suffix."""
        found: dict[str, dict[str, str]] = {}
        for suffix, paths in self._candidates.items():
            there = set(paths)
            found[suffix] = {}
            for name in self.pictures if there else ():
                path = next((path for path in self._places(name, suffix) if path in there), None)
                if path is not None:
                    found[suffix][name] = path
        return found

    @cached_property
    def _stems(self) -> Counter[str]:
        """Names of pictures without folders and suffixes, counted."""
        return Counter(PurePosixPath(name).stem for name in self.pictures)

    def _places(self, name: str, suffix: str) -> Iterator[str]:
        folders, slash, file = name.rpartition("/")
        path = f"{folders}{slash}{file.rpartition('.')[0] or file}{suffix}"
        if self.label_path is None:
            yield f"{self.root}/{path}"
            yield from _beside(f"{self.root}/{path}")
            return
        yield f"{self.label_path}/{path}"
        yield f"{self.label_path}/" + "/".join(part for part in path.split("/") if part not in listing.PICTURE_FOLDERS)
        if self._stems[PurePosixPath(path).stem] == 1:
            yield f"{self.label_path}/{path.rpartition('/')[2]}"

    def _name_files(self) -> list[Path]:
        """Files that may name the classes: with the labels, with the pictures, or in the folder above `images`."""
        roots = [self.label_path or self.root]
        roots += [root.parent for root in roots if root.name in ("images", "labels")]
        roots += [self.root, *map(Path, _beside(str(self.root)))]
        named = (name for name in self.names if name.rpartition("/")[2] in yolo.NAME_FILES)
        below = [self.root / name for name in sorted(named, key=lambda name: name.count("/"))]
        places = [root / name for root in roots for name in yolo.NAME_FILES]
        places += [path for name in yolo.NAME_FILES for path in below if path.name == name]
        return [path for path in dict.fromkeys(places) if path.is_file() and not path.is_symlink()]

    def _tell_unused(self, suffix: str, found: Annotations) -> None:
        """Tell label files without a picture; of pictures whose labels lie elsewhere, only where there are such."""
        elsewhere: set[str] = set()
        for text in set(self._candidates[suffix]) - set(self._files[suffix].values()):
            path = Path(text)
            if path.stem in self._stems:
                elsewhere.add(self._shown(path.parent))
            elif _LOOKS_LIKE_LABELS[suffix](path) or not path.stat().st_size:
                found.leave_out(self._shown(path), "no picture", "labels without a picture of their name")
        if elsewhere:
            found.notes.append(f"label files not used in {', '.join(sorted(elsewhere))}; --labels chooses a folder")

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)


def _beside(path: str) -> Iterator[str]:
    """The same path below each folder of labels that belongs to its last folder of pictures."""
    parts = path.split("/")
    last = max((i for i, part in enumerate(parts) if part in FOLDERS_OF_LABELS), default=None)
    if last is not None:
        for folder in FOLDERS_OF_LABELS[parts[last]]:
            yield "/".join([*parts[:last], folder, *parts[last + 1 :]])


def _is_reserved(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file in yolo.NAME_FILES or split_named(file[:-4]) is not None
