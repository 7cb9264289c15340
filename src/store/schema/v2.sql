-- Conversations: ids, answers, expiry, priorities; timers, delivery updates and tasks; the directory;
-- budgets.

-- Two messages are the same if their verified sender gave them the same id or, without an id, if they
-- have the same digest.
ALTER TABLE inbox ADD COLUMN identity   TEXT;
ALTER TABLE inbox ADD COLUMN re         TEXT;                       -- the transaction that it answers
ALTER TABLE inbox ADD COLUMN thread     TEXT;
ALTER TABLE inbox ADD COLUMN expires_at INTEGER;                    -- ms since the epoch
ALTER TABLE inbox ADD COLUMN priority   INTEGER NOT NULL DEFAULT 0; -- 1 goes before 0
ALTER TABLE inbox ADD COLUMN rejected   TEXT;                       -- why a behaviour refused it
UPDATE inbox SET identity = digest;
CREATE UNIQUE INDEX inbox_identity ON inbox (agent, sender, identity);
CREATE INDEX inbox_re ON inbox (re) WHERE re IS NOT NULL;
-- Senders take turns: each verified sender has a lane, and all others share one.
DROP INDEX inbox_due;
CREATE INDEX inbox_due    ON inbox (agent, authenticity, sender, due_at, seq) WHERE state = 'waiting';
CREATE INDEX inbox_urgent ON inbox (agent, sender, due_at, seq)
    WHERE state = 'waiting' AND priority > 0;

