# SPDX-License-Identifier: Apache-2.0
"""What is killed: one class an operation. Each says

prepare   what there is before: the old state
words     the command
seen      right after a death, and again after each further one: the old state or the new one
          (check_whole has looked at everything already)
done      words by which the command, called again, may say that nothing is left to do
finished  after it was called again and the sweep has been over it: the new state
"""

import json

import pytest
import rbd

from place import MAPPED, OBJECT, PLAIN, SIZE, content

OLD = content("old")
NEW = content("new", SIZE + OBJECT)
OTHER = content("other")

DAY = "86400"
ROLLBACK_KEY = "docker-volume-rados.rollback"
SAFETY_PREFIX = "before-restore-"


class Operation:
    done = ()

    def prepare(self, place):
        raise NotImplementedError

    def seen(self, place):
        raise NotImplementedError

    def finished(self, place):
        raise NotImplementedError


class Create(Operation):
    """A volume appears whole, or not at all."""
    words = ("lifecycle", "create", "db", "size=16M", "label.app=shop")

    def prepare(self, place):
        pass

    def seen(self, place):
        if place.exists("db"):
            place.check_file_system("db")
            assert place.metadata("db")["docker-volume-rados.label.app"] == "shop"

    def finished(self, place):
        assert place.names() == ["db"] and place.trash_ids() == []
        self.seen(place)


class CreateWithDataPool(Create):
    words = (*Create.words, "data-pool=docker-data", "object-size=8M")


class Remove(Operation):
    """Deleted at once: whole, or without a name."""
    words = ("lifecycle", "remove", "db", "0")
    done = ("no image 'db'",)
    features = MAPPED

    def prepare(self, place):
        place.make("db", OLD, self.features)

    def seen(self, place):
        if place.exists("db"):
            assert place.read("db") == OLD
        else:
            assert "db" not in place.names()

    def finished(self, place):
        assert place.names() == [] and place.trash_ids() == [] and not place.exists("db")


class RemoveToTrash(Operation):
    """To the trash with its snapshot: there, or here, and never nowhere."""
    words = ("lifecycle", "remove", "db", DAY)
    done = Remove.done

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")
        place.write("db", NEW)

    def seen(self, place):
        if place.exists("db"):
            self.whole(place, name="db")
        else:
            [entry] = place.trash()
            self.whole(place, an_id=entry["id"])

    def whole(self, place, **which):
        assert place.read(**which) == NEW and place.read(**which, snapshot="monday") == OLD

    def finished(self, place):
        [entry] = place.trash()
        assert place.names() == [] and entry["name"] == "db" and entry["source"] == "USER"
        with place.io() as io:
            rbd.RBD().trash_restore(io, entry["id"], "db")
        self.whole(place, name="db")


class TrashRestore(RemoveToTrash):
    words = ("radosvol", "trash", "restore", "db")
    done = ("no removed volume",)

    def prepare(self, place):
        super().prepare(place)
        assert place.run(*RemoveToTrash.words).status == 0

    def finished(self, place):
        assert place.names() == ["db"] and place.trash_ids() == []
        self.whole(place, name="db")


class TrashRestoreAs(TrashRestore):
    words = (*TrashRestore.words, "--as", "db2")

    def seen(self, place):
        assert not place.exists("db")
        if place.exists("db2"):
            self.whole(place, name="db2")
        else:
            [entry] = place.trash()
            self.whole(place, an_id=entry["id"])

    def finished(self, place):
        assert place.names() == ["db2"] and place.trash_ids() == []
        self.whole(place, name="db2")


class TrashPurge(TrashRestore):
    """Whole, or on its way out, where nobody restores it any more."""
    words = ("radosvol", "trash", "purge", "db", "--yes")

    def seen(self, place):
        assert place.names() == [] and not place.exists("db")
        for entry in place.trash():
            self.purged(place, entry)

    def purged(self, place, entry):
        [listed] = json.loads(place.run("radosvol", "trash", "ls", "--json").out)["removed"]
        if listed["state"] == "removed":
            self.whole(place, an_id=entry["id"])
            return
        assert listed["state"] == "purging"
        with place.io() as io:
            with pytest.raises(rbd.Error):
                rbd.RBD().trash_restore(io, entry["id"], "db")

    def finished(self, place):
        assert place.names() == [] and place.trash_ids() == []


class SnapshotCreate(Operation):
    words = ("radosvol", "snapshot", "create", "db", "monday")
    done = ("there is a snapshot 'monday' already",)

    def prepare(self, place):
        place.make("db", OLD)

    def seen(self, place):
        assert place.read("db") == OLD
        assert place.snapshots("db") in ([], ["monday"])
        if place.snapshots("db"):
            assert place.read("db", "monday") == OLD

    def finished(self, place):
        self.seen(place)
        assert place.snapshots("db") == ["monday"]
        # It is in the context that others write under.
        place.write("db", NEW)
        assert place.read("db", "monday") == OLD and place.read("db") == NEW


