import fc from "fast-check";
import t from "tap";
import { canonicalRecoveryKey, newRecoveryKey } from "../../src/keys/recovery-key.js";

t.test("recovery keys: 256 bits, never the same, found in any spelling", async (t) => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom("-", " ", ""), { minLength: 64, maxLength: 64 }),
      fc.boolean(),
      (between, upper) => {
        const key = newRecoveryKey().toString();
        seen.add(key);
        const letters = [...key.replaceAll("-", "")].map((letter, i) => letter + (between[i] ?? "")).join("");
        const typed = Buffer.from(upper ? letters.toUpperCase() : letters);
        return (
          /^([bcdefghijklnrtuv]{8}-){7}[bcdefghijklnrtuv]{8}$/.test(key) &&
          canonicalRecoveryKey(typed).toString() === key
        );
      },
    ),
  );
  t.equal(seen.size, 100);
});

t.test("any other passphrase stays as it is, byte for byte", async (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) =>
      canonicalRecoveryKey(Buffer.from(bytes)).equals(bytes),
    ),
  );
  const key = newRecoveryKey();
  for (const other of [Buffer.concat([key, Buffer.from("b")]), key.subarray(1), Buffer.from("-- --")]) {
    t.ok(canonicalRecoveryKey(Buffer.from(other)).equals(other));
  }
});
