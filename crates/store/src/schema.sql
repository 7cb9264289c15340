-- The tables of a store. A word in a column is one of those that its CHECK lists. More than two are not
-- listed with IN: for each statement, SQLite would make a table of them first.
--
-- Times are milliseconds since the epoch. Amounts are in AIT.
--
-- `standing` and `sender` say whose share of an agent's resources something uses: who caused it, and
-- how well that sender was known at the time. `sender` is empty for the agent itself (`own`) and for
-- unverified senders.
--
-- References are checked at the end of a transaction: a row may be written before the one that it
-- refers to.

-- Single values on the chain and on this store, by key.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What the tables below do not have yet: groups of commits, in the order in which they were applied.
-- Everything is written here first, and ids are assigned then (`ids` in `meta`: the last ones). `position` in `meta` is the last record that the tables have.
CREATE TABLE log (
    position INTEGER PRIMARY KEY,
    record   TEXT NOT NULL                   -- its checksum, and JSON
) STRICT;

-- The hosted wallets.
CREATE TABLE agent (
    id           INTEGER PRIMARY KEY,
    address      TEXT    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    start_height INTEGER NOT NULL CHECK (start_height >= 0), -- messages in lower blocks are ignored
    last_nonce   INTEGER CHECK (last_nonce >= 0), -- the highest nonce ever assigned to the wallet
    low_budget_day INTEGER CHECK (low_budget_day >= 0) -- of which operators were told that its budget is low
) STRICT;

