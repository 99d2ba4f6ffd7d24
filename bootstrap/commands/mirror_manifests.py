"""`invoke mirror --source FOLDER`: what manifests name into the mirror, and the manifests with references to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from bootstrap.core import untrusted
from bootstrap.core.errors import BootstrapError, CommandError, Fault, NotFound, UsageError
from bootstrap.core.text import format_duration
from bootstrap.objects import image_refs, image_rewrite
from bootstrap.objects.image_refs import parse_reference
from bootstrap.objects.manifests import MAX_OUTSIDE_BYTES, get_part, sort_by_need
from bootstrap.objects.patches import apply_patches
from bootstrap.steps.tekton import make_shell_image_patches
from bootstrap.supply import oci_layout
from bootstrap.supply.build_cache import compute_key
from bootstrap.supply.mirror import load_image, make_tag, run_side_by_side
from bootstrap.world import World
from bootstrap.world.registry.user import MirrorRegistry

PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?")
SUFFIXES = (".yaml", ".yml", ".json")
MOMENT = 1.0
"""Seconds for which `plan` measures how quick pushing is."""
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@dataclass(frozen=True)
class ManifestImage:
    """One image reference of manifests, and where it goes.

    source: "HOST/PATH@DIGEST", "" for one of ours, whose layout is given. name: PATH:TAG below the mirror's folder.
    digest: of that name at the mirror, "" if it is not there. reduced: the platforms that are kept, none for all.
    """

    reference: str
    name: str
    source: str = ""
    layout: Path | None = None
    digest: str = ""
    reduced: tuple[str, ...] = ()


def read_manifests(folder: Path) -> dict[str, str]:
    """Path below `folder` -> text, of every manifest. Raises UsageError with every file that cannot be read."""
    texts: dict[str, str] = {}
    faults: list[Fault] = []
    for file in sorted(each for each in folder.rglob("*") if each.suffix in SUFFIXES and not each.is_dir()):
        try:
            content = untrusted.read_file(file, MAX_OUTSIDE_BYTES).decode()  # as it is: no line ending is changed
            texts[str(file.relative_to(folder))] = content
        except (OSError, UnicodeDecodeError) as error:
            faults.append(Fault(str(file), 0, f"cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}"))
    if faults:
        raise UsageError(f"{folder} is wrong", faults=faults)
    if not texts:
        raise UsageError(f"{folder}: no manifest ({', '.join(SUFFIXES)}) is there", hint="invoke mirror --help")
    return texts


def list_references(texts: Mapping[str, str]) -> dict[str, bool]:
    """Every reference of those manifests -> whether it is sure to be one. Raises UsageError."""
    found: dict[str, bool] = {}
    for where, text in texts.items():
        for place in image_rewrite.find_references(text, where):
            if not place.left and "$(" not in place.text and "{{" not in place.text:
                found[place.text] = found.get(place.text, False) or place.sure
    return found


def list_left(texts: Mapping[str, str]) -> dict[str, str]:
    """Every reference of those manifests that cannot be replaced -> why. Raises UsageError."""
    places = (place for where, text in texts.items() for place in image_rewrite.find_references(text, where))
    return {place.text: place.left for place in places if place.left}


def has_own_images(folder: Path) -> bool:
    """Whether a manifest names an image that only a supply of ours has."""
    return any(text.startswith(image_refs.LOCAL) for text in list_references(read_manifests(folder)))


def download(world: World, folder: Path) -> None:
    """Tekton's manifests into `folder`, images by logical name, in files that `kubectl apply` takes in their order."""
    parts: dict[str, list[object]] = {}
    for each in sort_by_need(apply_patches(world.images.list_tekton_objects(), make_shell_image_patches())):
        parts.setdefault(get_part(each) or "tekton-pipelines", []).append(each)
    folder.mkdir(parents=True, exist_ok=True)
    for name, objects in parts.items():
        (folder / f"{name}.yaml").write_text(yaml.dump_all(objects, Dumper=_DUMPER, sort_keys=False))
    world.report.line(f"{folder}: {', '.join(f'{name}.yaml' for name in sorted(parts))}")


