"""What `detect` reads: images, videos, folders of both and cameras, each with an output name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from search_spaces.errors import ConfigError, DataError
from search_spaces.files import visible_files


@dataclass(frozen=True, kw_only=True)
class Source:
    """One image, video or camera.

    Attributes:
        path: the file; of a camera, its number.
        output: relative path of its drawing, different for all sources.
    """

    path: Path
    output: Path

    @property
    def is_camera(self) -> bool:
        """Whether this is a camera: a number that names no file."""
        return _is_camera(self.path)

    @property
    def is_video(self) -> bool:
        """Whether this has frames: a video or a camera."""
        return self.output.suffix == ".mp4"

    @property
    def opened(self) -> Path | int:
        """What `trials.data.videos.open_video` takes."""
        return int(str(self.path)) if self.is_camera else self.path


def find_sources(inputs: Sequence[Path]) -> list[Source]:
    """Return the sources of files, folders and camera numbers, those of a folder sorted.

    Outputs keep their path below the folder; no two have the same name.

    Raises:
        DataError: a folder holds neither images nor videos.
    """
    taken: set[Path] = set()
    return [Source(path=path, output=_unique(name, taken)) for path, name in _files(inputs)]


def require_other_folder(sources: Sequence[Source], folder: Path | None, flag: str) -> None:
    """Raise ConfigError if an output in `folder` would lie beside its source, or replace it."""
    if folder is None:
        return
    for source in sources:
        own = source.path.parent.resolve()
        if not source.is_camera and (folder / source.output).parent.resolve() == own:
            rule = f"{flag} must be another folder than that of the images, which stay as they are"
            raise ConfigError(f"{rule}, got {folder}")


def _files(inputs: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield each file and its name below the folder that was given."""
    from trials.data.images import WRITABLE
    from trials.data.videos import VIDEO_SUFFIXES

    suffixes = (*WRITABLE, ".ppm", *VIDEO_SUFFIXES)
    for given in inputs:
        if not given.is_dir():
            yield given, Path(f"camera{given}.mp4" if _is_camera(given) else given.name)
            continue
        files = [Path(path) for path in visible_files(given, suffixes)]
        if not files:
            raise DataError(f"{given}: holds no images or videos ({', '.join(suffixes)})")
        yield from ((path, path.relative_to(given)) for path in files)


def _is_camera(path: Path) -> bool:
    return str(path).isdecimal() and not path.exists()


def _unique(name: Path, taken: set[Path]) -> Path:
    """Return a name that can be written and is not taken, and take it."""
    plain = found = _writable(name)
    count = 1
    while found in taken:
        count += 1
        found = plain.with_stem(f"{plain.stem}_{count}")
    taken.add(found)
    return found


def _writable(name: Path) -> Path:
    """Return `name` with the suffix of a format that can be written."""
    from trials.data.images import WRITABLE
    from trials.data.videos import VIDEO_SUFFIXES

    suffix = name.suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return name.with_suffix(".mp4")
    return name if suffix in WRITABLE else name.with_suffix(".png")
