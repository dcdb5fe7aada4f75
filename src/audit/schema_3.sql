-- Requests on cell hosts by day: how much of the traffic an account makes, for guards. Never legacy use. Kept for
-- some days only.
CREATE TABLE cell_use (
    day      INTEGER NOT NULL,  -- days since the Unix epoch
    account  INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    PRIMARY KEY (day, account)
) STRICT, WITHOUT ROWID;
