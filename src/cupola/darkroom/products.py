"""All products of one night or day: each image is decoded once and given to those that lack it, to the video with its overlay, to the others without.

Lives in the darkroom's process. What there is to feed, and when, is decided by `growing`, in the server. How the accumulators come back after a
kill is the business of `growth.Checkpoint`: each has a state on disk of its own, so each says itself up to which image it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cupola.darkroom import keogram, startrails, timelapse
from cupola.darkroom.growth import EVERY, KINDS, Checkpoint, Kind, Ledger, LeftOut, Picture, Product, Shot, Window, clear_words, read_picture
from cupola.storage.files import WrittenFile


class Grower:
    """A product, its ledger and its checkpoint."""

    def __init__(self, product: Product, folder: Path) -> None:
        self.product, self._checkpoint = product, Checkpoint(folder, product.kind)
        self.ledger = self._checkpoint.load(product)
        self._due = False

    def add(self, shot: Shot, picture: Picture | None, reason: str) -> None:
        """`picture` None: there is none, for this reason."""
        try:
            if picture is None:
                raise LeftOut(reason)
            self.product.add(picture, shot)
        except LeftOut as why:
            self.ledger.left_out(shot, str(why))
        else:
            self.ledger.took(shot)
            self._due = self.ledger.images % EVERY == 0

    def save_if_due(self) -> bool:
        """After every so many images. Raises StorageFull, StorageFailed; it is due still."""
        if not self._due:
            return False
        self._checkpoint.save(self.product, self.ledger)
        self._due = False
        return True


class Growth:
    """The products of one period, as `recipe` (a camera's configuration) asks for them. `folder` is theirs alone."""

    def __init__(self, folder: Path, recipe: dict[str, Any], window: Window) -> None:
        made: list[Product] = []
        for kind in KINDS:
            if recipe[kind]["make"]:
                made.append(_product(kind, recipe[kind], folder, window))
        self._folder = folder
        self._growers: dict[Kind, Grower] = {product.kind: Grower(product, folder) for product in made}

    @property
    def ledgers(self) -> dict[Kind, Ledger]:
        return {kind: grower.ledger for kind, grower in self._growers.items()}

    def add(self, shot: Shot) -> bool:
        """One image, for those that are not that far yet; whether something was saved.

        Raises StorageFull, StorageFailed: it is in the products, and has to be given once more so that they are saved.
        """
        saved = self._save()
        behind = [grower for grower in self._growers.values() if grower.ledger.upto < shot.id]
        picture, reason = None, shot.unusable or ""
        if behind and shot.unusable is None:
            try:
                picture = read_picture(shot.path)
            except LeftOut as why:
                reason = str(why)
        for words in (True, False):  # those who want the sky alone come last, as it is uncovered in place
            takers = [grower for grower in behind if grower.product.shows_words is words]
            if takers and picture is not None and not words:
                try:
                    clear_words(picture, shot.path)
                except LeftOut as why:
                    picture, reason = None, str(why)
            for grower in takers:
                grower.add(shot, picture, reason)
        del picture
        return self._save() or saved

    def _save(self) -> bool:
        saved = [grower.save_if_due() for grower in self._growers.values()]
        return any(saved)

    def preview(self, kind: Kind, target: Path) -> bool:
        grower = self._growers.get(kind)
        return grower is not None and grower.product.preview(target)

    def write(self, kind: Kind, target: Path) -> WrittenFile | None:
        """The finished file; None for a product that has no image or is not made. Nothing can be added to this object afterwards."""
        grower = self._growers.get(kind)
        return None if grower is None or not grower.ledger.images else grower.product.write(target)


def _product(kind: Kind, settings: dict[str, Any], folder: Path, window: Window) -> Product:
    match kind:
        case "keogram":
            return keogram.Keogram(keogram.Settings(**settings), window)
        case "startrails":
            return startrails.Startrails(startrails.Settings(**settings))
        case "timelapse":
            return timelapse.Timelapse(timelapse.Settings(**settings), folder)