class SnapshotCreateByOwner(SnapshotCreate):
    """Somebody else owns the image and is asked; who asks dies."""

    def prepare(self, place):
        super().prepare(place)
        place.hold("db")

    def finished(self, place):
        place.let_go()
        super().finished(place)


class SnapshotGroup(Operation):
    """Of members that nobody holds. A death may leave it on some of them: who asks again is told so,
    and decides."""
    words = ("radosvol", "snapshot", "create", "--volumes=db,shop", "monday")
    done = SnapshotCreate.done

    def prepare(self, place):
        place.make("db", OLD)
        place.make("shop", OTHER)

    def seen(self, place):
        for name, held in (("db", OLD), ("shop", OTHER)):
            assert place.read(name) == held and place.snapshots(name) in ([], ["monday"])
            if place.snapshots(name):
                assert place.read(name, "monday") == held

    def finished(self, place):
        self.seen(place)
        assert place.snapshots("db") or place.snapshots("shop")


class SnapshotRename(Operation):
    words = ("radosvol", "snapshot", "rename", "db@monday", "tuesday")
    done = ("has no snapshot",)

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")
        place.write("db", NEW)

    def seen(self, place):
        [name] = place.snapshots("db")
        assert name in ("monday", "tuesday")
        assert place.read("db") == NEW and place.read("db", name) == OLD

    def finished(self, place):
        self.seen(place)
        assert place.snapshots("db") == ["tuesday"]


class SnapshotRemove(Operation):
    words = ("radosvol", "snapshot", "rm", "db@monday", "--yes")
    done = ("has no snapshot",)

    def prepare(self, place):
        place.make("db", OLD, MAPPED)
        place.snapshot("db", "monday")
        place.write("db", NEW)
        place.snapshot("db", "tuesday")
        place.write("db", OTHER)

    def seen(self, place):
        assert place.read("db")[:SIZE] == OTHER and place.read("db", "tuesday") == NEW
        if "monday" in place.snapshots("db"):
            assert place.read("db", "monday") == OLD

    def finished(self, place):
        self.seen(place)
        assert place.snapshots("db") == ["tuesday"] and place.removed_snapshots("db") == []


class SnapshotRemoveWithClone(Operation):
    """Gone for its users, and kept for the clone."""
    words = SnapshotRemove.words
    done = SnapshotRemove.done

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")
        place.write("db", NEW)
        place.clone("db", "monday", "copy")

    def seen(self, place):
        assert place.read("db") == NEW and place.read("copy") == OLD and place.has_parent("copy")
        assert place.snapshots("db") + place.removed_snapshots("db") == ["monday"]

    def finished(self, place):
        self.seen(place)
        assert place.removed_snapshots("db") == ["monday"]


class SnapshotProtect(Operation):
    words = ("radosvol", "snapshot", "protect", "db@monday")

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")

    def seen(self, place):
        assert place.snapshots("db") == ["monday"]

    def finished(self, place):
        with place.seen("db") as image:
            assert image.is_protected_snap("monday")


class Clone(Operation):
    words = ("radosvol", "clone", "db@monday", "copy")
    done = ("'copy' exists",)

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")
        place.write("db", NEW)

    def seen(self, place):
        assert place.read("db") == NEW and place.read("db", "monday") == OLD
        if place.exists("copy"):
            assert place.read("copy") == OLD
            assert place.children("db", "monday")

    def finished(self, place):
        self.seen(place)
        assert place.names() == ["copy", "db"] and place.trash_ids() == []
        assert place.children("db", "monday") == ["copy"]


class RestoreTo(Clone):
    words = ("radosvol", "restore", "db@monday", "--to", "copy")


class CloneNow(Operation):
    """Of what there is: with a snapshot that is taken for it and is the clone's alone."""
    words = ("radosvol", "clone", "db", "copy")
    done = Clone.done

    def prepare(self, place):
        place.make("db", OLD)

    def seen(self, place):
        assert place.read("db") == OLD
        for snapshot in place.snapshots("db"):  # one too many may stay, and says what it was for
            assert snapshot.startswith("clone-") and place.read("db", snapshot) == OLD
        if place.exists("copy"):
            assert place.read("copy") == OLD and place.has_parent("copy")

    def finished(self, place):
        self.seen(place)
        assert place.names() == ["copy", "db"] and place.trash_ids() == []


