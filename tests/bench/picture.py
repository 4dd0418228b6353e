# SPDX-License-Identifier: Apache-2.0
"""A picture of what tests/bench/data found: a line for each kind of I/O, and on it a dot for each
column, at its share of what raw librados does. SVG, without a library."""

from xml.sax.saxutils import escape

COLOURS = {"a": "#888888", "b": "#e69f00", "c": "#0057b7", "d": "#56b4e9", "e": "#cc3311",
           "f": "#117733", "c2": "#aa4499", "d2": "#ddaadd"}
LEFT, RIGHT, TOP, BOTTOM, STEP = 260, 30, 70, 60, 26
WIDTH = 860


def text(x, y, words, anchor="start", size=13, fill="#222"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{fill}">{escape(words)}</text>')


def dot(x, y, key):
    size = 7 if key in "cd" else 5
    return (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{COLOURS[key]}" '
            'fill-opacity="0.85"/>')


def draw(rows, labels, caption):
    """`rows`: [(label, {column key: share of librados})], `labels`: {column key: words}."""
    most = max(share for _, shares in rows for share in shares.values())
    end = max(1.0, -(-most * 4 // 1) / 4)  # up to the next quarter
    height = TOP + STEP * len(rows) + BOTTOM
    base = TOP + STEP * len(rows)

    def x_of(share):
        return LEFT + (WIDTH - LEFT - RIGHT) * share / end

    out = ['<!-- SPDX-License-Identifier: Apache-2.0 -->',
           f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
           f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
           text(16, 26, "Throughput as a share of raw librados", size=16)]
    x = 16
    for key, label in labels.items():
        out += [dot(x + 7, 48, key), text(x + 18, 53, label, size=12)]
        x += 34 + 7 * len(label)
    for quarter in range(int(end * 4) + 1):
        at = x_of(quarter / 4)
        out += [f'<line x1="{at:.0f}" x2="{at:.0f}" y1="{TOP}" y2="{base}" '
                f'stroke="{"#888" if quarter == 4 else "#ddd"}"/>',
                text(at, base + 18, f"{quarter * 25} %", "middle", 12)]
    for i, (label, shares) in enumerate(rows):
        y = TOP + STEP * (i + 0.5)
        out += [text(LEFT - 12, y + 4, label, "end"),
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#eee"/>']
        out += [dot(x_of(share), y, key) for key, share in shares.items()]
    out += [text(16, height - 14, caption, size=11, fill="#666"), "</svg>"]
    return "\n".join(out) + "\n"
