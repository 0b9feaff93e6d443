"""Where files come from: `sources.yaml`, read and checked."""

from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from convnova.config.strict import ConfigMistake, Strict
from convnova.errors import ConvNovaError, without_secrets
from convnova.files import read_yaml


def _refuse_secrets(address: str) -> str:
    if without_secrets(address) != address:
        expected = "expected an address without a password or token, which would stand in results"
        raise ValueError(f"{expected}; put them into ~/.netrc, as docs/security.md says")
    return address


WithoutSecrets = Annotated[str, AfterValidator(_refuse_secrets)]
Url = Annotated[WithoutSecrets, StringConstraints(pattern=r"^https?://[^/\s]+/\S+$")]
Prefix = Annotated[WithoutSecrets, StringConstraints(pattern=r"^https?://[^/\s]+/(\S*/)?$")]


class SourceFile(Strict):
    """One file of a source, with its size and checksums where its owner publishes them."""

    urls: list[Url] = Field([], description="in order of preference; default each `base` of the source + name")
    size: int | None = Field(None, gt=0, description="bytes")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$")
    rows: int | None = Field(None, gt=0, description="intervals of a BED")
    note: str = ""


class Source(Strict):
    """Where a genome or a benchmark comes from; `{revision}` in a URL stands for the pinned revision."""

    title: str
    homepage: str = Field(pattern=r"^https?://\S+$")
    licence: str
    citation: str
    revision: str | None = None
    base: list[Prefix] = Field([], description="URL prefixes in order of preference")
    files: dict[str, Annotated[SourceFile, BeforeValidator(lambda file: file or {})]] = Field(
        description="path in the source's raw folder to file; an entry may be empty"
    )

    @model_validator(mode="after")
    def _every_file_can_be_fetched(self) -> "Source":
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"files.{name}: expected a path inside the source's folder")
            if not self.urls(name):
                raise ValueError(f"files.{name}: expected `urls`, or a `base` for all files, found neither")
        return self

    def urls(self, name: str) -> list[str]:
        """Every address of a file, best first.

        Raises:
            ConvNovaError: the source has no file of that name.
        """
        if name not in self.files:
            raise ConvNovaError(f"{self.title}: expected one of its {len(self.files)} files, found {name!r}")
        urls = self.files[name].urls or [prefix + name for prefix in self.base]
        return [url.replace("{revision}", self.revision or "") for url in urls]


def load_sources(path: str | Path) -> dict[str, Source]:
    """Read the registry of sources.

    Raises:
        ConvNovaError: no such file, no YAML, or a wrong key or value; names key, value and what was expected.
    """
    try:
        return {name: Source.read(content, name) for name, content in read_yaml(path).items()}
    except ConfigMistake as error:
        raise ConvNovaError(f"{path}: {error}") from error
