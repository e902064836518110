"""Dark frames of a series of stills become a master dark: the server's side, which finds their files and asks the process.

What a series is, is the business of `capture.session`; how frames are combined, of `stacking`.
"""

from __future__ import annotations

from pathlib import Path

from cupola.core.errors import NotAllowed, StorageFailed
from cupola.darkroom.masters import Entry, entry_of, forget
from cupola.darkroom.queue import Darkroom
from cupola.storage.catalogue import Catalogue
from cupola.storage.files import ORIGINAL_SUFFIX

MOST_FRAMES = 200


async def make_master(darkroom: Darkroom, catalogue: Catalogue, folder: Path, camera: str, session: int) -> Entry:
    """Combine the originals of a camera's series into a master in `folder`.

    Raises NotAllowed, in words for the owner, for a series without originals, with too few, or of frames that are not dark;
    DarkroomUnavailable, StorageFull and StorageFailed.
    """
    rows = await catalogue.run(
        catalogue.read, "SELECT id FROM image WHERE session = ? AND camera = ? ORDER BY id LIMIT ?", session, camera, MOST_FRAMES
    )
    images = [await catalogue.run(catalogue.image, row["id"]) for row in rows]
    if not images:
        raise NotAllowed(f'Series {session} has no images of camera "{camera}".')
    originals = [darkroom.orders.original(image) for image in images if image is not None and image.file("raw") is not None]
    originals = [path for path in originals if path.name.endswith(ORIGINAL_SUFFIX)]
    if not originals:
        raise NotAllowed(
            f"Series {session} has no originals of a sensor. Dark frames need storage.originals: keep while they are taken, "
            "and a camera that delivers raw frames."
        )
    head, _ = await darkroom.errand(
        {"type": "dark", "originals": [str(path) for path in originals], "folder": str(folder)}, 60.0 + 4 * len(originals)
    )
    forget()
    try:
        return await catalogue.run(entry_of, folder / head["name"])
    except (KeyError, ValueError) as error:
        raise StorageFailed(f"The master dark {head['name']} was written, but cannot be read again: {error}. Check the disk.") from error
