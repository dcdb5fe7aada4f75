-- Who wrote, and from when to when: the coverage of the books. One row for each run of a process; its
-- windows follow one another without a hole, and last_window makes each count once.
CREATE TABLE writers (
    writer      TEXT PRIMARY KEY,
    last_window INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,  -- Unix seconds
    ended_at    INTEGER NOT NULL   -- Unix seconds: the books are complete up to here
) STRICT, WITHOUT ROWID;

-- Legacy requests by hour.
CREATE TABLE legacy_use (
    hour       INTEGER NOT NULL,  -- hours since the Unix epoch
    subject    TEXT    NOT NULL CHECK (subject IN ('account', 'unattributed', 'unmapped', 'overflow')),
    account    INTEGER NOT NULL,  -- 0 where subject is not 'account'
    client     TEXT    NOT NULL,  -- client family
    surface    TEXT    NOT NULL,
    cell       TEXT    NOT NULL,  -- where the requests went; 'none' when answered by cellgate
    status_1xx INTEGER NOT NULL,
    status_2xx INTEGER NOT NULL,
    status_3xx INTEGER NOT NULL,
    status_4xx INTEGER NOT NULL,
    status_5xx INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,  -- Unix seconds
    last_seen  INTEGER NOT NULL,  -- Unix seconds
    endpoint   TEXT    NOT NULL,  -- path template of one of the requests, or 'other'
    PRIMARY KEY (hour, subject, account, client, surface, cell)
) STRICT, WITHOUT ROWID;

-- What the account table said of an account when it was last seen.
CREATE TABLE accounts (
    account INTEGER PRIMARY KEY,
    prefix  TEXT,
    cell    TEXT    NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;

-- What the books do not know.
CREATE TABLE gaps (
    writer     TEXT    NOT NULL,
    started_at INTEGER,           -- Unix seconds; unknown for a file that is gone
    ended_at   INTEGER NOT NULL,
    reason     TEXT    NOT NULL,  -- queue_full, overflow (counted, without detail), damaged, removed
    requests   INTEGER,           -- how many, where known
    note       TEXT
) STRICT;