def sync(
    world: World,
    registry: MirrorRegistry,
    source: Path,
    destination: Path | None,
    platforms: tuple[str, ...],
    *,
    plan: bool,
    pull: bool,
    as_json: bool,
) -> int:
    """Copy the images of the manifests in `source` to the mirror, and write manifests that name them there.

    Raises UsageError for manifests and references that do not fit.
    """
    texts, start = read_manifests(source), world.clock.now()
    found, left = _resolve_all(world, registry, list_references(texts), platforms)
    todo = [image for image in found if not image.digest]
    if plan:
        return _show_plan(world, registry, found, as_json)
    line = world.report.step("mirror")
    if destination:
        found = _copy_all(world, registry, found, line.show_cause)
        line.end_ready(f"{len(found)} images at {registry.address}, {len(todo)} of them new", changed=bool(todo))
        _write(texts, destination, {image.reference: _make_replacements(registry, image) for image in found})
        wrong = find_faults(world, registry, destination, left)
        if wrong:
            raise CommandError(f"{destination} was rewritten, but {min(wrong)} is {wrong[min(wrong)]}", code=1)
    elif todo:
        raise NotFound(f"{registry.address} does not have {todo[0].reference}", hint="invoke mirror --sync first")
    if pull:
        _pull(world, registry, found)
    for reference, why in left.items():
        world.report.warn(f"{reference} is left as it is, for it may be no image to pull: {why}")
    unchanged = list_left(texts)
    for reference, why in unchanged.items():
        world.report.warn(f"{reference} is left as it is, and not copied: {why}")
    if as_json:
        new = {image.reference: _make_replacements(registry, image) for image in found}
        world.report.json({"images": new, "copied": len(todo), "left": sorted({*left, *unchanged})})
    elif destination:
        seconds = format_duration(world.clock.now() - start)
        world.report.line(f"{len(todo)} of {len(found)} images copied, {len(texts)} files rewritten, in {seconds}")
        world.report.line(f"next: kubectl apply --server-side -f {destination}")
    return 0


def check(world: World, registry: MirrorRegistry, folder: Path, as_json: bool) -> int:
    """0 if the mirror has all that the manifests of `folder` name, each by its digest."""
    wrong = find_faults(world, registry, folder, {})
    if as_json:
        world.report.json({"wrong": wrong})
    elif wrong:
        world.report.table(["image", "is"], [[reference, why] for reference, why in sorted(wrong.items())])
        world.report.line("next: invoke mirror --source FOLDER --destination FOLDER")
    else:
        world.report.line(f"{folder}: every image is at {registry.address}, by its digest")
    return 1 if wrong else 0


def find_faults(world: World, registry: MirrorRegistry, folder: Path, left: Iterable[str]) -> dict[str, str]:
    """Reference -> what is wrong with it, of all that the manifests of `folder` name, but for those in `left`."""
    wrong: dict[str, str] = {}
    ours: list[str] = []
    for reference, sure in list_references(read_manifests(folder)).items():
        if _is_copied(registry, reference):
            ours.append(reference)
        elif sure and reference not in left:
            wrong[reference] = "not at the mirror, or without a digest"

    def look(reference: str) -> None:
        if not registry.read_digest(reference.removeprefix(f"{registry.address}/")):
            wrong[reference] = "missing"

    for _ in run_side_by_side(ours, look, world.config.mirror.parallel):
        pass
    return wrong


def load(world: World, registry: MirrorRegistry, source: str, name: str) -> None:
    """ "NAME@DIGEST" of the mirror into the engine, as `name`."""
    folder = world.paths.cache / "tmp"
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"pull-{compute_key(source)}.tar"
    load_image(world.engine, registry, source, name, archive, f"linux/{world.config.architecture}")


def _resolve_all(
    world: World, registry: MirrorRegistry, references: Mapping[str, bool], platforms: tuple[str, ...]
) -> tuple[list[ManifestImage], dict[str, str]]:
    """What each is; and what is left alone, with the cause: nobody has it, and it is not sure to be an image."""
    found: dict[str, ManifestImage] = {}
    left: dict[str, str] = {}

    def resolve(reference: str) -> None:
        try:
            found[reference] = _resolve(world, registry, reference, platforms)
        except BootstrapError as error:
            if references[reference]:
                raise
            left[reference] = error.message

    for _ in run_side_by_side(references, resolve, world.config.mirror.parallel):
        pass
    return [found[reference] for reference in references if reference in found], left


def _resolve(world: World, registry: MirrorRegistry, reference: str, platforms: tuple[str, ...]) -> ManifestImage:
    """The image that a reference of a manifest means, and where it goes.

    Raises UsageError for a reference that is none, NotFound for one of the mirror's that is deleted.
    """
    if reference.startswith(image_refs.LOCAL):
        return _resolve_own(world, registry, reference)
    parsed = parse_reference(reference)
    if parsed.repository.startswith(f"{registry.address}/"):  # rewritten before
        path = parsed.repository.removeprefix(f"{registry.address}/")
        digest = registry.read_digest(
            f"{path}@{parsed.digest}" if parsed.digest else f"{path}:{parsed.tag or 'latest'}"
        )
        if not digest:
            raise NotFound(f"{reference} is not there any more", hint="invoke mirror with the manifests as they were")
        return ManifestImage(reference, f"{path}:{make_tag(digest)}", reference, digest=digest)
    digest = parsed.digest or registry.resolve_reference(str(parsed))
    source = f"{parsed.repository}@{digest}"
    reduced = platforms if platforms and "manifests" in registry.read_foreign_manifest(source) else ()
    tag = compute_key(digest, *reduced)[:12] if reduced else make_tag(digest)
    name = f"{_get_path_below(parsed.domain)}/{parsed.path}:{tag}"
    there = registry.read_digest(name)
    return ManifestImage(reference, name, source, digest=there if reduced or there == digest else "", reduced=reduced)


