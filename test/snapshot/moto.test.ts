/**
 * moto's EBS as a second opinion on the wire: paths, headers, bodies. It checks nothing and calls its blocks 512 bytes long,
 * which our client refuses: so snapshots are begun and listed by the SDK here, and written and read by our client.
 */

import { randomBytes } from "node:crypto";
import { EBSClient, ListSnapshotBlocksCommand, StartSnapshotCommand } from "@aws-sdk/client-ebs";
import t from "tap";
import { UserError } from "../../src/errors.js";
import { BLOCK_BYTES, Digests, digestOf } from "../../src/snapshot/blocks.js";
import { Ebs } from "../../src/snapshot/ebs.js";
import { startMoto } from "../support/moto.js";

t.test("blocks written by our client are read back through moto", async (t) => {
  const moto = await startMoto();
  t.teardown(() => moto.stop());
  const before = { ...process.env };
  Object.assign(process.env, moto.environment, { AWS_ENDPOINT_URL_EBS: moto.url });
  t.teardown(() => {
    process.env = before;
  });
  const sdk = new EBSClient({});
  const ebs = new Ebs({ concurrency: 4, abort: new AbortController().signal });
  t.teardown(() => {
    sdk.destroy();
    ebs.close();
  });
  const { SnapshotId: id = "" } = await sdk.send(new StartSnapshotCommand({ VolumeSize: 1 }));
  t.match(id, /^snap-/);
  const blocks = new Map([0, 1, 7].map((index) => [index, randomBytes(BLOCK_BYTES)]));
  const digests = new Digests(2048);
  for (const [index, block] of blocks) {
    digests.set(index, digestOf(block));
    await ebs.put(id, index, block, digestOf(block));
  }
  await ebs.complete(id, digests.count, digests.aggregate());
  const { Blocks = [] } = await sdk.send(new ListSnapshotBlocksCommand({ SnapshotId: id }));
  // moto writes the numbers of blocks as text.
  const listed = Blocks.map((block) => ({ index: Number(block.BlockIndex), token: block.BlockToken ?? "" }));
  t.strictSame(listed.map(({ index }) => index).sort(), [...blocks.keys()]);
  for (const block of listed) {
    t.ok(blocks.get(block.index)?.equals(await ebs.get(id, block)), `block ${block.index}`);
  }
  await t.rejects(ebs.list(id).next(), UserError, "blocks of another size are not taken for ours");
});
