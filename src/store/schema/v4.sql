-- How much of the shared resources is in use, by cause: stored messages, timers, open tasks, queued
-- transactions, forged messages. The triggers below maintain it, so that code that changes a row does
-- not have to.
CREATE TABLE usage (
    agent    INTEGER NOT NULL REFERENCES agent (id),
    kind     TEXT    NOT NULL,                -- message | timer | task | queued | forged
    standing TEXT    NOT NULL,
    sender   TEXT    NOT NULL,                -- empty: all of this standing together
    items    INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (agent, kind, standing, sender)
) STRICT, WITHOUT ROWID;

-- An insert here changes the table: by so many items and bytes, which may be negative.
CREATE VIEW usage_change AS SELECT agent, kind, standing, sender, items, bytes FROM usage;
CREATE TRIGGER usage_changes INSTEAD OF INSERT ON usage_change BEGIN
    INSERT INTO usage (agent, kind, standing, sender, items, bytes)
        VALUES (NEW.agent, NEW.kind, NEW.standing, '', NEW.items, NEW.bytes)
        ON CONFLICT (agent, kind, standing, sender) DO UPDATE
        SET items = items + excluded.items, bytes = bytes + excluded.bytes;
    INSERT INTO usage (agent, kind, standing, sender, items, bytes)
        SELECT NEW.agent, NEW.kind, NEW.standing, NEW.sender, NEW.items, NEW.bytes
        WHERE NEW.sender <> ''
        ON CONFLICT (agent, kind, standing, sender) DO UPDATE
        SET items = items + excluded.items, bytes = bytes + excluded.bytes;
    DELETE FROM usage
        WHERE agent = NEW.agent AND kind = NEW.kind AND standing = NEW.standing
          AND sender IN ('', NEW.sender) AND items = 0;
END;

-- How well the sender of a message was known when it arrived.
ALTER TABLE inbox ADD COLUMN standing TEXT NOT NULL DEFAULT 'unverified';
UPDATE inbox SET standing = 'stranger' WHERE authenticity = 'verified';
-- Settled messages whose transaction is still stored, the oldest first.
CREATE INDEX inbox_prunable ON inbox (agent, standing, sender, settled_at, id)
    WHERE settled_at IS NOT NULL AND stored <> '';
-- Written out because it runs for every message: going through the view costs three times as much.
CREATE TRIGGER inbox_kept AFTER INSERT ON inbox BEGIN
    INSERT INTO usage (agent, kind, standing, sender, items, bytes)
        VALUES (NEW.agent, 'message', NEW.standing, '', 1, octet_length(NEW.stored))
        ON CONFLICT (agent, kind, standing, sender) DO UPDATE
        SET items = items + 1, bytes = bytes + excluded.bytes;
    INSERT INTO usage (agent, kind, standing, sender, items, bytes)
        SELECT NEW.agent, 'message', NEW.standing, NEW.sender, 1, octet_length(NEW.stored)
        WHERE NEW.standing <> 'unverified'
        ON CONFLICT (agent, kind, standing, sender) DO UPDATE
        SET items = items + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER inbox_changed AFTER UPDATE OF stored, standing ON inbox BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'message', OLD.standing,
        iif(OLD.standing = 'unverified', '', OLD.sender), -1, -octet_length(OLD.stored));
    INSERT INTO usage_change VALUES (
        NEW.agent, 'message', NEW.standing,
        iif(NEW.standing = 'unverified', '', NEW.sender), 1, octet_length(NEW.stored));
END;
CREATE TRIGGER inbox_gone AFTER DELETE ON inbox BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'message', OLD.standing,
        iif(OLD.standing = 'unverified', '', OLD.sender), -1, -octet_length(OLD.stored));
END;

CREATE TRIGGER forged_kept AFTER INSERT ON forged BEGIN
    INSERT INTO usage_change VALUES (
        NEW.agent, 'forged', 'unverified', '', 1, octet_length(NEW.stored));
END;
CREATE TRIGGER forged_gone AFTER DELETE ON forged BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'forged', 'unverified', '', -1, -octet_length(OLD.stored));
END;
CREATE INDEX forged_oldest ON forged (agent, seen_at);

CREATE TRIGGER timer_set AFTER INSERT ON event WHEN NEW.kind = 'timer' BEGIN
    INSERT INTO usage_change VALUES (
        NEW.agent, 'timer', NEW.standing, NEW.sender, 1, octet_length(NEW.data));
END;
CREATE TRIGGER timer_gone AFTER DELETE ON event WHEN OLD.kind = 'timer' BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'timer', OLD.standing, OLD.sender, -1, -octet_length(OLD.data));
END;

CREATE TRIGGER task_started AFTER INSERT ON task WHEN NEW.ended_at IS NULL BEGIN
    INSERT INTO usage_change VALUES (
        NEW.agent, 'task', NEW.standing, NEW.sender, 1, octet_length(NEW.input));
END;
CREATE TRIGGER task_ends AFTER UPDATE OF ended_at ON task
    WHEN OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'task', OLD.standing, OLD.sender, -1, -octet_length(OLD.input));
END;
CREATE TRIGGER task_gone AFTER DELETE ON task WHEN OLD.ended_at IS NULL BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'task', OLD.standing, OLD.sender, -1, -octet_length(OLD.input));
END;
-- Within a type of task, senders take turns.
DROP INDEX task_lane;
CREATE INDEX task_lane ON task (agent, behaviour, kind, standing, sender, due_at, id)
    WHERE state = 'submitted';

CREATE TRIGGER outbox_queues AFTER INSERT ON outbox WHEN NEW.state = 'queued' BEGIN
    INSERT INTO usage_change VALUES (
        NEW.agent, 'queued', NEW.standing, NEW.sender, 1, octet_length(NEW.payload));
END;
CREATE TRIGGER outbox_moves AFTER UPDATE OF state ON outbox
    WHEN (OLD.state = 'queued') <> (NEW.state = 'queued') BEGIN
    INSERT INTO usage_change VALUES (
        NEW.agent, 'queued', NEW.standing, NEW.sender, iif(NEW.state = 'queued', 1, -1),
        iif(NEW.state = 'queued', 1, -1) * octet_length(NEW.payload));
END;
CREATE TRIGGER outbox_gone AFTER DELETE ON outbox WHEN OLD.state = 'queued' BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'queued', OLD.standing, OLD.sender, -1, -octet_length(OLD.payload));
END;

-- Count the existing rows.
INSERT INTO usage_change SELECT agent, 'message', standing,
    iif(standing = 'unverified', '', sender), 1, octet_length(stored) FROM inbox;
INSERT INTO usage_change SELECT agent, 'forged', 'unverified', '', 1, octet_length(stored)
    FROM forged;
INSERT INTO usage_change SELECT agent, 'timer', standing, sender, 1, octet_length(data)
    FROM event WHERE kind = 'timer';
INSERT INTO usage_change SELECT agent, 'task', standing, sender, 1, octet_length(input)
    FROM task WHERE ended_at IS NULL;
INSERT INTO usage_change SELECT agent, 'queued', standing, sender, 1, octet_length(payload)
    FROM outbox WHERE state = 'queued';
