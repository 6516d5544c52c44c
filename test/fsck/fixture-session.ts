/** fsck on a volume that the fixture wrote: its header, a session, and what can be read of it. */

import { createHash, randomBytes } from "node:crypto";
import { lstatSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Auditor } from "../../src/audit/auditor.js";
import type { Session } from "../../src/fsck/session.js";
import { idText } from "../../src/reader/bytes.js";
import type { Node } from "../../src/reader/entry.js";
import { DamageError } from "../../src/reader/errors.js";
import { openSymlink, openXattrs } from "../../src/reader/inode.js";
import type { Volume } from "../../src/reader/volume.js";
import { walk } from "../../src/reader/walk.js";
import { parseHeader, sealHeader } from "../../src/volume/header.js";
import type { FixtureVolume } from "../reader/fixture.js";
import { SEGMENT_SIZE } from "../reader/fixture-log.js";

/** Writes volume.json and its copy, and makes the log. */
export function session(v: FixtureVolume): Session {
  v.open().close();
  const blob = randomBytes(48).toString("base64");
  const nonce = randomBytes(12).toString("base64");
  const slot = {
    blob,
    created: "2026-11-24T00:00:00Z",
    id: 1,
    label: "",
    nonce,
    path: "/key",
    provider: "keyfile",
  };
  const bytes = sealHeader(
    {
      format: 1,
      kind: "files",
      uuid: v.uuid,
      blockSize: v.blockSize as 4096,
      features: ["trusted-records"],
      log: { segmentSize: SEGMENT_SIZE, segments: 4 },
      generation: 1,
      created: "2026-11-24T00:00:00Z",
      commitment: v.keys.commitment.toString("base64"),
      slots: [slot as never],
    },
    v.domainKey,
  );
  for (const name of ["volume.json", "volume.json.bak"])
    writeFileSync(join(v.backing, ".kmsfs", name), bytes);
  const header = parseHeader(bytes);
  return {
    audit: new Auditor(
      { directory: "/nonexistent", policy: "try", syslog: false } as never,
      v.uuid,
      () => undefined,
    ),
    uuid: v.uuid,
    facts: { header, headerDamage: undefined },
    volume: () => v.open(),
    putHeaderBack: async () => [],
  };
}

/** Every inode below a directory with what changes when anything of it does. */
export function stateOf(directory: string): string[] {
  const names = ["", ...readdirSync(directory, { recursive: true, encoding: "latin1" })].sort();
  return names.map((name) => {
    const { ino, mode, uid, gid, nlink, size, mtimeNs, ctimeNs } = lstatSync(
      Buffer.from(name === "" ? directory : `${directory}/${name}`, "latin1"),
      { bigint: true },
    );
    return [name, ino, mode, uid, gid, nlink, size, mtimeNs, ctimeNs].join(" ");
  });
}

const REFUSED = ["record", "type", "binding", "attributes", "duplicate-id"];

/**
 * What a mount gives out of a volume, one line for each name, attribute, target and block. Contents are listed by inode, so
 * that they are the same under another name.
 */
export async function readable(volume: Volume): Promise<Set<string>> {
  const lines = new Set<string>();
  const visit = async (node: Node): Promise<boolean> => {
    const { record } = node;
    const refused = node.damage.some(({ code }) => REFUSED.includes(code));
    if (record === undefined || refused) return node.place === "/";
    const id = idText(record.id);
    if (node.type === "symlink") {
      const target = openSymlink(volume, node, record, []);
      if (target === undefined) return false;
      lines.add(`${id} -> ${target}`);
    }
    if (node.type === "file" && !(await blocks(volume, node, lines))) return false;
    if (node.name !== undefined) lines.add(`${node.place} is ${id}`);
    for (const { name, value } of openXattrs(volume, node, record, []))
      lines.add(`${id} ${name} = ${value.toString("hex")}`);
    return true;
  };
  await walk(volume, {
    enter: visit,
    leave: async () => undefined,
    visit: async (node) => void (await visit(node)),
    stray: () => undefined,
  });
  return lines;
}

async function blocks(volume: Volume, { path, record }: Node, lines: Set<string>): Promise<boolean> {
  if (record === undefined) return false;
  const id = idText(record.id);
  try {
    const open = await volume.openFile(path, record);
    lines.add(`${id} has ${open.file.size} bytes`);
    for await (const found of open.file.walk()) {
      if (found.kind !== "data") continue;
      lines.add(`${id} block ${found.index} ${createHash("sha256").update(found.bytes).digest("hex")}`);
    }
    open.close();
    return true;
  } catch (error) {
    if (error instanceof DamageError) return false;
    throw error;
  }
}
