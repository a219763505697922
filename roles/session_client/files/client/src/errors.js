// SPDX-License-Identifier: BSD-2-Clause
// Everything that this package throws. An error says what happened to what, and what to do about it.
//
//   SessionClientError
//   ├── Unavailable            the database does not answer, or takes no writes; asking again can help
//   ├── Refused                the database refused this one statement
//   ├── Misconfigured          tables, rights, settings
//   ├── UnknownCompany         no row of creds, and nobody allowed a new one
//   ├── CredsInvalid           creds that are null, broken or of the wrong shape
//   ├── KeysUndecodable        stored keys that are no keys
//   ├── AbsenceUnproven        nobody can say that this key does not exist
//   ├── WriterBusy             another process has this session
//   ├── Fenced                 the session has gone on elsewhere: nothing of ours may be written any more
//   ├── CopyRefused            a journal or cache on disk that must not be used
//   ├── SessionStopped         closed, or stopped by its own policy
//   ├── FilesFailed            files that cannot be read, or take no writes
//   ├── StoreDiffers           the store that a session was to move to does not hold what memory holds
//   ├── SwitchRefused          that phase of a move is not to be had now
//   ├── HoldExpired            a hold that was not sealed in time, and has ended
//   ├── Committed              a move that cannot be taken back any more: the session lives in its new store
//   ├── NotOpen                this process does not have that company
//   └── Drained                given away to a failover; asking again can help, once that was taken back

export class SessionClientError extends Error {
  /**
   * @param {string} message what happened, and to what
   * @param {{hint?: string, cause?: unknown, company?: string}} [about] `hint`: what to do
   */
  constructor(message, { hint = "", cause, company } = {}) {
    super(hint ? `${message}. HINT: ${hint}` : message, cause === undefined ? undefined : { cause: plain(cause) });
    this.name = new.target.name;
    this.hint = hint;
    this.company = company;
    /** Whether asking again, later, can help. */
    this.retryable = false;
  }
}

export class Unavailable extends SessionClientError {
  /** @param {string} message @param {ConstructorParameters<typeof SessionClientError>[1]} [about] */
  constructor(message, about) {
    super(message, about);
    this.retryable = true;
  }
}
export class Refused extends SessionClientError {}
export class Misconfigured extends SessionClientError {}
export class UnknownCompany extends SessionClientError {}
export class CredsInvalid extends SessionClientError {}
export class KeysUndecodable extends SessionClientError {}
export class AbsenceUnproven extends SessionClientError {}
export class WriterBusy extends SessionClientError {}
export class Fenced extends SessionClientError {
  /** Only the store of record says so, and a move that was taken back may still be told there: journal and cache stay where
   * they are, and are judged again. */
  mayPass = false;
}
export class CopyRefused extends SessionClientError {}
export class SessionStopped extends SessionClientError {}
export class FilesFailed extends SessionClientError {}
export class StoreDiffers extends SessionClientError {}
export class SwitchRefused extends SessionClientError {}
export class HoldExpired extends SessionClientError {}
export class Committed extends SessionClientError {}
export class NotOpen extends SessionClientError {}
export class Drained extends SessionClientError {
  /** @param {string} message @param {ConstructorParameters<typeof SessionClientError>[1]} [about] */
  constructor(message, about) {
    super(message, about);
    this.retryable = true;
  }
}

/**
 * An error of a library as it may be told and logged: the path of a file, the detail of a statement hold ids of keys, which are
 * phone numbers. What stays is what failed, and the code.
 * @param {any} error
 */
export function plain(error) {
  if (error instanceof SessionClientError) return error;
  const code = error?.code ?? error?.errors?.[0]?.code;
  const told = new Error(wordsOf(error));
  return code === undefined ? told : Object.assign(told, { code });
}

/** The same in words. @param {any} error @returns {string} */
export function wordsOf(error) {
  if (error instanceof SessionClientError) return error.message;
  if (error?.errors?.length) return wordsOf(error.errors[0]); // one a resolved address
  if (typeof error?.path === "string" || typeof error?.dest === "string") return `${error.syscall ?? "access"} failed (${error.code})`;
  const text = String(error?.message || error?.code || error).split("\n")[0];
  return /^22/.test(error?.code ?? "") ? text.replace(/: ".*$/, "") : text; // PostgreSQL quotes a value that it cannot take
}

/** A file system's error: the code where there is one. @param {any} error */
export const codeOf = (error) => error?.code ?? wordsOf(error);

/** After these a session must not go on: it is somebody else's. @param {unknown} error */
export const isSomebodyElses = (error) => error instanceof Fenced || error instanceof WriterBusy;
