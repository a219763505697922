// SPDX-License-Identifier: BSD-2-Clause
// A large answer, piece by piece. Each piece has the deadline of one statement: so a company of any size comes over a slow
// link, and a server that stands still in the middle is noticed as soon as ever.

const FIRST_ROWS = 250;
const MOST_ROWS = 4000;

let cursors = 0;

/**
 * @param {import("./tables.js").Query} query in a transaction
 * @param {number} deadlineMs that of a statement
 * @param {{text: string, values: any[]}} statement
 * @param {(row: any) => void} take called with each row. While it works, the server is already at the next piece
 */
export async function inPieces(query, deadlineMs, { text, values }, take) {
  const cursor = `pieces_${++cursors}`;
  await query(`DECLARE ${cursor} NO SCROLL CURSOR FOR ${text}`, values);
  let asked = FIRST_ROWS;
  let askedAt = performance.now();
  let workedMs = Infinity; // the first one says nothing
  let coming = query(`FETCH ${asked} FROM ${cursor}`);
  for (;;) {
    const waitedFrom = performance.now();
    const { rows } = await coming;
    const now = performance.now();
    const last = rows.length < asked;
    if (!last) {
      asked = sizeAfter(asked, (now - askedAt) / deadlineMs, now - waitedFrom > workedMs);
      askedAt = now;
      coming = query(`FETCH ${asked} FROM ${cursor}`);
      coming.catch(() => undefined); // whoever waits for it is told; nobody does when `take` throws
    }
    for (const row of rows) take(row);
    if (last) return;
    workedMs = performance.now() - now;
  }
}

/** Rows to ask for next. More where the link is what is waited for, so that there are few round trips; so few that one
 * which becomes ten times slower still delivers. @param {number} rows @param {number} share of the deadline that they took
 * @param {boolean} waited longer than worked */
function sizeAfter(rows, share, waited) {
  if (share > 0.1) return Math.max(1, Math.floor(rows / (share * 20)));
  return waited && share < 0.04 ? Math.min(MOST_ROWS, rows * 2) : rows;
}
