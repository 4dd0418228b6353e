# SPDX-License-Identifier: Apache-2.0
"""Volumes, snapshots and the trash as the stock tools and as ours list them, in one shape, so that
they can be compared.

Stock tools are asked through librbd (package python3-rbd), because starting `rbd` for each question
would take too long; by_command() is there to show that `rbd` itself says the same."""

from dataclasses import dataclass, field

import rbd

STATUS_NEWEST = 20  # snapshots that Status shows


@dataclass
class View:
    """What there is. Whoever does not tell something leaves it None."""

    sizes: dict = field(default_factory=dict)      # name: bytes
    snapshots: dict = field(default_factory=dict)  # name: [(id, name, bytes, protected, children)]
    kept: dict = field(default_factory=dict)       # name: [(id, name, bytes, children)]: removed
    #                                                snapshots that clones need
    trash: dict = field(default_factory=dict)      # id: (name, bytes, snapshots)
    swept: dict = field(default_factory=dict)      # id: whether a plugin deletes it in time
    ids: dict = field(default_factory=dict)        # name: image id
    children: dict = field(default_factory=dict)   # (image id, snapshot id): {image id}
    parents: dict = field(default_factory=dict)    # image id: image id


# --- Stock -----------------------------------------------------------------------------------


def opened(io, image_id):
    """The image read-only, which neither locks nor watches it."""
    return rbd.Image(io, read_only=True, image_id=image_id)


def _children(image, snap_id):
    image.set_snap_by_id(snap_id)
    found = {child["id"] for child in image.list_children2()}
    image.set_snap_by_id(None)
    return found


def _look(view, io, image_id):
    """Returns size, snapshots, kept ones of an image, and notes its clones and its source."""
    snapshots, kept = [], []
    with opened(io, image_id) as image:
        size = image.size()
        for snap in list(image.list_snaps()):
            clones = _children(image, snap["id"])
            if clones:
                view.children[image_id, snap["id"]] = clones
            if snap["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER:
                snapshots.append((snap["id"], snap["name"], snap["size"],
                                  image.is_protected_snap(snap["name"]), len(clones)))
            else:
                name = image.snap_get_trash_namespace(snap["id"])["original_name"]
                kept.append((snap["id"], name, snap["size"], len(clones)))
        try:
            view.parents[image_id] = image.parent_id()
        except rbd.ImageNotFound:
            pass
    return size, snapshots, kept


def by_librbd(cluster):
    view = View(swept=None)
    with cluster.io() as io:
        for name in rbd.RBD().list(io):
            with rbd.Image(io, name, read_only=True) as image:
                view.ids[name] = image.id()
            view.sizes[name], view.snapshots[name], view.kept[name] = _look(view, io,
                                                                            view.ids[name])
        for entry in rbd.RBD().trash_list(io):
            if entry["source"] == "USER":
                size, snapshots, kept = _look(view, io, entry["id"])
                view.trash[entry["id"]] = (entry["name"], size, len(snapshots) + len(kept))
    return view


def by_command(cluster):
    """The same of the command itself, as far as it tells: no clones of what is in the trash."""
    view = View(swept=None, parents=None)
    for name in cluster.rbd_json("ls"):
        info = cluster.rbd_json("info", name)
        view.ids[name], view.sizes[name] = info["id"], info["size"]
        view.snapshots[name], view.kept[name] = [], []
        for snap in cluster.rbd_json("snap", "ls", "--all", name):
            clones = cluster.rbd_json("children", "--all", "--snap-id", snap["id"], name)
            if snap["namespace"]["type"] == "user":
                view.snapshots[name].append((snap["id"], snap["name"], snap["size"],
                                             snap["protected"] == "true", len(clones)))
            else:
                view.kept[name].append((snap["id"], snap["namespace"]["original_name"],
                                        snap["size"], len(clones)))
            if clones:
                view.children[info["id"], snap["id"]] = {clone["id"] for clone in clones}
    for entry in cluster.rbd_json("trash", "ls"):
        info = cluster.rbd_json("info", "--image-id", entry["id"])
        view.trash[entry["id"]] = (entry["name"], info["size"], info["snapshot_count"])
    return view


# --- Ours ------------------------------------------------------------------------------------


def by_socket(plugin):
    view = View(kept=None, children=None, parents=None)
    for name in plugin.list():
        status = plugin.call("Volume.Inspect", {"Name": name})["Volume"]["Status"]
        view.ids[name] = status["image"]
        view.sizes[name] = int(status["size"][:-1]) << {"M": 20, "G": 30}[status["size"][-1]]
        snaps = plugin.call("Snapshot.List", {"Name": name})["Snapshots"]
        view.snapshots[name] = [(s["ID"], s["Name"], s["Size"], s["Protected"], s["Children"])
                                for s in snaps]
        newest = [s["name"] for s in status.get("snapshots", [])]
        assert newest == [s["Name"] for s in reversed(snaps)][:len(newest)], (name, newest, snaps)
        assert len(newest) == len(snaps) or status["snapshot-count"] > STATUS_NEWEST, status
    for removed in plugin.call("Trash.List")["Volumes"]:
        assert removed["State"] == "removed", removed
        view.trash[removed["ID"]] = (removed["Name"], removed["Size"], removed["Snapshots"])
        view.swept[removed["ID"]] = removed["Swept"]
    return view


def by_radosvol(radosvol, names):
    """Snapshots of the volumes NAMES only: each is a run of the program."""
    view = View(ids=None, children=None, parents=None)
    for row in radosvol.json("ls")["volumes"]:
        view.sizes[row["name"]] = row["size"]
    for name in names:
        snaps = radosvol.json("snapshot", "ls", "--all", name)["snapshots"]
        view.snapshots[name] = [(s["id"], s["name"], s["size"], s["protected"], s["children"])
                                for s in snaps if not s["removed"]]
        view.kept[name] = [(s["id"], s["name"], s["size"], s["children"])
                           for s in snaps if s["removed"]]
    for row in radosvol.json("trash", "ls")["removed"]:
        assert row["state"] == "removed", row
        view.trash[row["id"]] = (row["name"], row["size"], row["snapshots"])
        view.swept[row["id"]] = row["then"] == "deleted"
    return view
