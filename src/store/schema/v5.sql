-- Finds messages beyond the rate-limit timeout by the time at which they were seen, however many wait.
-- For a verified sender the index inbox_due has that order already; all others share one lane.
CREATE INDEX inbox_unverified ON inbox (agent, seen_at)
    WHERE state = 'waiting' AND attempts = 0 AND authenticity = 'unverified';
