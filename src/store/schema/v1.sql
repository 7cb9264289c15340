-- Single values on the chain and on this store, by key: chain_id, genesis, cursor, halted.
CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The hosted wallets.
CREATE TABLE agent (
    id           INTEGER PRIMARY KEY,
    address      TEXT    NOT NULL UNIQUE,
    name         TEXT    NOT NULL,
    start_height INTEGER NOT NULL,             -- messages in lower blocks are not its business
    last_nonce   INTEGER                       -- the highest nonce ever allotted to the wallet
) STRICT;

-- The messages to hosted wallets.
CREATE TABLE inbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT, -- never given out twice: outbox.origin names it
    agent        INTEGER NOT NULL REFERENCES agent (id),
    digest       TEXT    NOT NULL,             -- SHA-256 of the signing text: the message's identity
    hash         TEXT    NOT NULL,             -- of the transaction that carried it
    sender       TEXT    NOT NULL,
    height       INTEGER,                      -- NULL while a reorganisation has withdrawn it
    stored       TEXT    NOT NULL,             -- the transaction as the chain keeps it, JSON
    authenticity TEXT    NOT NULL,             -- verified | unverified
    state        TEXT    NOT NULL,             -- waiting | withdrawn | handled | dead
    seq          INTEGER NOT NULL,             -- order of arrival, anew after a withdrawal
    attempts     INTEGER NOT NULL DEFAULT 0,   -- failed ones
    due_at       INTEGER NOT NULL DEFAULT 0,   -- ms since the epoch; 0 until a first attempt failed
    reason       TEXT,                         -- of the last failure
    seen_at      INTEGER NOT NULL,
    settled_at   INTEGER,
    UNIQUE (agent, digest)
) STRICT;
CREATE INDEX inbox_due     ON inbox (agent, sender, due_at, seq) WHERE state = 'waiting';
CREATE INDEX inbox_height  ON inbox (height);
CREATE INDEX inbox_settled ON inbox (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX inbox_dead    ON inbox (agent, id)  WHERE state = 'dead';

-- The behaviours that have handled a message which others have still to handle.
CREATE TABLE progress (
    inbox     INTEGER NOT NULL REFERENCES inbox (id) ON DELETE CASCADE,
    behaviour TEXT    NOT NULL,
    PRIMARY KEY (inbox, behaviour)
) STRICT, WITHOUT ROWID;

-- Messages that name a sender who did not sign them. They reach no behaviour.
CREATE TABLE forged (
    agent   INTEGER NOT NULL REFERENCES agent (id),
    hash    TEXT    NOT NULL,
    sender  TEXT    NOT NULL,
    height  INTEGER NOT NULL,
    stored  TEXT    NOT NULL,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (agent, hash)
) STRICT;
CREATE INDEX forged_seen ON forged (seen_at);

-- The state of behaviours.
CREATE TABLE state (
    agent     INTEGER NOT NULL REFERENCES agent (id),
    behaviour TEXT    NOT NULL,
    key       TEXT    NOT NULL,
    value     TEXT    NOT NULL,
    PRIMARY KEY (agent, behaviour, key)
) STRICT, WITHOUT ROWID;

-- The transactions that hosted wallets send.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    agent       INTEGER NOT NULL REFERENCES agent (id),
    origin      TEXT    NOT NULL UNIQUE,       -- what asked for it; the same request is one row
    inbox       INTEGER REFERENCES inbox (id) ON DELETE SET NULL,
    recipient   TEXT    NOT NULL,
    amount      INTEGER NOT NULL,
    fee         INTEGER NOT NULL,
    payload     TEXT    NOT NULL,              -- JSON
    state       TEXT    NOT NULL,              -- queued | prepared | accepted | mined | final | failed
    reason      TEXT,                          -- why it waits or failed
    nonce       INTEGER,
    hash        TEXT,
    digest      TEXT,
    body        TEXT,                          -- the signed bytes, as posted
    since       INTEGER,                       -- it stands in no block up to this one
    posts       INTEGER NOT NULL DEFAULT 0,
    height      INTEGER,
    block_hash  TEXT,
    created_at  INTEGER NOT NULL,
    prepared_at INTEGER,
    accepted_at INTEGER,
    mined_at    INTEGER,
    settled_at  INTEGER
) STRICT;
CREATE UNIQUE INDEX outbox_digest  ON outbox (digest) WHERE digest IS NOT NULL;
CREATE INDEX        outbox_hash    ON outbox (hash)   WHERE hash IS NOT NULL;
CREATE INDEX        outbox_queued  ON outbox (id)     WHERE state = 'queued';
CREATE INDEX        outbox_turn    ON outbox (agent, id) WHERE state = 'queued';
CREATE INDEX        outbox_open    ON outbox (agent)  WHERE state IN ('prepared', 'accepted');
CREATE INDEX        outbox_mined   ON outbox (height) WHERE state = 'mined';
CREATE INDEX        outbox_settled ON outbox (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX        outbox_inbox   ON outbox (inbox)  WHERE inbox IS NOT NULL;

-- Heights that the source could not read completely.
CREATE TABLE gap (
    height INTEGER PRIMARY KEY,
    reason TEXT    NOT NULL,
    since  INTEGER NOT NULL
) STRICT;
