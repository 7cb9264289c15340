-- Whose share of an agent's resources something uses: who brought it about, and how well that
-- sender was known then. `standing` is own, known, listed, stranger or unverified; `sender` is empty
-- for own and unverified.

ALTER TABLE outbox ADD COLUMN standing TEXT NOT NULL DEFAULT 'own';
ALTER TABLE outbox ADD COLUMN sender   TEXT NOT NULL DEFAULT '';
UPDATE outbox SET standing = 'unverified' WHERE answers_unverified = 1;
DROP INDEX outbox_held;
ALTER TABLE outbox DROP COLUMN answers_unverified;
CREATE INDEX outbox_held ON outbox (agent, standing, sender, id)
    WHERE state = 'queued' AND held = 1;

-- Of timers, fates and news of tasks. The sender of a settled message is the message's.
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

-- What agents have spent of a day's budget, in AIT, by who brought it about.
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