-- Events other than messages. A row is deleted when it is handled.
CREATE TABLE event (
    id        INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out twice: outbox.origin names it
    agent     INTEGER NOT NULL REFERENCES agent (id),
    behaviour TEXT    NOT NULL,                  -- whose it is; empty: the runtime's own
    kind      TEXT    NOT NULL,                  -- timer | fate | settled | task | renewal
    name      TEXT    NOT NULL,                  -- of the timer; the label; the task's key
    data      TEXT    NOT NULL,                  -- JSON
    inbox     INTEGER REFERENCES inbox (id) ON DELETE SET NULL, -- the message that it is about
    state     TEXT    NOT NULL DEFAULT 'waiting', -- waiting | dead
    due_at    INTEGER NOT NULL,                  -- ms since the epoch
    attempts  INTEGER NOT NULL DEFAULT 0,        -- failed ones
    reason    TEXT,                              -- of the last failure
    made_at   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_timer ON event (agent, behaviour, name) WHERE kind = 'timer';
CREATE UNIQUE INDEX event_renewal ON event (agent) WHERE kind = 'renewal';
CREATE INDEX event_task  ON event (agent, behaviour, name) WHERE kind = 'task';
CREATE INDEX event_due   ON event (agent, due_at, id) WHERE state = 'waiting';
CREATE INDEX event_dead  ON event (agent, id) WHERE state = 'dead';
CREATE INDEX event_inbox ON event (inbox) WHERE inbox IS NOT NULL;

ALTER TABLE outbox ADD COLUMN message_id TEXT;                       -- the id in its header
ALTER TABLE outbox ADD COLUMN resend_of  INTEGER;                    -- the row whose message it carries again
ALTER TABLE outbox ADD COLUMN expires_at INTEGER;                    -- ms since the epoch
ALTER TABLE outbox ADD COLUMN answers_unverified INTEGER NOT NULL DEFAULT 0; -- 1: paid from the tenth
ALTER TABLE outbox ADD COLUMN budget_day INTEGER;                    -- the day whose budget paid for it
ALTER TABLE outbox ADD COLUMN held       INTEGER NOT NULL DEFAULT 0; -- 1: queued, and waits for a budget
DROP INDEX outbox_queued;
DROP INDEX outbox_turn;
CREATE INDEX outbox_queued ON outbox (id)         WHERE state = 'queued' AND held = 0;
CREATE INDEX outbox_turn   ON outbox (agent, id)  WHERE state = 'queued' AND held = 0;
CREATE INDEX outbox_held   ON outbox (agent, answers_unverified, id)
    WHERE state = 'queued' AND held = 1;
CREATE INDEX outbox_expiry ON outbox (expires_at) WHERE state = 'queued' AND expires_at IS NOT NULL;
CREATE INDEX outbox_failed ON outbox (agent, id)  WHERE state = 'failed';
CREATE INDEX outbox_resend ON outbox (resend_of) WHERE resend_of IS NOT NULL;

-- What is known about the delivery of a sent message, if delivery updates were requested.
CREATE TABLE receipt (
    outbox       INTEGER PRIMARY KEY REFERENCES outbox (id) ON DELETE CASCADE, -- its first transaction
    agent        INTEGER NOT NULL REFERENCES agent (id),
    behaviour    TEXT,                       -- who is told of it; NULL: nobody
    label        TEXT,
    wanted       TEXT,                       -- received | done; NULL: no acknowledgment was asked for
    state        TEXT    NOT NULL,           -- open | received | accepted | done | failed | rejected
                                             -- | expired | unacknowledged | unsent
    detail       TEXT,
    within_ms    INTEGER NOT NULL DEFAULT 0, -- how long an acknowledgment may take to come
    resends_left INTEGER NOT NULL DEFAULT 0,
    mined        INTEGER NOT NULL DEFAULT 0, -- 1: who is told of it knows that it was mined
    due_at       INTEGER,                    -- when it is overdue; NULL until it was mined, and when none is awaited
    changed_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX receipt_due ON receipt (agent, due_at) WHERE due_at IS NOT NULL;

-- The tasks of behaviours.
CREATE TABLE task (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    agent      INTEGER NOT NULL REFERENCES agent (id),
    behaviour  TEXT    NOT NULL,
    key        TEXT    NOT NULL,            -- what the behaviour calls it
    kind       TEXT    NOT NULL,
    input      TEXT    NOT NULL,            -- JSON
    inbox      INTEGER REFERENCES inbox (id) ON DELETE SET NULL, -- the message that started it
    submitter  TEXT,
    state      TEXT    NOT NULL,            -- submitted | working | completed | failed | canceled
    attempts   INTEGER NOT NULL DEFAULT 0,  -- begun ones
    interrupted INTEGER NOT NULL DEFAULT 0, -- of them, those that ended with the process
    due_at     INTEGER NOT NULL DEFAULT 0,
    deadline   INTEGER,
    progress   REAL,
    note       TEXT,
    result     TEXT,
    media_type TEXT,
    error_code TEXT,
    error      TEXT,
    made_at    INTEGER NOT NULL,
    started_at INTEGER,                     -- the last attempt
    ended_at   INTEGER,
    UNIQUE (agent, behaviour, key)
) STRICT;
CREATE INDEX task_open  ON task (due_at, id) WHERE state IN ('submitted', 'working');
CREATE INDEX task_lane  ON task (agent, behaviour, kind, due_at, id) WHERE state = 'submitted';
CREATE INDEX task_deadline ON task (deadline) WHERE state = 'submitted' AND deadline IS NOT NULL;
CREATE INDEX task_inbox ON task (inbox) WHERE inbox IS NOT NULL;
CREATE INDEX task_ended ON task (ended_at) WHERE ended_at IS NOT NULL;

-- The announcements on the chain. The latest one of each address counts; the others are kept in case a
-- reorganisation removes it.
CREATE TABLE card (
    id         INTEGER PRIMARY KEY AUTOINCREMENT, -- in the chain's order within a block
    address    TEXT    NOT NULL,
    hash       TEXT    NOT NULL,
    height     INTEGER NOT NULL,
    public_key TEXT    NOT NULL,
    card       TEXT,                        -- the ANNOUNCE, JSON; NULL: it was withdrawn
    expires_at INTEGER NOT NULL,            -- ms since the epoch; of a withdrawal 0
    announced_at INTEGER NOT NULL,          -- ms since the epoch: as its id says, else when it was seen
    UNIQUE (address, hash)
) STRICT;
CREATE INDEX card_latest  ON card (address, height, id);
CREATE INDEX card_height  ON card (height);
CREATE INDEX card_expires ON card (expires_at);

-- What agents have spent from a day's budget, in AIT.
CREATE TABLE spending (
    agent      INTEGER NOT NULL REFERENCES agent (id),
    day        INTEGER NOT NULL,            -- days since the epoch, UTC
    spent      INTEGER NOT NULL,            -- all of it
    unverified INTEGER NOT NULL,            -- of it, to answer senders who are not proven
    PRIMARY KEY (agent, day)
) STRICT, WITHOUT ROWID;
