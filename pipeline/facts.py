"""What is true of a version besides its manifest, in words: groups, licence, verdicts of its audit, limits.

The dataset card and the preview say the same from here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from .audit.report import AuditReport, load_verdicts
from .config import Recipe
from .errors import CorruptData, NotFound
from .manifest import Manifest
from .storage import Store

CARD = "README.md"
_NOT_AUDITED = "not audited yet: run `unlabeled audit DATASET`"
_LICENCE = re.compile(r"\A---\n(license: [^\n]+)\n")
#: The limits of one source that people ask for, by kind of media.
_LIMITS = {
    "image": ("max_image_bytes", "max_pixels"),
    "audio": ("max_source_bytes", "max_seconds"),
    "video": ("max_source_bytes", "max_pixels", "max_seconds"),
    "video_audio": ("max_source_bytes", "max_pixels", "max_seconds"),
    "text": ("max_source_bytes",),
}


@dataclass(frozen=True)
class Facts:
    """What is kept beside a version.

    Attributes:
        licence: as it was given, None where it was not.
        audit: of this version; None where there is none, or none that can be read.
        audit_note: why there is no audit; empty where there is one.
    """

    licence: str | None = None
    audit: AuditReport | None = None
    audit_note: str = _NOT_AUDITED

    @classmethod
    def of(cls, store: Store, version: int, licence: str | None) -> Facts:
        """Return what `store` keeps about a version; a damaged audit is said to be one, it stops nothing."""
        try:
            audit = load_verdicts(store, version)
        except CorruptData:
            return cls(licence, None, "the audit that is kept cannot be read: run `unlabeled audit DATASET` again")
        return cls(licence, audit, "" if audit else _NOT_AUDITED)


def kept_card(store: Store) -> bytes:
    """Return the dataset card that stands in the store; empty where there is none."""
    try:
        return store.get(CARD)
    except NotFound:
        return b""


def licence_in(card: bytes) -> str | None:
    """Return the licence that a card states: the first line of its header, `license: cc-by-4.0`; else None.

    Only that line is parsed: the header of a large dataset names hundreds of thousands of files.
    """
    found = _LICENCE.match(card[:1000].decode("utf-8", "replace").replace("\r\n", "\n"))
    try:
        licence = yaml.safe_load(found[1])["license"] if found else None
    except yaml.YAMLError:
        return None
    return licence if isinstance(licence, str) else None


def groups_text(recipe: Recipe, quote: Callable[[str], str] = str) -> str:
    """Return what decides which sources share a split; `quote` marks the user's expression as one."""
    if recipe.group_csv_sha256:
        text = f"from a csv of source_key,group (sha256 {recipe.group_csv_sha256[:16]})"
    elif recipe.group_by:
        text = f"by the expression {quote(recipe.group_by)}"
    else:
        text = "every source by itself"
    if recipe.dedup == "group":
        text += ", but near-duplicates share a group"
    elif recipe.dedup == "drop":
        text += "; of near-duplicates one is used"
    return text


def audit_text(audit: AuditReport) -> str:
    """Return an audit in one sentence, what fails first."""
    looked_at = f"{audit.num_examples:,} of {audit.num_dataset_examples:,} examples were looked at"
    failed = f": {', '.join(audit.failed)}" if audit.failed else ""
    return f"{audit.verdict}{failed} ({looked_at})"


def limits(manifest: Manifest) -> list[str]:
    """Return what one must not conclude from the version, a sentence each."""
    counts, recipe = manifest.counts, manifest.recipe
    found = []
    if counts.num_used < counts.num_sources:
        found.append(
            f"{counts.num_sources - counts.num_used:,} of {counts.num_sources:,} sources gave no example: the others "
            "need not look like them."
        )
    if not recipe.group_by and not recipe.group_csv_sha256:
        found.append("Sources that show one person, place or recording may stand in both splits (`--group-by`).")
    if recipe.dedup == "off":
        found.append("Near-duplicates were not looked for: copies may stand in both splits (`--dedup`).")
    else:
        found.append("Near-duplicates are what fingerprints find, not all there are; of videos only exact copies.")
    bounds = ", ".join(f"{name} {getattr(recipe.limits, name):,}" for name in _LIMITS[manifest.modality])
    found.append(f"Larger sources were rejected: {bounds}.")
    found.append(
        "Examples hold parts of the sources and their keys. Rights in them, and what they show of people, were not "
        "looked at; `unlabeled forget` erases sources."
    )
    return found
