-- Whom a brownout has met: requests that it refused, or would have refused where it only observed.
CREATE TABLE brownout_use (
    brownout   TEXT    NOT NULL,
    started_at INTEGER NOT NULL,  -- Unix seconds: its window
    ended_at   INTEGER NOT NULL,  -- Unix seconds
    mode       TEXT    NOT NULL,  -- observe, soft, hard
    day        INTEGER NOT NULL,  -- days since the Unix epoch
    account    INTEGER NOT NULL,  -- 0 where nothing named an account of the table
    requests   INTEGER NOT NULL,
    writes     INTEGER NOT NULL,  -- requests that could have changed something
    PRIMARY KEY (brownout, started_at, ended_at, mode, day, account)
) STRICT, WITHOUT ROWID;
