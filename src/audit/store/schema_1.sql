-- One month of the books.

-- For which time of the month they were kept, by run of a process. Its windows follow one another without a hole.
CREATE TABLE coverage (
    writer     TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,  -- Unix seconds
    ended_at   INTEGER NOT NULL   -- Unix seconds: the books are complete up to here
) STRICT, WITHOUT ROWID;

-- Which windows are in, also those of other months with a late request of this one: each counts once.
CREATE TABLE writers (
    writer      TEXT PRIMARY KEY,
    last_window INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who used a legacy host by what.
CREATE TABLE integrations (
    id         INTEGER PRIMARY KEY,
    subject    TEXT    NOT NULL CHECK (subject IN ('account', 'unattributed', 'unmapped')),
    account    INTEGER NOT NULL,  -- 0 where subject is not 'account'
    client     TEXT    NOT NULL,  -- client family
    surface    TEXT    NOT NULL,
    class      TEXT    NOT NULL,  -- endpoint class
    credential TEXT    NOT NULL,  -- key:first digits of a keyed fingerprint, or none, session, unknown, refused, other
    network    TEXT    NOT NULL,
    template   TEXT    NOT NULL,  -- path template of one of the requests, or 'other'
    first_seen INTEGER NOT NULL,  -- Unix seconds
    last_seen  INTEGER NOT NULL,  -- Unix seconds
    days       BLOB    NOT NULL,  -- for each of 31 days: a bit for each hour and the requests, 4 bytes each, big-endian
    UNIQUE (subject, account, client, surface, class, credential, network)
) STRICT;

-- How much, by day and hour.
CREATE TABLE use_by_day (
    day         INTEGER NOT NULL,  -- days since the Unix epoch
    integration INTEGER NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    status_1xx  INTEGER NOT NULL,
    status_2xx  INTEGER NOT NULL,
    status_3xx  INTEGER NOT NULL,
    status_4xx  INTEGER NOT NULL,
    status_5xx  INTEGER NOT NULL,
    writes      INTEGER NOT NULL,  -- requests that could have changed something
    refused     INTEGER NOT NULL,  -- requests that cellgate answered itself
    h00 INTEGER NOT NULL, h01 INTEGER NOT NULL, h02 INTEGER NOT NULL, h03 INTEGER NOT NULL,
    h04 INTEGER NOT NULL, h05 INTEGER NOT NULL, h06 INTEGER NOT NULL, h07 INTEGER NOT NULL,
    h08 INTEGER NOT NULL, h09 INTEGER NOT NULL, h10 INTEGER NOT NULL, h11 INTEGER NOT NULL,
    h12 INTEGER NOT NULL, h13 INTEGER NOT NULL, h14 INTEGER NOT NULL, h15 INTEGER NOT NULL,
    h16 INTEGER NOT NULL, h17 INTEGER NOT NULL, h18 INTEGER NOT NULL, h19 INTEGER NOT NULL,
    h20 INTEGER NOT NULL, h21 INTEGER NOT NULL, h22 INTEGER NOT NULL, h23 INTEGER NOT NULL,
    PRIMARY KEY (day, integration)
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
    reason     TEXT    NOT NULL,  -- detail (counted, not told apart), spool, damaged, removed
    requests   INTEGER,           -- how many, where known
    note       TEXT
) STRICT;

-- Requests on legacy hosts that nothing but a learned credential placed: what a process that has learned
-- nothing could not have placed. Kept for some days only.
CREATE TABLE learned_use (
    day         INTEGER NOT NULL,  -- days since the Unix epoch
    fingerprint TEXT    NOT NULL,  -- 32 hexadecimal digits, never a token; '' for what was counted without detail
    requests    INTEGER NOT NULL,
    PRIMARY KEY (day, fingerprint)
) STRICT, WITHOUT ROWID;

-- Requests on cell hosts by day: how much of the traffic an account makes, for guards. Never legacy use. Kept for
-- some days only.
CREATE TABLE cell_use (
    day      INTEGER NOT NULL,  -- days since the Unix epoch
    account  INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (day, account)
) STRICT, WITHOUT ROWID;

-- How requests ended, by the minute, on all hosts: what the numbers of an incident report are made of.
CREATE TABLE minutes (
    minute   INTEGER NOT NULL,  -- minutes since the Unix epoch
    legacy   INTEGER NOT NULL,  -- 1 on legacy hosts, 0 on accounts' own addresses
    cell     TEXT    NOT NULL,
    class    TEXT    NOT NULL,  -- endpoint class
    requests INTEGER NOT NULL,
    failed   INTEGER NOT NULL,
    late_2m  INTEGER NOT NULL,  -- first byte after more than two minutes
    late_5m  INTEGER NOT NULL,  -- and after more than five
    PRIMARY KEY (minute, legacy, cell, class)
) STRICT, WITHOUT ROWID;

-- To whom something went wrong in them.
CREATE TABLE harmed (
    minute     INTEGER NOT NULL,
    legacy     INTEGER NOT NULL,
    cell       TEXT    NOT NULL,
    class      TEXT    NOT NULL,
    account    INTEGER NOT NULL,  -- 0 where nothing named an account of the table
    credential TEXT    NOT NULL,
    failed     INTEGER NOT NULL,
    late_2m    INTEGER NOT NULL,
    late_5m    INTEGER NOT NULL,
    PRIMARY KEY (minute, legacy, cell, class, account, credential)
) STRICT, WITHOUT ROWID;

-- Calls that may have changed something and were refused, or of which nobody knows what came of them.
CREATE TABLE lost_calls (
    at         INTEGER NOT NULL,  -- Unix seconds
    account    INTEGER NOT NULL,  -- 0 where nothing named one
    method     TEXT    NOT NULL,
    path       TEXT    NOT NULL,  -- without a query
    request_id TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,  -- not_sent, unknown, failed
    status     INTEGER NOT NULL,
    refusal    TEXT,              -- why cellgate answered itself
    cell       TEXT    NOT NULL,
    class      TEXT    NOT NULL,
    credential TEXT    NOT NULL
) STRICT;
CREATE INDEX lost_calls_by_time ON lost_calls (at, account);
