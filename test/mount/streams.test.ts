import fc from "fast-check";
import t from "tap";
import { encodeFrame, FrameReader, MAX_FRAME_BYTES } from "../../src/mount/frames.js";
import { LineReader } from "../../src/mount/lines.js";

/** A buffer cut at arbitrary places. */
function pieces(whole: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((cut) => cut % (whole.length + 1)), whole.length].sort((a, b) => a - b);
  return at.slice(1).map((end, i) => whole.subarray(at[i], end));
}

t.test("frames arrive whole and in order however the stream is cut", async () => {
  fc.assert(
    fc.property(
      fc.array(fc.dictionary(fc.string(), fc.jsonValue())),
      fc.array(fc.nat()),
      (messages, cuts) => {
        const sent = messages.map((message) => JSON.parse(JSON.stringify(message)));
        const reader = new FrameReader();
        const got = pieces(Buffer.concat(sent.map(encodeFrame)), cuts).flatMap((piece) => reader.push(piece));
        return JSON.stringify(got) === JSON.stringify(sent);
      },
    ),
  );
});

t.test("a frame's length is a little-endian u32, and bounded both ways", async (t) => {
  t.same(encodeFrame({ a: 1 }), Buffer.concat([Buffer.from([7, 0, 0, 0]), Buffer.from('{"a":1}')]));
  t.throws(() => encodeFrame({ a: "x".repeat(MAX_FRAME_BYTES) }), RangeError);
  t.throws(() => new FrameReader().push(Buffer.from([1, 0, 16, 0])), /frame of/);
});

t.test("lines arrive whole however the stream is cut, also within a character", async () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: "grapheme" })), fc.array(fc.nat()), (texts, cuts) => {
      const lines = texts.map((text) => text.replaceAll("\n", " "));
      const reader = new LineReader();
      const whole = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      const got = pieces(whole, cuts).flatMap((piece) => reader.push(piece));
      return JSON.stringify(got) === JSON.stringify(lines);
    }),
  );
});

t.test("a line without end is refused", async (t) => {
  t.throws(() => new LineReader().push(Buffer.alloc(2 ** 20 + 1, 0x61)), /too long/);
});
