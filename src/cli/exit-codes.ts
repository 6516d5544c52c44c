/** Exit codes of the kmsfs command; docs/exit-codes.md says the same in words and a test compares the two. */
export const ExitCode = {
  Ok: 0,
  Unexpected: 1,
  Usage: 2,
  NotAVolume: 3,
  NewerFormat: 4,
  WrongKey: 5,
  KmsDenied: 6,
  KmsUnreachable: 7,
  KmsKeyUnusable: 8,
  KmsThrottled: 9,
  NoCredentials: 10,
  InUse: 11,
  Damaged: 12,
  MountPoint: 13,
  Backing: 14,
  Tampered: 15,
  EngineFailed: 16,
  NotMounted: 17,
  PinMismatch: 18,
  NoSpace: 19,
  Privilege: 20,
  Busy: 21,
  MemoryLock: 22,
  KmsKeyNotFound: 23,
  KmsKeyDisabled: 24,
  KmsIncorrectKey: 25,
  KmsCiphertext: 26,
  KmsTimeout: 27,
  NoRegion: 28,
  KeyFile: 29,
  AuditFailed: 30,
  Incomplete: 32,
  Findings: 33,
  Repaired: 34,
  Unrepaired: 35,
  NoSuchSnapshot: 40,
  EbsDenied: 41,
  EbsUnreachable: 42,
  SnapshotTarget: 43,
  SnapshotDiffers: 44,
  SnapshotManifest: 45,
  Interrupted: 130,
} as const;

export type ExitCodeName = keyof typeof ExitCode;

/** `ExitCode` as a name, for the code that a daemon or the engine reported; null when there is no such code. */
export function isExitCodeName(name: string): name is ExitCodeName {
  return Object.hasOwn(ExitCode, name);
}