def _resolve_own(world: World, registry: MirrorRegistry, reference: str) -> ManifestImage:
    """The image of a logical name. Raises UsageError for a name that the lock does not hold."""
    name = reference.removeprefix(image_refs.LOCAL)
    locked = world.images.read_lock().images.get(name)
    if locked is None:
        raise UsageError(f"no image is called {name}", hint="invoke images")
    place = f"{name}:{make_tag(locked.digest)}"
    there = registry.read_digest(place)
    return ManifestImage(
        reference, place, layout=world.images.list_layouts()[name], digest=there if there == locked.digest else ""
    )


def _get_path_below(domain: str) -> str:
    """A host as part of a path: "registry.test:5000" -> "registry.test-5000"."""
    return re.sub(r"[^a-z0-9.]+", "-", domain.lower()).strip("-.")


def _copy_all(
    world: World, registry: MirrorRegistry, found: list[ManifestImage], say: Callable[[str], None]
) -> list[ManifestImage]:
    """The same, each with its digest at the mirror."""
    todo = {image.name: image for image in found if not image.digest}
    digests: dict[str, str] = {}

    def copy(name: str) -> None:
        image = todo[name]
        if image.layout:
            registry.push(image.layout, name)
        else:
            registry.copy(image.source, name, image.reduced)
        digests[name] = registry.read_digest(name)
        wanted = image.source.rpartition("@")[2]
        if image.source and not image.reduced and digests[name] != wanted:
            raise CommandError(f"{registry.address} has another image as {name} than was copied", code=1)

    for done, name in enumerate(run_side_by_side(todo, copy, world.config.mirror.parallel), 1):
        say(f"{done} of {len(todo)} images, {name}")
    return [replace(each, digest=each.digest or digests[each.name]) for each in found]


def _make_replacements(registry: MirrorRegistry, image: ManifestImage) -> str:
    return f"{registry.address}/{image.name.rpartition(':')[0]}@{image.digest}"


def _is_copied(registry: MirrorRegistry, reference: str) -> bool:
    return reference.startswith(f"{registry.address}/") and "@sha256:" in reference


def _write(texts: Mapping[str, str], folder: Path, new: Mapping[str, str]) -> None:
    """Nothing is written before all of it is rewritten."""
    edited = {name: image_rewrite.rewrite(text, new, name) for name, text in texts.items()}
    for name, text in edited.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())


def _pull(world: World, registry: MirrorRegistry, found: list[ManifestImage]) -> None:
    line = world.report.step("pull")
    for done, image in enumerate(found, 1):
        line.show_cause(f"{done} of {len(found)}: {image.name}")
        path = image.name.rpartition(":")[0]
        load(world, registry, f"{path}@{image.digest}", f"{registry.address}/{image.name}")
    line.end_ready(f"{len(found)} images in the engine, as {registry.address}/...", changed=True)


def _show_plan(world: World, registry: MirrorRegistry, found: list[ManifestImage], as_json: bool) -> int:
    by_reference = {image.reference: image for image in found}
    sizes = dict.fromkeys(by_reference, 0)

    def weigh(reference: str) -> None:
        image = by_reference[reference]
        if not image.digest:
            sizes[reference] = (
                oci_layout.compute_size(image.layout)
                if image.layout
                else _get_size(registry, image.source, image.reduced)
            )

    for _ in run_side_by_side(by_reference, weigh, world.config.mirror.parallel):
        pass
    total = sum(sizes.values())
    rate = registry.measure_push_rate(MOMENT) if total else 0.0
    if as_json:
        rows = [{"name": e.reference, "bytes": sizes[e.reference], "there": bool(e.digest)} for e in found]
        world.report.json({"images": rows, "bytes": total, "bytes_per_second": round(rate)})
        return 0
    table = [[e.reference, "there" if e.digest else f"{sizes[e.reference] / 1e6:.1f} MB"] for e in found]
    world.report.table(["image", "to copy"], table)
    world.report.line(f"{sum(not e.digest for e in found)} of {len(found)} to copy, {estimate(total, rate)}")
    return 0


def estimate(total: int, rate: float) -> str:
    """rate: bytes a second, 0 if it could not be measured."""
    time = f": about {format_duration(total / rate)} at {rate / 1e6:.0f} MB/s, measured now" if rate else ""
    return f"{total / 1e9:.2f} GB{time}"


def _get_size(registry: MirrorRegistry, source: str, reduced: tuple[str, ...]) -> int:
    """Bytes of an image, or of those of an index that are wanted."""
    document = registry.read_foreign_manifest(source)
    if "manifests" not in document:
        return sum(int(each["size"]) for each in (document["config"], *document.get("layers", [])))
    repository = source.partition("@")[0]
    wanted = [each for each in document["manifests"] if not reduced or _parse_platform(each) in reduced]
    return sum(_get_size(registry, f"{repository}@{each['digest']}", ()) for each in wanted)


def _parse_platform(descriptor: Mapping[str, Mapping[str, str]]) -> str:
    given = descriptor.get("platform") or {}
    return "/".join(word for word in (given.get("os"), given.get("architecture"), given.get("variant")) if word)
