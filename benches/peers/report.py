"""Medians and spreads of what was measured, and the table of them."""

import statistics

import peers

# By what everybody is compared: the strongest thing that a user would pick instead.
REFERENCE = "haproxy"

ROWS = {
    "http1_us": ("HTTP/1.1, 1 KiB, 64 connections", "µs a request"),
    "http2_us": ("HTTP/2, 1 KiB, 8 × 32 streams", "µs a request"),
    "handshake_us": ("full TLS handshake and one request", "µs"),
    "down_s_per_gib": ("1 MiB bodies down", "s a GiB"),
    "up_s_per_gib": ("1 MiB bodies up", "s a GiB"),
    "p50_us": ("median answer at a moderate rate", "µs, elapsed"),
    "p99_us": ("99 of 100 answers at that rate", "µs, elapsed"),
    "idle_mib": ("memory before the load", "MiB"),
    "kib_per_connection": ("memory of an idle TLS connection", "KiB"),
}


def summarize(chosen, rounds):
    """For each row and peer the median of all rounds, their extremes, and the median of the ratios within a round."""
    summary = {}
    for row in (row for row in ROWS if row in rounds[0][chosen[0]]):
        summary[row] = {}
        for peer in chosen:
            values = [measured[peer][row] for measured in rounds]
            entry = {"median": statistics.median(values), "least": min(values), "most": max(values)}
            for other in (REFERENCE, "nginx"):
                if other in chosen:
                    ratios = [measured[peer][row] / measured[other][row] for measured in rounds]
                    entry[f"to_{other}"] = statistics.median(ratios)
                    entry[f"to_{other}_spread"] = [min(ratios), max(ratios)]
            summary[row][peer] = entry
    return summary


def table(summary, versions, conditions):
    lines = ["", "Processor time of the server's processes where nothing else is said; × is the ratio to HAProxy in the "
             "same round.", "Medians, and in parentheses the least and the most of all rounds.", ""]
    for row, entries in summary.items():
        title, unit = ROWS[row]
        lines.append(f"{title} ({unit})")
        for peer, entry in entries.items():
            spread = f"({entry['least']:.4g} – {entry['most']:.4g})"
            line = f"    {peer:10} {entry['median']:>8.4g} {spread:20}"
            if f"to_{REFERENCE}" in entry:
                low, high = entry[f"to_{REFERENCE}_spread"]
                line += f" × {entry[f'to_{REFERENCE}']:.2f} ({low:.2f} – {high:.2f})"
            if "to_nginx" in entry:
                line += f", to nginx × {entry['to_nginx']:.2f}"
            lines.append(line)
    lines.append("")
    lines += [f"{peer}: {version}; {peers.ALL[peer].note}" for peer, version in versions.items()]
    lines.append(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in conditions.items()))
    if conditions["forced"]:
        lines.append("Measured with --force: others were at work, so that only the ratios say anything.")
    return "\n".join(lines)
