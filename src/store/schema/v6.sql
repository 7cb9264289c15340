-- The size of ended tasks and of settled transactions: each sender has a share of the room for them.
-- Beyond that share the oldest are deleted before their retention ends.
CREATE TRIGGER task_ended_kept AFTER UPDATE OF ended_at ON task
    WHEN OLD.ended_at IS NULL AND NEW.ended_at IS NOT NULL BEGIN
    INSERT INTO usage_change VALUES (
        NEW.agent, 'ended', NEW.standing, NEW.sender, 1,
        octet_length(NEW.input) + coalesce(octet_length(NEW.result), 0)
            + coalesce(octet_length(NEW.error), 0));
END;
CREATE TRIGGER task_ended_gone AFTER DELETE ON task WHEN OLD.ended_at IS NOT NULL BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'ended', OLD.standing, OLD.sender, -1,
        -octet_length(OLD.input) - coalesce(octet_length(OLD.result), 0)
            - coalesce(octet_length(OLD.error), 0));
END;
CREATE INDEX task_prunable ON task (agent, standing, sender, ended_at, id)
    WHERE ended_at IS NOT NULL;

CREATE TRIGGER outbox_settled_kept AFTER UPDATE OF settled_at ON outbox
    WHEN OLD.settled_at IS NULL AND NEW.settled_at IS NOT NULL BEGIN
    INSERT INTO usage_change VALUES (
        NEW.agent, 'settled', NEW.standing, NEW.sender, 1,
        octet_length(NEW.payload) + coalesce(octet_length(NEW.body), 0));
END;
CREATE TRIGGER outbox_reopens AFTER UPDATE OF settled_at ON outbox
    WHEN OLD.settled_at IS NOT NULL AND NEW.settled_at IS NULL BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'settled', OLD.standing, OLD.sender, -1,
        -octet_length(OLD.payload) - coalesce(octet_length(OLD.body), 0));
END;
CREATE TRIGGER outbox_settled_gone AFTER DELETE ON outbox WHEN OLD.settled_at IS NOT NULL BEGIN
    INSERT INTO usage_change VALUES (
        OLD.agent, 'settled', OLD.standing, OLD.sender, -1,
        -octet_length(OLD.payload) - coalesce(octet_length(OLD.body), 0));
END;
CREATE INDEX outbox_prunable ON outbox (agent, standing, sender, state, settled_at, id)
    WHERE settled_at IS NOT NULL;

-- Count the existing rows.
INSERT INTO usage_change SELECT agent, 'ended', standing, sender, 1,
    octet_length(input) + coalesce(octet_length(result), 0) + coalesce(octet_length(error), 0)
    FROM task WHERE ended_at IS NOT NULL;
INSERT INTO usage_change SELECT agent, 'settled', standing, sender, 1,
    octet_length(payload) + coalesce(octet_length(body), 0)
    FROM outbox WHERE settled_at IS NOT NULL;
