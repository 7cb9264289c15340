-- Whose share of an agent's resources something uses: who caused it, and how well that sender was known
-- at the time. `standing` is own, known, listed, stranger or unverified; `sender` is empty for own and
-- unverified.

ALTER TABLE outbox ADD COLUMN standing TEXT NOT NULL DEFAULT 'own';
ALTER TABLE outbox ADD COLUMN sender   TEXT NOT NULL DEFAULT '';
UPDATE outbox SET standing = 'unverified' WHERE answers_unverified = 1;
DROP INDEX outbox_held;
ALTER TABLE outbox DROP COLUMN answers_unverified;
CREATE INDEX outbox_held ON outbox (agent, standing, sender, id)
    WHERE state = 'queued' AND held = 1;

-- For timers, delivery updates and task updates. The cause of a settled message is the message's sender.
ALTER TABLE event ADD COLUMN standing TEXT NOT NULL DEFAULT 'own';
ALTER TABLE event ADD COLUMN sender   TEXT NOT NULL DEFAULT '';

ALTER TABLE task ADD COLUMN standing TEXT NOT NULL DEFAULT 'own';
ALTER TABLE task ADD COLUMN sender   TEXT NOT NULL DEFAULT '';
UPDATE task SET standing = 'unverified'
    WHERE inbox IN (SELECT id FROM inbox WHERE authenticity = 'unverified');
UPDATE task SET standing = 'stranger', sender = submitter
    WHERE submitter IS NOT NULL
      AND inbox IN (SELECT id FROM inbox WHERE authenticity = 'verified');
UPDATE event SET (standing, sender) = (
        SELECT standing, sender FROM task
        WHERE task.agent = event.agent AND task.behaviour = event.behaviour
          AND task.key = event.name)
    WHERE kind = 'task' AND EXISTS (
        SELECT 1 FROM task
        WHERE task.agent = event.agent AND task.behaviour = event.behaviour
          AND task.key = event.name);

-- What agents have spent from a day's budget, in AIT, by cause.
ALTER TABLE spending RENAME TO spending_before;
CREATE TABLE spending (
    agent    INTEGER NOT NULL REFERENCES agent (id),
    day      INTEGER NOT NULL,                -- days since the epoch, UTC
    standing TEXT    NOT NULL,
    sender   TEXT    NOT NULL,
    spent    INTEGER NOT NULL,
    PRIMARY KEY (agent, day, standing, sender)
) STRICT, WITHOUT ROWID;
INSERT INTO spending
    SELECT agent, day, 'unverified', '', unverified FROM spending_before WHERE unverified > 0;
INSERT INTO spending
    SELECT agent, day, 'own', '', spent - unverified FROM spending_before
    WHERE spent > unverified;
DROP TABLE spending_before;

-- Transactions of hosted wallets on the chain that the outbox does not know: those that this store lost
-- or never knew, as after a restore from a backup, and those of other programs that sign with the same
-- wallet. The outbox claims a row when it is about to send the same message.
CREATE TABLE sighting (
    id         INTEGER PRIMARY KEY,
    agent      INTEGER NOT NULL REFERENCES agent (id),
    digest     TEXT    NOT NULL,             -- SHA-256 of the signing text
    hash       TEXT    NOT NULL,
    nonce      INTEGER,                      -- NULL where it fits no column
    recipient  TEXT    NOT NULL,
    amount     INTEGER,                      -- NULL where it fits no column
    fee        INTEGER,
    kind       TEXT    NOT NULL,             -- see store/fingerprint.rs
    content    TEXT    NOT NULL,
    message_id TEXT,                         -- the id in its header
    re         TEXT,                         -- the transaction that it answers
    body       TEXT    NOT NULL,             -- as it was posted
    height     INTEGER,                      -- NULL while it is in no block
    block_hash TEXT,
    mark       INTEGER,                      -- seen before agents acted: the highest id of the outbox
                                             -- then; NULL: seen later, and claimed by its bytes alone
    seen_at    INTEGER NOT NULL,
    UNIQUE (agent, digest)
) STRICT;
-- The block of the message that set a timer, where one did.
ALTER TABLE event ADD COLUMN anchor INTEGER;
CREATE INDEX sighting_hash    ON sighting (agent, hash);
CREATE INDEX sighting_height  ON sighting (height);
CREATE INDEX sighting_seen    ON sighting (seen_at);
CREATE INDEX sighting_message ON sighting (agent, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX sighting_claim   ON sighting (agent, recipient, kind, height, id) WHERE mark IS NOT NULL;
CREATE INDEX sighting_re      ON sighting (agent, re) WHERE re IS NOT NULL AND mark IS NOT NULL;