class Restore(Operation):
    """In place: old, or new, or nobody may mount it and both are there as snapshots."""
    words = ("radosvol", "restore", "db@monday", "--yes")

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")
        place.write("db", NEW)

    def seen(self, place):
        assert place.read("db", "monday") == OLD
        safe = {s: place.read("db", s) for s in place.snapshots("db")
                if s.startswith(SAFETY_PREFIX)}
        note = place.metadata("db").get(ROLLBACK_KEY)
        if note:
            assert safe[note.split(" ", 1)[1]] in (OLD, NEW)
        else:
            assert place.read("db") in (OLD, NEW)
        assert NEW in safe.values() or (not note and place.read("db") == NEW)

    def finished(self, place):
        self.seen(place)
        assert place.read("db") == OLD and ROLLBACK_KEY not in place.metadata("db")


class RestoreClone(Restore):
    """The same of a clone, which shows its parent where it has no objects."""

    def prepare(self, place):
        place.make("base", OLD)
        place.snapshot("base", "sunday")
        place.clone("base", "sunday", "db")
        place.snapshot("db", "monday")
        place.write("db", NEW)


class Flatten(Operation):
    """What it holds never changes, nor do its snapshots."""
    words = ("radosvol", "flatten", "copy")

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")
        place.clone("db", "monday", "copy")
        place.snapshot("copy", "before")
        with place.image("copy") as image:
            image.write(OTHER[:OBJECT], OBJECT)

    def seen(self, place):
        assert place.read("copy") == OLD[:OBJECT] + OTHER[:OBJECT] + OLD[2 * OBJECT:]
        assert place.read("copy", "before") == OLD

    def finished(self, place):
        self.seen(place)
        assert not place.has_parent("copy") and place.children("db", "monday") == []
        assert place.snapshots("db") == ["monday"]


class FlattenOld(Flatten):
    """A clone of before Mimic, which the pool knows as such and not its parent."""

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday", protect=True)
        place.clone("db", "monday", "copy", clone_format="1")
        place.snapshot("copy", "before")
        with place.image("copy") as image:
            image.write(OTHER[:OBJECT], OBJECT)


class LastNeed(Operation):
    """What makes an end of the last need for a snapshot that was removed before: it goes too, with
    the next one who owns the image at the latest."""

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")
        place.clone("db", "monday", "copy")
        assert place.run(*SnapshotRemove.words).status == 0
        place.write("db", NEW)

    def finished(self, place):
        assert place.read("db") == NEW
        assert place.run("radosvol", "snapshot", "create", "db", "tuesday").status == 0
        assert place.removed_snapshots("db") == [] and place.snapshots("db") == ["tuesday"]


class FlattenTheLast(LastNeed):
    words = Flatten.words

    def seen(self, place):
        assert place.read("copy") == OLD and place.read("db") == NEW

    def finished(self, place):
        super().finished(place)
        assert place.read("copy") == OLD and not place.has_parent("copy")


class RemoveTheLast(LastNeed):
    words = ("lifecycle", "remove", "copy", "0")
    done = ("no image 'copy'",)

    def seen(self, place):
        assert place.read("db") == NEW
        if place.exists("copy"):
            assert place.read("copy") == OLD


class SnapshotRemoveOfFlattened(Operation):
    """A clone without deep-flatten whose snapshot alone needs the parent yet."""
    words = ("radosvol", "snapshot", "rm", "copy@before", "--yes")
    done = SnapshotRemove.done

    def prepare(self, place):
        place.make("db", OLD)
        place.snapshot("db", "monday")
        place.clone("db", "monday", "copy", features=PLAIN)
        place.snapshot("copy", "before")
        assert place.run(*Flatten.words).status == 0

    def seen(self, place):
        assert place.read("copy") == OLD and place.read("db") == OLD
        if place.snapshots("copy"):
            assert place.read("copy", "before") == OLD

    def finished(self, place):
        self.seen(place)
        assert place.snapshots("copy") == [] and place.children("db", "monday") == []


class Resize(Operation):
    words = ("radosvol", "resize", "db", str(len(NEW)))

    def prepare(self, place):
        place.make("db", OLD, MAPPED)

    def seen(self, place):
        assert place.read("db") in (OLD, OLD + bytes(len(NEW) - SIZE))

    def finished(self, place):
        assert place.read("db") == OLD + bytes(len(NEW) - SIZE)


OPERATIONS = {
    operation.__name__: operation()
    for operation in (
        SnapshotCreate, SnapshotCreateByOwner, SnapshotGroup, SnapshotRename, SnapshotRemove,
        SnapshotRemoveWithClone, SnapshotRemoveOfFlattened, SnapshotProtect, Restore,
        RestoreClone, CloneNow, Clone, RestoreTo, Flatten, FlattenOld, FlattenTheLast,
        RemoveTheLast, Resize, Create, CreateWithDataPool, Remove, RemoveToTrash, TrashRestore,
        TrashRestoreAs, TrashPurge)
}
