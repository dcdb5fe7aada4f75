-- Requests on legacy hosts that nothing but a learned credential placed: what a process that has learned
-- nothing could not have placed. Kept for some days only.
CREATE TABLE learned_use (
    day         INTEGER NOT NULL,  -- days since the Unix epoch
    fingerprint TEXT    NOT NULL,  -- 32 hexadecimal digits, never a token; '' for what was counted without detail
    requests    INTEGER NOT NULL,
    PRIMARY KEY (day, fingerprint)
) STRICT, WITHOUT ROWID;
