/** Frames of docs/engine-protocol.md: u32 LE length, then that many bytes of JSON, one object. */

export const MAX_FRAME_BYTES = 1024 * 1024;

/** A frame's bytes. Throws RangeError when the message is larger than a frame may be. */
export function encodeFrame(message: object): Buffer {
  const body = Buffer.from(JSON.stringify(message), "utf8");
  if (body.length > MAX_FRAME_BYTES) throw new RangeError(`a message of ${body.length} bytes is too large`);
  const frame = Buffer.allocUnsafe(4 + body.length);
  frame.writeUInt32LE(body.length, 0);
  body.copy(frame, 4);
  return frame;
}

/** Collects a byte stream into messages. Holds at most one frame and one chunk. */
export class FrameReader {
  #pending = Buffer.alloc(0);

  /** The messages that this chunk completes. Throws Error on a length or a body that no peer of ours sends. */
  push(chunk: Buffer): unknown[] {
    this.#pending = Buffer.concat([this.#pending, chunk]);
    const messages: unknown[] = [];
    while (this.#pending.length >= 4) {
      const length = this.#pending.readUInt32LE(0);
      if (length > MAX_FRAME_BYTES) throw new Error(`a frame of ${length} bytes`);
      if (this.#pending.length < 4 + length) break;
      messages.push(JSON.parse(this.#pending.toString("utf8", 4, 4 + length)));
      this.#pending = this.#pending.subarray(4 + length);
    }
    return messages;
  }
}
