-- What has waited for too long is found by when it was seen, however much waits. Of a verified sender
-- the index inbox_due has the order already; all others share one lane.
CREATE INDEX inbox_unverified ON inbox (agent, seen_at)
    WHERE state = 'waiting' AND attempts = 0 AND authenticity = 'unverified';
