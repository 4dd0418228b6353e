# SPDX-License-Identifier: Apache-2.0
"""What volumes, snapshots, clones and removed volumes there should be, and what they hold: kept by
a test that changes them."""

import hashlib
from dataclasses import dataclass, field

from lib.stock import View

MIB = 1 << 20
BLOCK = 4096

# Where a volume's contents are looked at: blocks that neither ext4 nor xfs uses in an empty file
# system of 1 or 1.125 GiB. The last one is there only while the volume is larger than that.
SLOTS = tuple(mib * MIB for mib in (920, 930, 940, 950, 980, 1064))


def block(tag):
    """What a slot with this tag holds; 0: nothing was ever written."""
    return hashlib.shake_128(str(tag).encode()).digest(BLOCK) if tag else bytes(BLOCK)


def slots_of(size):
    return [slot for slot in SLOTS if slot + BLOCK <= size]


@dataclass(eq=False)
class Snapshot:
    volume: "Volume"
    name: str                 # None until it was seen: the driver chose it
    size: int
    contents: dict            # slot: tag
    id: int = None            # once it was seen
    protected: bool = False
    removed: bool = False     # and kept for its clones
    leaving: bool = False     # and no clone is left: it goes when the volume's owner finds the time
    clones: list = field(default_factory=list)


@dataclass(eq=False)
class Volume:
    name: str
    size: int
    fs: str = None            # None: blank
    contents: dict = None
    id: str = None            # once it was seen
    parent: Snapshot = None
    mounted: str = None       # the mount's ID
    swept: bool = None        # in the trash: whether a plugin deletes it in time
    snapshots: list = field(default_factory=list)

    def __post_init__(self):
        self.contents = {slot: 0 for slot in slots_of(self.size)} | (self.contents or {})

    def visible(self):
        """Snapshots that can be asked for by name, the oldest first."""
        return [snap for snap in self.snapshots if not snap.removed]

    def clones(self):
        return [clone for snap in self.snapshots for clone in snap.clones]

    def resize(self, size):
        """What lies behind the end is gone for good."""
        self.size = size
        self.contents = {slot: self.contents.get(slot, 0) for slot in slots_of(size)}

    def take_snapshot(self, name, removed=False):
        snap = Snapshot(self, name, self.size, dict(self.contents), removed=removed)
        self.snapshots.append(snap)
        return snap

    def restore(self, snap):
        self.resize(snap.size)
        self.contents = dict(snap.contents)

    def remove_snapshot(self, snap):
        if snap.clones:
            snap.removed = True
        else:
            self.snapshots.remove(snap)

    def part(self):
        """From its source: it was flattened, or is deleted."""
        snap, self.parent = self.parent, None
        if not snap:
            return
        snap.clones.remove(self)
        if snap.removed and not snap.clones:
            if snap.volume.mounted:
                snap.leaving = True
            else:
                snap.volume.snapshots.remove(snap)


class Model:
    def __init__(self):
        self.volumes = []
        self.trash = []  # the one removed last is last

    def named(self, name):
        return next((volume for volume in self.volumes if volume.name == name), None)

    def create(self, name, size, fs):
        self.volumes.append(Volume(name, size, fs))
        return self.volumes[-1]

    def clone(self, snap, name, size):
        contents = {slot: tag for slot, tag in snap.contents.items() if slot < size}
        clone = Volume(name, size, snap.volume.fs, contents, parent=snap)
        snap.clones.append(clone)
        self.volumes.append(clone)
        return clone

    def may_remove(self, volume):
        """Into the trash."""
        return not (volume.mounted or any(snap.protected for snap in volume.snapshots) or
                    any(clone in self.volumes for clone in volume.clones()))

    def remove(self, volume, swept):
        self.volumes.remove(volume)
        self.trash.append(volume)
        volume.swept = swept

    def undelete(self, volume, name):
        self.trash.remove(volume)
        self.volumes.append(volume)
        volume.name, volume.swept = name, None

    def may_purge(self, volume):
        return not volume.clones() and not any(snap.protected for snap in volume.snapshots)

    def purge(self, volume):
        self.trash.remove(volume)
        volume.part()

    def purge_all(self):
        """All that may go, and then what was kept for those; returns how many stay."""
        while goes := [volume for volume in self.trash if self.may_purge(volume)]:
            for volume in goes:
                self.purge(volume)
        return len(self.trash)

    # --- Compared with what there is ---------------------------------------------------------

    def learn(self, view):
        """Take over what only the cluster chooses: ids. They must be new, and stay. What was
        leaving and has gone is forgotten."""
        for volume in self.volumes:
            seen = view.ids.get(volume.name)
            if not volume.id and seen:
                assert not any(other.id == seen for other in self.volumes + self.trash), seen
                volume.id = seen
            there = view.snapshots.get(volume.name, []) + view.kept.get(volume.name, [])
            self._learn_snapshots(volume, there)

    @staticmethod
    def _learn_snapshots(volume, there):
        ids = {found[0] for found in there}
        volume.snapshots = [snap for snap in volume.snapshots
                            if not snap.leaving or snap.id in ids]
        known = {snap.id for snap in volume.snapshots}
        for snap in volume.snapshots:
            for found in there:
                if not snap.id and found[0] not in known and snap.name in (None, found[1]):
                    assert found[0] > max(filter(None, known), default=0), (snap.name, there)
                    snap.id, snap.name = found[:2]
                    known.add(snap.id)

    def view(self):
        view = View()
        for volume in self.volumes:
            view.ids[volume.name], view.sizes[volume.name] = volume.id, volume.size
            view.snapshots[volume.name] = [
                (snap.id, snap.name, snap.size, snap.protected, len(snap.clones))
                for snap in volume.visible()]
            view.kept[volume.name] = [(snap.id, snap.name, snap.size, len(snap.clones))
                                      for snap in volume.snapshots if snap.removed]
        for volume in self.trash:
            view.trash[volume.id] = (volume.name, volume.size, len(volume.snapshots))
            view.swept[volume.id] = volume.swept
        for volume in self.volumes + self.trash:
            if volume.parent:
                view.parents[volume.id] = volume.parent.volume.id
            for snap in volume.snapshots:
                if snap.clones:
                    view.children[volume.id, snap.id] = {clone.id for clone in snap.clones}
        return view