-- The messages to hosted wallets. Two messages are the same if their verified sender gave them the same
-- id or, without an id, if they have the same digest.
CREATE TABLE inbox (
    id           INTEGER PRIMARY KEY, -- never assigned twice
    agent        INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    digest       BLOB    NOT NULL,             -- SHA-256 of the signing text
    hash         BLOB    NOT NULL,             -- of the transaction that carried it
    sender       TEXT    NOT NULL,
    height       INTEGER CHECK (height >= 0),  -- NULL while a reorganisation has withdrawn it
    stored       TEXT    NOT NULL,             -- the transaction as the chain keeps it, JSON; empty:
                                               -- pruned
    authenticity TEXT    NOT NULL CHECK (authenticity IN ('verified', 'unverified')),
    standing     TEXT    NOT NULL,             -- of the sender, when the message arrived
    state        TEXT    NOT NULL
        CHECK (state = 'waiting' OR state = 'withdrawn' OR state = 'handled'
            OR state = 'expired' OR state = 'dead'),
    seq          INTEGER NOT NULL,             -- order of arrival: the id times 2^20; assigned again
                                               -- when a withdrawn message returns
    attempts     INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- failed ones
    due_at       INTEGER NOT NULL DEFAULT 0,   -- 0 until a first attempt has failed
    reason       TEXT,                         -- of the last failure
    seen_at      INTEGER NOT NULL,
    settled_at   INTEGER,
    identity     TEXT,                         -- its id, or its digest
    re           BLOB,                         -- the transaction that it answers
    thread       TEXT,
    expires_at   INTEGER,
    priority     INTEGER NOT NULL DEFAULT 0 CHECK (priority IN (0, 1)), -- 1 goes before 0
    rejected     TEXT,                         -- why a behaviour rejected it
    UNIQUE (agent, digest),
    CHECK (standing = 'known' OR standing = 'listed' OR standing = 'stranger'
        OR standing = 'unverified'),
    CHECK ((standing = 'unverified') = (authenticity = 'unverified'))
) STRICT;
CREATE UNIQUE INDEX inbox_identity ON inbox (agent, sender, identity);
CREATE INDEX inbox_waiting  ON inbox (agent, id) WHERE state = 'waiting';
CREATE INDEX inbox_height   ON inbox (height);
CREATE INDEX inbox_returned ON inbox (seq) WHERE height IS NOT NULL AND seq % 1048576 <> 0;
CREATE INDEX inbox_re       ON inbox (re) WHERE re IS NOT NULL;
CREATE INDEX inbox_settled  ON inbox (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX inbox_prunable ON inbox (agent, standing, sender, settled_at, id)
    WHERE settled_at IS NOT NULL AND stored <> '';
CREATE INDEX inbox_dead     ON inbox (agent, id) WHERE state = 'dead';

-- The behaviours that have handled a message which others have still to handle.
CREATE TABLE progress (
    inbox     INTEGER NOT NULL REFERENCES inbox (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    behaviour TEXT    NOT NULL,
    PRIMARY KEY (inbox, behaviour)
) STRICT, WITHOUT ROWID;

-- Messages that name a sender who did not sign them. They reach no behaviour.
CREATE TABLE forged (
    agent   INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    hash    BLOB    NOT NULL,
    sender  TEXT    NOT NULL,
    height  INTEGER NOT NULL CHECK (height >= 0),
    stored  TEXT    NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (agent, hash)
) STRICT;
CREATE INDEX forged_seen   ON forged (seen_at);
CREATE INDEX forged_oldest ON forged (agent, seen_at);

-- The state of behaviours.
CREATE TABLE state (
    agent     INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    behaviour TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    value     TEXT    NOT NULL,
    PRIMARY KEY (agent, behaviour, key)
) STRICT, WITHOUT ROWID;

-- Events other than messages. A row is deleted when it is handled; a start is held then.
CREATE TABLE event (
    id        INTEGER PRIMARY KEY, -- never assigned twice
    agent     INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    behaviour TEXT    NOT NULL,                  -- empty: the runtime's own
    kind      TEXT    NOT NULL
        CHECK (kind = 'timer' OR kind = 'delivery' OR kind = 'settled' OR kind = 'task'
            OR kind = 'renewal' OR kind = 'start' OR kind = 'tick'),
    name      TEXT    NOT NULL,                  -- of the timer or schedule; the label; the task's key
    data      TEXT    NOT NULL,                  -- JSON
    -- The message that it is about
    inbox     INTEGER REFERENCES inbox (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    state     TEXT    NOT NULL DEFAULT 'waiting'
        CHECK (state = 'waiting' OR state = 'dead' OR state = 'held'),
    due_at    INTEGER NOT NULL,
    attempts  INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- failed ones
    reason    TEXT,                              -- of the last failure
    made_at   INTEGER NOT NULL,
    -- The cause of a settled message is the message's sender.
    standing  TEXT    NOT NULL DEFAULT 'own',
    sender    TEXT    NOT NULL DEFAULT '',
    anchor    INTEGER,                           -- the block of the message that set the timer
    origin    TEXT    NOT NULL,                  -- what brought it about, by content
    hops      INTEGER NOT NULL DEFAULT 0 CHECK (hops >= 0), -- of the messages that follow from it
    trace     TEXT,                              -- the same
    CHECK (standing = 'own' OR standing = 'known' OR standing = 'listed'
        OR standing = 'stranger' OR standing = 'unverified'),
    CHECK ((sender = '') = (standing IN ('own', 'unverified')))
) STRICT;
CREATE UNIQUE INDEX event_timer   ON event (agent, behaviour, name) WHERE kind = 'timer';
CREATE INDEX        event_plan    ON event (agent, behaviour, name)
    WHERE (kind = 'start' OR kind = 'tick');
CREATE UNIQUE INDEX event_renewal ON event (agent) WHERE kind = 'renewal';
CREATE INDEX        event_task    ON event (agent, behaviour, name) WHERE kind = 'task';
CREATE INDEX        event_due     ON event (agent, due_at, id) WHERE state = 'waiting';
CREATE INDEX        event_dead    ON event (agent, id) WHERE state = 'dead';
CREATE INDEX        event_inbox   ON event (inbox) WHERE inbox IS NOT NULL;

-- The transactions that hosted wallets send.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY,
    agent       INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    origin      TEXT    NOT NULL UNIQUE,       -- what requested it, by content: the same request is one row
    inbox       INTEGER REFERENCES inbox (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    recipient   TEXT    NOT NULL,
    amount      INTEGER NOT NULL CHECK (amount >= 0),
    fee         INTEGER NOT NULL CHECK (fee >= 0),
    payload     TEXT,                          -- JSON; NULL once it is signed: it is in the body
    state       TEXT    NOT NULL
        CHECK (state = 'queued' OR state = 'prepared' OR state = 'accepted' OR state = 'mined'
            OR state = 'final' OR state = 'failed'),
    reason      TEXT,                          -- why it waits or failed
    nonce       INTEGER CHECK (nonce >= 0),
    hash        BLOB,
    digest      BLOB,
    body        TEXT,                          -- the signed bytes, as posted
    since       INTEGER,                       -- it is in no block up to this one
    posts       INTEGER NOT NULL DEFAULT 0 CHECK (posts >= 0),
    posted_at   INTEGER,                       -- the last of them
    height      INTEGER CHECK (height >= 0),
    block_hash  BLOB,
    created_at  INTEGER NOT NULL,
    prepared_at INTEGER,
    accepted_at INTEGER,
    mined_at    INTEGER,
    settled_at  INTEGER,
    message_id  BLOB,                          -- the id in its header
    resend_of   INTEGER,                       -- the row whose message it carries again
    expires_at  INTEGER,
    budget_day  INTEGER,                       -- the day whose budget paid for it
    held        INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)), -- 1: waits for a budget
    unapproved  INTEGER NOT NULL DEFAULT 0 CHECK (unapproved IN (0, 1)), -- 1: waits for an operator
    standing    TEXT    NOT NULL DEFAULT 'own',
    sender      TEXT    NOT NULL DEFAULT '',
    CHECK (state IN ('queued', 'failed') OR body IS NOT NULL),
    CHECK ((payload IS NULL) = (body IS NOT NULL)),
    CHECK (standing = 'own' OR standing = 'known' OR standing = 'listed'
        OR standing = 'stranger' OR standing = 'unverified'),
    CHECK ((sender = '') = (standing IN ('own', 'unverified')))
) STRICT;
CREATE UNIQUE INDEX outbox_digest   ON outbox (digest)     WHERE digest IS NOT NULL;
CREATE INDEX        outbox_hash     ON outbox (hash)       WHERE hash IS NOT NULL;
CREATE INDEX        outbox_message  ON outbox (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX        outbox_open     ON outbox (agent, state, held)
    WHERE (state = 'queued' OR state = 'prepared' OR state = 'accepted');
CREATE INDEX        outbox_unapproved ON outbox (id)
    WHERE state = 'queued' AND unapproved = 1;
CREATE INDEX        outbox_nonce    ON outbox (agent, nonce) WHERE state IN ('mined', 'final');
CREATE INDEX        outbox_mined    ON outbox (height)     WHERE state = 'mined';
CREATE INDEX        outbox_final    ON outbox (height)     WHERE state = 'final';
CREATE INDEX        outbox_since    ON outbox (since)
    WHERE since IS NOT NULL AND state <> 'final';
CREATE INDEX        outbox_failed   ON outbox (agent, id)  WHERE state = 'failed';
CREATE INDEX        outbox_settled  ON outbox (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX        outbox_prunable ON outbox (agent, standing, sender, state, settled_at, id)
    WHERE settled_at IS NOT NULL;
CREATE INDEX        outbox_inbox    ON outbox (inbox)      WHERE inbox IS NOT NULL;
CREATE INDEX        outbox_resend   ON outbox (resend_of)  WHERE resend_of IS NOT NULL;

-- What is known about the delivery of a sent message, if delivery updates were requested.
CREATE TABLE receipt (
    -- Its first transaction
    outbox       INTEGER PRIMARY KEY
        REFERENCES outbox (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,
    agent        INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    behaviour    TEXT,                       -- the one that is told; NULL: nobody
    label        TEXT,
    wanted       TEXT CHECK (wanted IN ('received', 'done')), -- the requested acknowledgment, if any
    state        TEXT    NOT NULL
        CHECK (state = 'open' OR state = 'received' OR state = 'accepted' OR state = 'done'
            OR state = 'failed' OR state = 'rejected' OR state = 'expired'
            OR state = 'unacknowledged' OR state = 'unsent'),
    detail       TEXT,
    within_ms    INTEGER NOT NULL DEFAULT 0 CHECK (within_ms >= 0), -- time for an acknowledgment
    resends_left INTEGER NOT NULL DEFAULT 0 CHECK (resends_left >= 0),
    mined        INTEGER NOT NULL DEFAULT 0 CHECK (mined IN (0, 1)), -- 1: the behaviour knows
    due_at       INTEGER,                    -- when it is overdue; NULL until it is mined, and if no
                                             -- acknowledgment is awaited
    changed_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX receipt_due ON receipt (agent, due_at) WHERE due_at IS NOT NULL;

-- The tasks of behaviours.
CREATE TABLE task (
    id          INTEGER PRIMARY KEY,
    agent       INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    behaviour   TEXT    NOT NULL,
    key         TEXT    NOT NULL,            -- the name that the behaviour gave it
    kind        TEXT    NOT NULL,
    input       TEXT    NOT NULL,            -- JSON
    -- The message that started it
    inbox       INTEGER REFERENCES inbox (id) ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
    submitter   TEXT,
    state       TEXT    NOT NULL
        CHECK (state = 'submitted' OR state = 'working' OR state = 'input-required'
            OR state = 'completed' OR state = 'failed' OR state = 'canceled'),
    attempts    INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- started ones
    interrupted INTEGER NOT NULL DEFAULT 0 CHECK (interrupted >= 0), -- those that ended with the process
    -- The tokens of models that the attempts have used
    input_tokens  INTEGER NOT NULL DEFAULT 0 CHECK (input_tokens >= 0),
    output_tokens INTEGER NOT NULL DEFAULT 0 CHECK (output_tokens >= 0),
    -- What the running attempt has reserved of a day's tokens (days since the epoch, UTC)
    budget_day      INTEGER CHECK (budget_day >= 0),
    reserved_tokens INTEGER CHECK (reserved_tokens >= 0),
    due_at      INTEGER NOT NULL DEFAULT 0,
    deadline    INTEGER,
    progress    REAL CHECK (progress BETWEEN 0 AND 1),
    note        TEXT,
    result      TEXT,
    media_type  TEXT,
    error_code  TEXT,
    error       TEXT,
    made_at     INTEGER NOT NULL,
    started_at  INTEGER,                     -- the last attempt
    ended_at    INTEGER,
    standing    TEXT    NOT NULL DEFAULT 'own',
    sender      TEXT    NOT NULL DEFAULT '',
    origin      TEXT    NOT NULL,            -- what started it, by content
    hops        INTEGER NOT NULL DEFAULT 0 CHECK (hops >= 0), -- of the messages that follow from it
    trace       TEXT,                        -- the same
    answers     TEXT    NOT NULL DEFAULT '[]', -- to its questions, JSON
    question    TEXT,                        -- that it waits with, JSON
    unapproved  INTEGER NOT NULL DEFAULT 0 CHECK (unapproved IN (0, 1)), -- 1: waits for an operator
    UNIQUE (agent, behaviour, key),
    CHECK ((ended_at IS NULL) = (state IN ('submitted', 'working', 'input-required'))),
    CHECK ((question IS NULL) = (state <> 'input-required')),
    CHECK (standing = 'own' OR standing = 'known' OR standing = 'listed'
        OR standing = 'stranger' OR standing = 'unverified'),
    CHECK ((sender = '') = (standing IN ('own', 'unverified')))
) STRICT;
CREATE INDEX task_open     ON task (due_at, id)
    WHERE state IN ('submitted', 'working', 'input-required');
CREATE INDEX task_unapproved ON task (id) WHERE state = 'submitted' AND unapproved = 1;
CREATE INDEX task_inbox    ON task (inbox) WHERE inbox IS NOT NULL;
CREATE INDEX task_ended    ON task (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX task_prunable ON task (agent, standing, sender, ended_at, id)
    WHERE ended_at IS NOT NULL;

-- The announcements on the chain. The latest one of each address counts; the others are kept in case a
-- reorganisation removes it.
CREATE TABLE card (
    id           INTEGER PRIMARY KEY, -- in the chain's order within a block
    address      TEXT    NOT NULL,
    hash         BLOB    NOT NULL,
    height       INTEGER NOT NULL CHECK (height >= 0),
    public_key   BLOB    NOT NULL,
    card         TEXT,                       -- the ANNOUNCE, JSON; NULL: it was withdrawn
    expires_at   INTEGER NOT NULL,           -- 0 for a withdrawal
    announced_at INTEGER NOT NULL,           -- the time in its id, or when it was seen
    UNIQUE (address, hash)
) STRICT;
CREATE INDEX card_latest  ON card (address, height, id);
CREATE INDEX card_height  ON card (height);
CREATE INDEX card_expires ON card (expires_at);

-- What agents have spent from a day's budgets, by cause.
CREATE TABLE spending (
    agent    INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    day      INTEGER NOT NULL CHECK (day >= 0), -- days since the epoch, UTC
    standing TEXT    NOT NULL,
    sender   TEXT    NOT NULL,
    spent    INTEGER NOT NULL CHECK (spent >= 0),
    tokens   INTEGER NOT NULL DEFAULT 0 CHECK (tokens >= 0), -- of models; with those that are reserved
    PRIMARY KEY (agent, day, standing, sender),
    CHECK (standing = 'own' OR standing = 'known' OR standing = 'listed'
        OR standing = 'stranger' OR standing = 'unverified'),
    CHECK ((sender = '') = (standing IN ('own', 'unverified')))
) STRICT, WITHOUT ROWID;

-- Transactions of hosted wallets on the chain that the outbox does not know: those that this store lost
-- or never knew, as after a restore from a backup, and those of other programs that sign with the same
-- wallet. The outbox claims a row when it is about to send the same message.
CREATE TABLE sighting (
    id         INTEGER PRIMARY KEY, -- in the order in which they were seen
    agent      INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    digest     BLOB    NOT NULL,             -- SHA-256 of the signing text
    hash       BLOB    NOT NULL,
    nonce      INTEGER,                      -- NULL if it fits no column
    recipient  TEXT    NOT NULL,
    amount     INTEGER,                      -- NULL if it fits no column
    fee        INTEGER,
    kind       TEXT    NOT NULL,             -- of its fingerprint, like `content`
    content    BLOB    NOT NULL,
    message_id BLOB,                         -- the id in its header
    re         BLOB,                         -- the transaction that it answers
    body       TEXT    NOT NULL,             -- as it was posted
    height     INTEGER CHECK (height >= 0),  -- NULL while it is in no block
    block_hash BLOB,
    mark       INTEGER,                      -- seen before agents acted: the highest id of the outbox
                                             -- then; NULL: seen later, and claimed by its bytes alone
    seen_at    INTEGER NOT NULL,
    UNIQUE (agent, digest)
) STRICT;
CREATE INDEX sighting_hash    ON sighting (agent, hash);
CREATE INDEX sighting_height  ON sighting (height);
CREATE INDEX sighting_nonce   ON sighting (agent, nonce) WHERE height IS NOT NULL AND nonce IS NOT NULL;
CREATE INDEX sighting_seen    ON sighting (seen_at);
CREATE INDEX sighting_message ON sighting (agent, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX sighting_claim   ON sighting (agent, recipient, kind, height, id) WHERE mark IS NOT NULL;
CREATE INDEX sighting_re      ON sighting (agent, re) WHERE re IS NOT NULL AND mark IS NOT NULL;

-- Who may call the runtime from outside. The secrets themselves are stored nowhere.
CREATE TABLE token (
    name         TEXT    NOT NULL PRIMARY KEY,
    secret       BLOB    NOT NULL UNIQUE,      -- SHA-256 of the secret
    agents       TEXT,                         -- the wallets that its holder may use, JSON; NULL: all
    may_read     INTEGER NOT NULL CHECK (may_read IN (0, 1)),
    may_send     INTEGER NOT NULL CHECK (may_send IN (0, 1)),
    may_operate  INTEGER NOT NULL CHECK (may_operate IN (0, 1)),
    recipients   TEXT,                         -- to whom its holder may send, JSON; NULL: to all
    daily_budget INTEGER CHECK (daily_budget >= 0), -- NULL: no limit of its own
    made_at      INTEGER NOT NULL,
    expires_at   INTEGER,
    day          INTEGER NOT NULL CHECK (day >= 0), -- on which its holder spent last: days since the epoch
    spent        INTEGER NOT NULL CHECK (spent >= 0) -- on that day
) STRICT, WITHOUT ROWID;

-- What operators are told of. A row is deleted when every webhook has it.
CREATE TABLE notice (
    id      INTEGER PRIMARY KEY,             -- never assigned twice
    kind    TEXT    NOT NULL
        CHECK (kind = 'dead_letter' OR kind = 'transaction_failed' OR kind = 'task_failed'
            OR kind = 'halted' OR kind = 'budget_low' OR kind = 'approval_waiting'),
    agent   INTEGER REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    subject TEXT    NOT NULL,                -- the row that it is about, as operators name it; empty: none
    reason  TEXT,
    at      INTEGER NOT NULL
) STRICT;

-- Where operators are told, and what was delivered there: everything up to the notice `through`.
CREATE TABLE webhook (
    name    TEXT    NOT NULL PRIMARY KEY,
    through INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Where clients are told of tasks that they have requested, and what was delivered there.
CREATE TABLE push (
    number      INTEGER PRIMARY KEY,         -- never assigned twice
    owner       TEXT    NOT NULL,            -- the name of the client's token
    task        TEXT    NOT NULL,            -- as the client names it
    id          TEXT    NOT NULL,            -- as the client names it among those of the task
    agent       INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    target      TEXT    NOT NULL,            -- the agent that does the task, as the door names it
    url         TEXT    NOT NULL,
    token       TEXT,                        -- what the receiver recognises the calls by
    scheme      TEXT,                        -- of the authorization at the receiver
    credentials TEXT,
    made_at     INTEGER NOT NULL,
    told        BLOB,                        -- SHA-256 of what was delivered last
    failures    INTEGER NOT NULL CHECK (failures >= 0), -- deliveries that have failed since then
    due_at      INTEGER,                     -- when the next is tried, if one has failed
    UNIQUE (owner, task, id)
) STRICT;

-- Heights that the source could not read completely.
CREATE TABLE gap (
    height INTEGER PRIMARY KEY CHECK (height >= 0),
    reason TEXT    NOT NULL,
    since  INTEGER NOT NULL
) STRICT;

-- How much of the shared resources the rows use, by cause.
CREATE TABLE usage (
    agent    INTEGER NOT NULL REFERENCES agent (id) DEFERRABLE INITIALLY DEFERRED,
    kind     TEXT    NOT NULL
        CHECK (kind = 'message' OR kind = 'forged' OR kind = 'timer' OR kind = 'task'
            OR kind = 'ended' OR kind = 'queued' OR kind = 'settled'),
    standing TEXT    NOT NULL
        CHECK (standing = 'own' OR standing = 'known' OR standing = 'listed'
            OR standing = 'stranger' OR standing = 'unverified'),
    sender   TEXT    NOT NULL,                -- empty: all of this standing together
    items    INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (agent, kind, standing, sender)
) STRICT, WITHOUT ROWID;
