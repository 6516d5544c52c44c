/** docs/metrics.md, written from the definitions; a test compares the two. */

import { FAMILIES, type Family } from "./definitions.js";
import { sampleName } from "./exposition.js";

const INTRODUCTION = `# Metrics

<!-- Generated from src/metrics/definitions.ts by scripts/metrics-doc.sh: change it there. -->

\`kmsfs metrics\` prints them, in OpenMetrics text, for all mounts of the host or for one. Every one but \`kmsfs_build_info\`
has the labels \`volume\` (its uuid) and \`mountpoint\`. What nobody knows is left out: a mount whose daemon is gone has
\`kmsfs_mount_up\` 0 and few others.

    kmsfs metrics [DIR]
    kmsfs metrics --textfile /var/lib/prometheus/node-exporter/kmsfs.prom --interval 15
    curl --unix-socket /run/kmsfs/<mount>/control.sock http://kmsfs/metrics

The textfile is whole at any moment, and in Prometheus's older text format, which is the one that node_exporter's textfile
collector reads. \`<mount>\` is the first 16 hex digits of the SHA-256 of the mount point's path.

A **stable** metric keeps its name, type, labels and meaning until the next major version of kmsfs; an **experimental** one
may change in any. The tag stands at the beginning of each HELP text. Counters begin at zero with each mount.

Latencies have the buckets 5, 10, 25, 50, 100, 250 and 500 us, 1, 2.5, 5, 10, 25, 50, 100, 250 and 500 ms, 1, 2.5 and 10 s.

| metric | type | labels | stability | what it says |
| --- | --- | --- | --- | --- |
`;

const ALERTS = `
## What to be woken for

    kmsfs_mount_up == 0                                              # no server, or no daemon that watches it
    increase(kmsfs_tamper_events_total[1h]) > 0                      # somebody, or the disk, changed something
    kmsfs_mount_failed == 1                                          # nothing is written any more
    increase(kmsfs_request_errors_total{errno="EIO"}[5m]) > 0
    kmsfs_scrub_last_done_findings > 0
    time() - kmsfs_scrub_last_done_time_seconds > 40 * 86400         # no scrub went to its end for long
    histogram_quantile(0.99, rate(kmsfs_log_flush_duration_seconds_bucket[5m])) > 0.1
`;

export function metricsDocument(): string {
  return `${INTRODUCTION}${FAMILIES.map(row).join("\n")}\n${ALERTS}`;
}

function row(family: Family): string {
  const labels = family.labels?.map((label) => `\`${label}\``).join(", ") ?? "";
  const name = family.type === "histogram" ? family.name : sampleName(family);
  return `| \`${name}\` | ${family.type} | ${labels} | ${family.stability} | ${family.help} |`;
}
