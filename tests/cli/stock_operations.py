# SPDX-License-Identifier: Apache-2.0
"""Random operations on volumes, snapshots, clones and the trash, each asked for through radosvol,
an endpoint or stock rbd, and a model of what they make."""

import random

import pytest

from lib import stock
from lib.cluster import POOL
from lib.plugin import PluginError, mount_id
from lib.volume_model import BLOCK, MIB, SLOTS, Model, block, slots_of
from raw_blocks import Device, read_image, write_image

MAX_VOLUMES = 9
MAX_TRASH = 5
MAX_SNAPSHOTS = 8  # of a volume
MAX_MOUNTED = 2
SIZES = (1024 * MIB, 1152 * MIB)
GROWTH = 128 * MIB
LARGEST = 2048 * MIB
FEATURES = "layering,exclusive-lock,deep-flatten"

WAYS = ("socket", "radosvol", "stock")


class Operations:
    """Each method is one kind of operation: it chooses, has it done or refused, does the same to
    the model, and returns the volumes concerned; or None when there is nothing to choose from."""

    weights = {"create": 4, "write": 8, "snapshot": 10, "snapshot_remove": 7, "protect": 5,
               "unprotect": 5, "rename": 3, "clone": 10, "restore": 7, "flatten": 5, "resize": 4,
               "remove": 8, "undelete": 5, "purge": 5, "purge_all": 1, "mount": 7, "unmount": 4}

    def __init__(self, seed, plugin, radosvol, cluster):
        self.plugin, self.radosvol, self.cluster = plugin, radosvol, cluster
        self.dice = random.Random(seed)
        self.model = Model()
        self.count = 0  # of names and tags
        self.refused = 0
        self.done = []  # in words

    def step(self):
        concerned = None
        while concerned is None:
            [kind] = self.dice.choices(list(self.weights), self.weights.values())
            concerned = getattr(self, kind)()
        return concerned

    # --- Choosing and asking ---

    def new(self, letter):
        self.count += 1
        return f"{letter}{self.count}"

    def free_name(self):
        """One that a removed volume had."""
        free = [volume.name for volume in self.model.trash if not self.model.named(volume.name)]
        return self.some(free) or self.new("v")

    def taken_name(self):
        return self.some([volume.name for volume in self.model.volumes])

    def some(self, choices):
        return self.dice.choice(choices) if choices else None

    def volume(self, condition=lambda volume: True):
        return self.some([volume for volume in self.model.volumes if condition(volume)])

    def snapshot_of(self, condition=lambda snap: True):
        return self.some([snap for volume in self.model.volumes for snap in volume.visible()
                          if condition(snap)])

    def ask(self, ok, socket=None, radosvol=None, stock=None):
        """Ask for it in one of the ways that are given: (method, body), words, words. It must be
        done if OK, and refused if not. Returns (the way, the answer)."""
        given = {"socket": socket, "radosvol": radosvol, "stock": stock}
        way = self.dice.choice([way for way in WAYS if given[way]])
        words = " ".join(map(str, given[way])) + ("" if ok else ": to be refused")
        self.done.append(f"{len(self.done) + 1} {way}: {words}")
        answer = getattr(self, f"_{way}")(ok, given[way])
        self.refused += not ok
        return way, answer

    def _socket(self, ok, call):
        if ok:
            return self.plugin.call(*call, timeout=120)
        with pytest.raises(PluginError):
            self.plugin.call(*call, timeout=120)
        return None

    def _radosvol(self, ok, words):
        return self.radosvol.json(*words) if ok else self.radosvol.fails(*words)

    def _stock(self, ok, words):
        done = self.cluster.tool("rbd", "--pool", POOL, *words, check=False, timeout=120)
        assert (done.returncode == 0) == ok, done.stderr
        return done.stdout

    # --- Volumes ---

    def create(self):
        if len(self.model.volumes) >= MAX_VOLUMES:
            return None
        size = self.dice.choice(SIZES)
        name = self.free_name() if self.dice.random() < 0.3 else self.new("v")
        fs = self.dice.choice(["ext4", "xfs"])
        way, _ = self.ask(True, ("VolumeDriver.Create",
                                 {"Name": name, "Opts": {"size": text(size), "fs": fs}}),
                          stock=["create", "--image-feature", FEATURES, "--size", text(size),
                                 name])
        return [self.model.create(name, size, fs if way == "socket" else None)]

    def write(self):
        """Where it is mounted, by its device, else by librbd."""
        volume = self.volume()
        if not volume:
            return None
        slots = slots_of(volume.size)
        if volume.mounted:
            slots = [slot for slot in slots if slot != SLOTS[-1]]  # its device may grow later
        slot = self.dice.choice(slots)
        self.count += 1
        tag = 0 if self.dice.random() < 0.2 else self.count
        self.done.append(f"{len(self.done) + 1} write {tag} at {slot // MIB}M of {volume.name}")
        if volume.mounted:
            with Device(self.plugin.path(volume.name)) as device:
                device.write(slot, block(tag))
        else:
            write_image(self.cluster, volume.name, slot, block(tag) if tag else None)
        volume.contents[slot] = tag
        return [volume]

    def resize(self):
        volume = self.volume(lambda volume: volume.size + GROWTH <= LARGEST)
        if not volume:
            return None
        smaller = self.dice.random() < 0.2
        size = volume.size + (-GROWTH if smaller else GROWTH)
        socket = ("Volume.Resize", {"Name": volume.name, "Size": text(size)})
        if volume.mounted and volume.fs == "ext4":
            socket = None  # says so when the kernel does not let the file system grow
        words = ["resize", "--no-progress", "--size", text(size), volume.name]
        self.ask(not smaller, socket, ["resize", volume.name, text(size)],
                 None if smaller else words)
        if not smaller:
            volume.resize(size)
        return [volume]

    def mount(self):
        mounted = sum(1 for volume in self.model.volumes if volume.mounted)
        volume = self.volume(lambda volume: not volume.mounted and
                             (volume.fs or self.dice.random() < 0.1))
        if not volume or mounted >= MAX_MOUNTED:
            return None
        an_id = mount_id()
        self.ask(bool(volume.fs), ("VolumeDriver.Mount", {"Name": volume.name, "ID": an_id}))
        if volume.fs:
            volume.mounted = an_id
        return [volume]

    def unmount(self):
        volume = self.volume(lambda volume: volume.mounted)
        if not volume:
            return None
        self.ask(True, ("VolumeDriver.Unmount", {"Name": volume.name, "ID": volume.mounted}))
        volume.mounted = None
        return [volume]

    # --- Snapshots ---

    def snapshot(self):
        volume = self.volume(lambda volume: len(volume.snapshots) < MAX_SNAPSHOTS)
        if not volume:
            return None
        taken = self.some(volume.visible()) if self.dice.random() < 0.1 else None
        if not taken and self.dice.random() < 0.2:  # by the time
            way, answer = self.ask(True, ("Snapshot.Create", {"Name": volume.name}),
                                   ["snapshot", "create", volume.name])
            volume.take_snapshot(answer["Snapshot"]["Name"] if way == "socket"
                                 else answer["snapshot"])
            return [volume]
        name = taken.name if taken else self.new("s")
        self.ask(not taken, ("Snapshot.Create", {"Name": volume.name, "Snapshot": name}),
                 ["snapshot", "create", volume.name, name],
                 ["snap", "create", "--no-progress", f"{volume.name}@{name}"])
        if not taken:
            volume.take_snapshot(name)
        return [volume]

    def _of_snapshot(self, snap, ok, endpoint, command, words, both=True):
        """An operation that takes nothing but a snapshot. BOTH: stock rbd is asked, too."""
        whole = f"{snap.volume.name}@{snap.name}"
        return self.ask(ok, (endpoint, {"Name": snap.volume.name, "Snapshot": snap.name}),
                        [*command, whole], [*words, whole] if both else None)

    def snapshot_remove(self):
        snap = self.snapshot_of()
        if not snap:
            return None
        way, answer = self._of_snapshot(snap, not snap.protected, "Snapshot.Remove",
                                        ["snapshot", "rm", "--yes"],
                                        ["snap", "rm", "--no-progress"])
        if not snap.protected:
            if way != "stock":
                kept = answer["KeptForClones" if way == "socket" else "kept-for-clones"]
                assert kept == bool(snap.clones)
            snap.volume.remove_snapshot(snap)
        return [snap.volume]

    def _protect(self, protect):
        """Ours does not mind when it is so already."""
        snap = self.snapshot_of(lambda snap: snap.protected != protect or self.dice.random() < 0.1)
        if not snap:
            return None
        word = "protect" if protect else "unprotect"
        self._of_snapshot(snap, True, f"Snapshot.{word.capitalize()}", ["snapshot", word],
                          ["snap", word], both=snap.protected != protect)
        snap.protected = protect
        return [snap.volume]

    def protect(self):
        return self._protect(True)

    def unprotect(self):
        return self._protect(False)

    def rename(self):
        snap = self.snapshot_of()
        if not snap:
            return None
        taken = self.some(snap.volume.visible()) if self.dice.random() < 0.2 else None
        volume, name = snap.volume.name, taken.name if taken else self.new("r")
        self.ask(not taken,
                 ("Snapshot.Rename", {"Name": volume, "Snapshot": snap.name, "To": name}),
                 ["snapshot", "rename", f"{volume}@{snap.name}", name],
                 ["snap", "rename", f"{volume}@{snap.name}", f"{volume}@{name}"])
        if not taken:
            snap.name = name
        return [snap.volume]

    def restore(self):
        """In place. Stock rbd takes no snapshot of what there was."""
        snap = self.snapshot_of()
        if not snap:
            return None
        volume = snap.volume
        way, answer = self._of_snapshot(snap, not volume.mounted, "Snapshot.Restore",
                                        ["restore", "--yes"], ["snap", "rollback", "--no-progress"])
        if not volume.mounted:
            if way != "stock":
                volume.take_snapshot(answer["Before" if way == "socket" else "before"])
            volume.restore(snap)
        return [volume]

    # --- Clones ---

    def clone(self):
        if len(self.model.volumes) >= MAX_VOLUMES:
            return None
        if self.dice.random() < 0.3:
            return self._clone_now()
        snap = self.snapshot_of()
        if not snap:
            return None
        taken = self.volume() if self.dice.random() < 0.1 else None
        source, to = snap.volume.name, taken.name if taken else self.new("c")
        size = max(self.dice.choice([snap.size, snap.size + GROWTH]), snap.size)
        larger = size > snap.size
        opts = {"size": text(size)} if larger else {}
        whole = f"{source}@{snap.name}"
        sockets = [("Volume.Clone",
                    {"Name": source, "Snapshot": snap.name, "To": to, "Opts": opts})]
        if not taken:  # Docker may create what there is once more
            sockets.append(("VolumeDriver.Create", {"Name": to, "Opts": {"from": whole, **opts}}))
        if not larger:
            sockets.append(("Snapshot.Restore", {"Name": source, "Snapshot": snap.name, "To": to}))
        command = ["clone", whole, to, *(["-o", f"size={text(size)}"] if larger else [])]
        if not larger and self.dice.random() < 0.5:
            command = ["restore", whole, "--to", to]
        words = ["clone", "--rbd-default-clone-format", "2", "--image-feature", FEATURES,
                 "--dest-pool", POOL, whole, to]
        self.ask(not taken, self.dice.choice(sockets), command, None if larger else words)
        return [snap.volume] + ([] if taken else [self.model.clone(snap, to, size)])

    def _clone_now(self):
        """Of what a volume holds now: by a snapshot that nobody but the clone needs."""
        volume = self.volume(lambda volume: len(volume.snapshots) < MAX_SNAPSHOTS)
        if not volume:
            return None
        to = self.new("c")
        self.ask(True, ("Volume.Clone", {"Name": volume.name, "To": to}),
                 ["clone", volume.name, to])
        snap = volume.take_snapshot(None, removed=True)
        return [volume, self.model.clone(snap, to, volume.size)]

    def flatten(self):
        volume = self.volume(lambda volume: volume.parent or self.dice.random() < 0.05)
        if not volume:
            return None
        self.ask(True, ("Volume.Flatten", {"Name": volume.name}),
                 ["flatten", volume.name],
                 ["flatten", "--no-progress", volume.name] if volume.parent else None)
        source = volume.parent.volume if volume.parent else volume
        volume.part()
        return [volume, source] if source in self.model.volumes else [volume]

    # --- The trash ---

    def remove(self):
        volume = self.volume(lambda volume: not any(snap.leaving for snap in volume.snapshots))
        if not volume or len(self.model.trash) >= MAX_TRASH:
            return None
        ok = self.model.may_remove(volume)
        socket, words = ("VolumeDriver.Remove", {"Name": volume.name}), ["trash", "mv", volume.name]
        if not ok and not volume.mounted:
            # Stock rbd minds neither clones nor protection.
            ok = self.dice.random() < 0.3
            socket, words = (None, words) if ok else (socket, None)
        way, _ = self.ask(ok, socket, stock=words)
        if ok:
            self.model.remove(volume, swept=way == "socket")
        return [] if ok else [volume]

    def undelete(self):
        volume = self.some(self.model.trash)
        if not volume or len(self.model.volumes) >= MAX_VOLUMES:
            return None
        newest = [other for other in self.model.trash if other.name == volume.name][-1] is volume
        to = self.dice.choice([None, None, self.new("u"), self.taken_name()])
        name = to or volume.name
        ok = not self.model.named(name)
        which = {"Name": volume.name} if newest and self.dice.random() < 0.5 else {"ID": volume.id}
        [word] = which.values()
        self.ask(ok, ("Trash.Restore", {**which, **({"To": to} if to else {})}),
                 ["trash", "restore", word, *(["--as", to] if to else [])],
                 ["trash", "restore", *(["--image", to] if to else []), volume.id])
        if ok:
            self.model.undelete(volume, name)
        return [volume] if ok else []

    def purge(self):
        volume = self.some(self.model.trash)
        if not volume:
            return None
        ok = self.model.may_purge(volume)
        self.ask(ok, ("Trash.Purge", {"ID": volume.id}), ["trash", "purge", "--yes", volume.id],
                 None if ok and volume.snapshots else
                 ["trash", "rm", "--no-progress", "--force", volume.id])
        source = volume.parent.volume if volume.parent else None
        if ok:
            self.model.purge(volume)
        return [source] if source in self.model.volumes else []

    def purge_all(self):
        if not self.model.trash:
            return None
        before = len(self.model.trash)
        stay = self.model.purge_all()
        if stay:
            self.done.append(f"{len(self.done) + 1} socket: purge all; {stay} stay")
            answer = self.plugin.call("Trash.Purge", {"All": True}, timeout=300)
            assert (len(answer["Purged"]), len(answer["Failures"])) == (before - stay, stay), answer
        else:
            _, answer = self.ask(True, ("Trash.Purge", {"All": True}),
                                 ["trash", "purge", "--all", "--yes"])
            assert before == (answer["deleted"] if "deleted" in answer else len(answer["Purged"]))
        return []

    # --- Looking ---

    def compare(self, concerned):
        """What everybody lists; radosvol the snapshots of the volumes concerned."""
        theirs = stock.by_librbd(self.cluster)
        self.model.learn(theirs)
        expected = self.model.view()
        same(theirs, expected, "librbd")
        same(stock.by_socket(self.plugin), expected, "the endpoints")
        same(stock.by_radosvol(self.radosvol, [volume.name for volume in concerned]), expected,
             "radosvol", [volume.name for volume in concerned])

    def check_contents(self, volumes):
        with self.cluster.io() as io:
            for volume in volumes:
                found = read_image(io, volume.id, slots_of(volume.size))
                wrong_slots(volume.name, volume.contents, found)
                for snap in volume.snapshots:
                    found = read_image(io, volume.id, slots_of(snap.size), snap.id)
                    wrong_slots(f"{volume.name}@{snap.name}", snap.contents, found)
        for volume in volumes:
            if volume.mounted:
                with Device(self.plugin.path(volume.name)) as device:
                    slots = [slot for slot in volume.contents if slot + BLOCK <= device.size]
                    wrong_slots(f"the device of {volume.name}",
                                {slot: volume.contents[slot] for slot in slots},
                                {slot: device.read(slot) for slot in slots})

    def look_at_everything(self):
        self.compare(self.model.volumes)
        expected = self.model.view()
        expected.children = {snap: clones for snap, clones in expected.children.items()
                             if snap[0] in expected.ids.values()}
        same(stock.by_command(self.cluster), expected, "rbd")
        self.check_contents(self.model.volumes + self.model.trash)


def text(size):
    return f"{size // MIB}M"


def same(view, expected, who, names=None):
    """NAMES: the volumes whose snapshots were asked for."""
    for member, told in vars(view).items():
        wanted = getattr(expected, member)
        if names is not None and member in ("snapshots", "kept"):
            wanted = {name: wanted[name] for name in names}
        assert told is None or told == wanted, f"{who}: {member}"


def wrong_slots(what, tags, found):
    wrong = [slot // MIB for slot, tag in tags.items() if found[slot] != block(tag)]
    assert not wrong and tags.keys() == found.keys(), f"{what} does not hold {tags}: {wrong} MiB"
